"""Rows of a list of usage are the calls that the native door would take."""

import json
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest
from django.utils import timezone

from metering.models import Delivery, GatewayToken
from metering.usage_lists.encoding import UsageRowEncoder
from revcred.uploads.staging import InvalidRow
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-orders"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


def values(**others):
    at = (timezone.now() - timedelta(hours=1)).isoformat()
    return {"transaction_id": "one", "occurred_at": at, "gateway": "edge", "key": KEY} | others


def encoded(row):
    *shown, gateway, dedup_key, content_hash, body = UsageRowEncoder()(row)
    return shown, gateway, dedup_key, content_hash, msgspec.json.decode(body)


FACTS = {
    "method": "GET",
    "path": "https://maps.example.com/tiles/1?key=secret",
    "status": "200",
    "request_bytes": "512",
    "response_bytes": "20480",
    "latency_ms": "12.5",
    "source": "tiles",
    "elements": '{"tokens": 1.50}',
}


@pytest.mark.parametrize("ids_from_callers", [False, True])
def test_a_row_is_stored_as_if_the_gateway_had_posted_it(client, gateway, ids_from_callers):
    gateway.ids_from_callers = ids_from_callers
    gateway.save()
    row = values(**FACTS)
    numbers = {"status": 200, "request_bytes": 512, "response_bytes": 20480, "latency_ms": 12.5}
    posted = {name: value for name, value in row.items() if name != "gateway"} | numbers
    posted["elements"] = json.loads(posted["elements"])
    scopes = [GatewayToken.Scope.POST]
    _, token = GatewayToken.issue(gateway, name="tests", scopes=scopes)
    response = client.post(
        "/v1/transactions",
        posted,
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )
    assert response.status_code == 202, response.text
    (stored,) = msgspec.json.decode(Delivery.objects.get().body)
    del stored["made_id"]

    shown, number, dedup_key, content_hash, call = encoded(row)

    assert call == stored
    assert (number, dedup_key, content_hash) == (
        *(gateway.pk, call["dedup_key"], call["content_hash"]),
    )
    assert ("shared_id" in call) == ids_from_callers
    assert "/tiles/1" in shown
    assert KEY not in str(shown)
    assert UUID(shown[3]) == UUID(call["fingerprint"])


def test_a_credentials_public_id_decides_before_a_key(gateway):
    public_id = factories.a_credential(factories.a_customer()).public_id

    shown, *_, call = encoded(values(credential=public_id))

    assert call["fingerprint"] == public_id.removeprefix("cred_")
    assert public_id in shown
    assert KEY not in str((shown, call))


def test_calls_are_one_of_the_elements(gateway):
    assert encoded(values(calls="3"))[-1]["elements"] == {"calls": 3}
    both = encoded(values(calls="3", elements='{"tokens": 7}'))[-1]["elements"]
    assert both == {"calls": 3, "tokens": 7}
    assert encoded(values())[-1]["elements"] == {"calls": 1}


@pytest.mark.parametrize(
    ("others", "column", "message"),
    [
        ({"gateway": "nowhere"}, "gateway", "No gateway has this name."),
        ({"key": ""}, "key", "A key or a subscription is required."),
        ({"credential": KEY}, "credential", "cred_"),
        ({"calls": "1", "elements": '{"calls": 2}'}, "calls", "calls among its elements"),
        ({"elements": '{"tokens": "many"}'}, "elements", "A quantity is a number."),
        ({"elements": '{"tokens": -1}'}, "elements", "zero or more"),
        ({"occurred_at": "2001-01-01T00:00:00Z"}, "occurred_at", "days ago"),
    ],
)
def test_a_row_that_the_door_would_reject_is_rejected_for_the_same_reason(
    gateway, others, column, message
):
    row = {name: value for name, value in values(**others).items() if value}

    with pytest.raises(InvalidRow) as rejected:
        UsageRowEncoder()(row)

    assert rejected.value.column == column
    assert message in str(rejected.value)
