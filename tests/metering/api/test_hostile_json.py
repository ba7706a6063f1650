"""JSONTestSuite's vectors (https://github.com/nst/JSONTestSuite, MIT) at every door.

Whatever is posted, the answer is a documented one, and what was taken can be settled.
"""

import json
from base64 import b64decode
from itertools import islice
from pathlib import Path

import pytest
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Delivery, Quarantined, QuarantineReason
from metering.pairing.completion import pair_due_partials
from tests.lengths import mostly_long
from tests.metering.api.documented import documented

pytestmark = pytest.mark.django_db

LINES = (Path(__file__).parent / "JSONTestSuite" / "vectors.txt").read_text().splitlines()
VECTORS = {name: b64decode(text) for name, _, text in (line.partition(" ") for line in LINES)} | {
    "n_structure_100000_opening_arrays": b"[" * 100_000,
    "n_structure_open_array_object": b'[{"":' * 50_000 + b"\n",
}
DOORS = documented()
SHARES = 5  # of the vectors, each taken at a door by a test of its own

# Where in a body anything at all may stand; elsewhere in a field that nobody knows.
OPEN = {
    "/v1/transactions": b'"metadata":{"a":%b}',
    "/v1/events": b'"data":{"a":%b}',
    "/api/v1/events": b'"data":{"a":%b}',
    "/v1/verify": b'"path":%b',
    "/meter/v1/api/meter": b'"elements":[{"name":"a","value":%b}]',
    "/meter/v2/events": b'"payload":{"a":%b}',
    "/meter/v2/tool/events": b'"usageMetadata":{"a":%b}',
    "/meter/v2/otlp/v1/logs": b'"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":['
    b'{"key":"input_tokens","value":{"intValue":"1"}},{"key":"model","value":%b}]}]}]}]',
    "/meter/v2/otlp/v1/traces": b'"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":['
    b'{"key":"gen_ai.usage.input_tokens","value":{"intValue":"1"}},'
    b'{"key":"model","value":%b}]}]}]}]',
}
ALL_OF_THEM = {
    "transaction_id": "t-%d",
    "transactionId": "t-%d",
    "requestId": "t-%d",
    "eventType": "REQUEST",
    "id": "t-%d",
    "source": "vectors",
    "type": "vector",
    "specversion": "1.0",
    "key": "some-key-of-a-caller",
    "success": True,
    "toolId": "a-tool",
    "durationMs": 1,
    "responseCode": 200,
}
# Doors that reject fields they do not know, and those of ALL_OF_THEM that they know.
STRICT = {"/v1/transactions": ("transaction_id", "key"), "/v1/verify": ("key",)}


@pytest.fixture
def ask(client, token):
    def ask(address, body):
        return client.post(
            address,
            body,
            content_type="application/json",
            headers={"x-api-key": token},
        )

    return ask


def around(address, vector, number):
    """A body that is good but for the vector in it."""
    said = {
        name: value.replace("%d", str(number)) if isinstance(value, str) else value
        for name, value in ALL_OF_THEM.items()
        if address not in STRICT or name in STRICT[address]
    }
    now = timezone.now().isoformat()
    if address == "/v1/transactions":
        said["occurred_at"] = now
    elif address not in STRICT:
        said["time"] = now
    return json.dumps(said).encode()[:-1] + b"," + OPEN.get(address, b'"x":%b') % vector + b"}"


# Few of the vectors are a path or a page of keys, and in some shares none.
FEW_ARE_GOOD = {"/v1/verify", "/v1/keys/inventory"}


@pytest.mark.parametrize("share", mostly_long(range(SHARES), quick=1))
@pytest.mark.parametrize("address", DOORS)
def test_no_json_breaks_a_door(ask, address, share):
    answers = {}
    # Another share at each door, so that all doors together take all of them.
    first = ([*DOORS].index(address) + share) % SHARES
    for number, (name, vector) in islice(enumerate(VECTORS.items()), first, None, SHARES):
        answers[name] = ask(address, vector)
        answers[f"{name}, in a body"] = ask(address, around(address, vector, number))

    wrong = {
        name: response.status_code
        for name, response in answers.items()
        if response.status_code not in DOORS[address] or response.status_code >= 500
    }
    assert wrong == {}
    if address not in FEW_ARE_GOOD:
        assert any(response.status_code < 300 for response in answers.values())

    while pair_due_partials():
        pass
    while process_waiting_deliveries():
        pass
    assert not Delivery.objects.exists()
    assert not Quarantined.objects.filter(reason=QuarantineReason.POISON).exists()
