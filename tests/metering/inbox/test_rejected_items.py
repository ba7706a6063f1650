import json
from datetime import UTC, datetime

import pytest

from metering.inbox.calls import ONE_CALL, Call
from metering.inbox.redaction import CallerKey
from metering.inbox.rejected_items import (
    MAX_ITEM_CHARACTERS,
    REMOVED_KEY,
    call_with_removed_key,
    item_without_keys,
)
from revcred.fingerprints import fingerprint_hex
from revcred.redaction import known_secrets

KEY = "the-callers-own-key-0001"
PUBLIC_ID = "cred_0123456789abcdef0123456789abcdef"


def kept(text, *, key=None, transaction_id=None):
    text = text if isinstance(text, str) else json.dumps(text)
    return item_without_keys(
        text, key=key, transaction_id=transaction_id, secrets=known_secrets(key, "a-gateways-token")
    )


def removed(key=KEY):
    return f"removed-{fingerprint_hex(key)}-{key[-4:]}"


def test_the_known_key_is_replaced_wherever_it_stands():
    item = kept(
        {"k": KEY, "path": f"/of/{KEY}/x", "n": {KEY: [f"a {KEY}"]}, "status": 200}, key=KEY
    )

    assert json.loads(item) == {
        "k": removed(),
        "path": f"/of/{removed()}/x",
        "n": {removed(): [f"a {removed()}"]},
        "status": 200,
    }


def test_other_texts_stay_where_the_key_is_known():
    item = {"k": KEY, "id": "4d1c6a3b2f0011223344", "ts": "2026-11-16T12:00:00.123Z"}

    assert json.loads(kept(item, key=KEY)) == item | {"k": removed()}


@pytest.mark.parametrize(
    "name", ["x-api-key", "Authorization", "cookie", "access_token", "subject"]
)
def test_members_that_are_named_like_keys_are_replaced(name):
    found = json.loads(kept({name: "plainwords and-one", "deep": {name: ["plainwords"]}}, key=KEY))

    assert REMOVED_KEY.match(found[name])
    assert REMOVED_KEY.fullmatch(found["deep"][name][0])


def test_whatever_looks_like_a_key_is_replaced_where_none_is_known():
    item = kept(f"10.0.0.1 - {KEY} GET /maps/1?api_key=x1 200 abcdefghijklmnopqrstuvwxyz")

    assert KEY not in item
    assert "api_key" not in item
    assert "abcdefghij" not in item
    assert item.startswith("10.0.0.1 - removed-")
    assert "GET /maps/1? 200" in item


def test_an_id_stays_and_so_does_a_public_id():
    item = {"id": "4d1c6a3b2f0011223344", "credential": PUBLIC_ID}

    assert json.loads(kept(item, transaction_id="4d1c6a3b2f0011223344")) == item


def test_a_moment_stays():
    for moment in ("2026-11-16T12:00:00.123456+00:00", "16/Nov/2026:12:00:00", "1794830400.123"):
        assert json.loads(kept({"ts": moment})) == {"ts": moment}


def test_an_id_that_holds_the_key_does_not_stay():
    assert json.loads(kept({"id": KEY}, key=KEY, transaction_id=KEY)) == {"id": removed()}


def test_a_line_with_its_place_keeps_it():
    line = json.dumps({"key": KEY, "path": "/a"})

    item = json.loads(kept({"file": "edge-1-5f0c1d2e3f", "at": 7, "line": line}))

    assert (item["file"], item["at"]) == ("edge-1-5f0c1d2e3f", 7)
    assert json.loads(item["line"]) == {"key": removed(), "path": "/a"}


def test_the_gateways_token_is_cut_from_an_id_too():
    said = "t-1 a-gateways-token"

    assert "a-gateways-token" not in kept({"id": said}, key=KEY, transaction_id=said)


def test_the_gateways_token_is_cut():
    assert "a-gateways-token" not in kept({"note": "with a-gateways-token"}, key=KEY)


@pytest.mark.parametrize("text", ["x" * (MAX_ITEM_CHARACTERS + 1), f"removed-{'0' * 32}-abcd"])
def test_what_is_too_long_or_pretends_is_not_kept(text):
    assert kept(text) is None
    assert kept({"line": text, "file": "f"}) is None


def test_a_removed_key_says_whose_a_call_is():
    call = Call(
        transaction_id="t",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        elements=ONE_CALL,
        key=CallerKey(removed()),
    )

    found = call_with_removed_key(call)

    assert (found.key, found.fingerprint, found.hint) == (None, fingerprint_hex(KEY), "0001")


def test_any_other_key_stays():
    call = Call(
        transaction_id="t",
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        elements=ONE_CALL,
        key=CallerKey(KEY),
    )

    assert call_with_removed_key(call) is call
