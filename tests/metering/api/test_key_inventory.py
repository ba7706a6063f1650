import gzip
import json
import logging
from uuid import uuid4

import pytest

from metering.models import GatewayToken, InventoriedKey, KeyInventory
from revcred.fingerprints import fingerprint
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "a-key-that-must-be-nowhere-0042"
SCOPES = ["keys:inventory"]


@pytest.fixture
def send(client, gateway):
    _, token = GatewayToken.issue(gateway, name="tests", scopes=SCOPES)

    def send(body, *, token=token, **headers):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.post(
            "/v1/keys/inventory",
            content,
            content_type="application/json",
            headers={"x-api-key": token, **headers},
        )

    return send


@pytest.fixture
def begin(send):
    def begin(**fields):
        return send({"step": "begin", "read_from": "haproxy"}, **fields).json()["inventory"]

    return begin


def page(inventory, *keys, number=0):
    return {"step": "page", "inventory": inventory, "page": number, "keys": keys}


def end(inventory, pages):
    return {"step": "end", "inventory": inventory, "pages": pages}


def test_an_inventory_is_used_once_it_was_ended(send, begin):
    inventory = begin()
    first = [
        {"key": f"{KEY} ", "created_at": "2026-01-01T00:00:00Z", "label": f"Acme {KEY}"},
        {"digest": "AB" * 32, "enabled": False},
    ]
    public_id = factories.a_credential().public_id or ""

    assert send(page(inventory, *first)).json()["keys"] == 2
    # Sent again without an answer, and then another page.
    assert send(page(inventory, *first)).json()["keys"] == 2
    assert send(page(inventory, {"alias": public_id}, number=1)).json()["rejected"] == []
    assert KeyInventory.objects.get().ended_at is None
    ended = send(end(inventory, 2)).json()

    assert ended["keys"] == 3
    assert send(end(inventory, 2)).json() == ended
    key, digest, alias = InventoriedKey.objects.order_by("page", "pk")
    assert (key.fingerprint, key.hint, key.is_enabled) == (fingerprint(KEY), "0042", True)
    assert KEY not in key.label
    assert key.created_at.year == 2026
    assert (digest.hint, digest.is_enabled) == ("", False)
    assert alias.fingerprint.hex == public_id.removeprefix("cred_")


def test_pages_are_needed_and_only_those_that_were_promised_count(send, begin):
    inventory = begin()
    send(page(inventory, {"key": KEY}, number=1))
    send(page(inventory, {"key": "of an earlier, longer attempt"}, number=2))

    missing = send(end(inventory, 2))
    send(page(inventory, number=0))
    ended = send(end(inventory, 2))
    late = send(page(inventory, {"key": KEY}))

    assert (missing.status_code, missing.json()["code"]) == (409, "pages_missing")
    assert "missing: 0." in missing.json()["message"]
    assert (ended.status_code, ended.json()["keys"]) == (200, 1)
    assert (late.status_code, late.json()["code"]) == (409, "inventory_ended")


def test_another_beginning_drops_all_but_the_latest_that_was_ended(send, begin):
    oldest, latest, dropped = begin(), None, None
    send(end(oldest, 0))
    latest = begin()
    send(page(latest, {"key": KEY}))
    send(end(latest, 1))
    dropped = begin()
    send(page(dropped, {"key": KEY}))
    begun = begin()

    answer = send(page(dropped, {"key": KEY}))

    assert {str(each.pk) for each in KeyInventory.objects.all()} == {latest, begun}
    assert InventoriedKey.objects.count() == 1
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_inventory")


def test_nobody_adds_to_the_inventory_of_another_gateway(send, begin):
    inventory = begin()
    _, token = GatewayToken.issue(factories.a_gateway("other"), name="tests", scopes=SCOPES)

    assert send(page(inventory, {"key": KEY}), token=token).status_code == 404


def test_tokens_need_the_scope_and_must_not_be_test_tokens(send, gateway):
    _, poster = GatewayToken.issue(gateway, name="tests", scopes=["transactions:post"])
    _, tester = GatewayToken.issue(gateway, name="tests", scopes=SCOPES, is_test=True)
    begin = {"step": "begin", "read_from": "haproxy"}

    assert send(begin, token=poster).status_code == 403
    assert send(begin, token=tester).status_code == 403
    assert send(begin, token="hak_rvg_none").status_code == 401


def test_entries_are_rejected_one_by_one_without_quoting_them(send, begin):
    inventory = begin()
    entries = [
        {"key": KEY},
        {"key": 42},
        {"key": KEY, "alias": "both"},
        {"digest": KEY},
        {"key": " "},
        {"key": f"{KEY}\0"},
        {"key": KEY * 200},
        {"key": KEY, "created_at": "yesterday"},
        {"keys": KEY},
        [KEY],
    ]

    answer = send(page(inventory, *entries))

    assert answer.json()["keys"] == 1
    rejected = {each["index"]: each["message"] for each in answer.json()["rejected"]}
    assert rejected.keys() == set(range(1, len(entries)))
    assert rejected[7] == "It is no entry of an inventory. `created_at` is not what it has to be."
    assert KEY not in answer.content.decode()


@pytest.mark.parametrize(
    "body",
    [
        b'{"step":"page","keys":[{"key":"%s"}' % KEY.encode(),
        {"step": KEY},
        {"step": "page", "inventory": KEY, "page": 0, "keys": []},
        {"step": "page", "inventory": str(uuid4()), "page": 0, "keys": [{"key": KEY}] * 1_001},
        {"step": "page", "inventory": str(uuid4()), "page": 500, "keys": []},
        {"step": "begin", "read_from": f"HAProxy {KEY}"},
        f'{{"{KEY}": 1'.encode() + b"\xff",
    ],
)
def test_no_error_and_no_log_quotes_a_key(send, body, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = send(body)

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert KEY not in answer.content.decode()
    assert KEY not in caplog.text


def test_a_compressed_page(send, begin):
    inventory = begin()
    body = gzip.compress(json.dumps(page(inventory, {"key": KEY})).encode())

    assert send(body, **{"Content-Encoding": "gzip"}).json()["keys"] == 1
