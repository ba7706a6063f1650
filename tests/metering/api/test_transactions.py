import gzip
import json
from datetime import timedelta
from uuid import UUID

import pytest
from django.utils import timezone

from metering.api.transactions import TransactionsDialect
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import dedup_key_of_id
from metering.models import Delivery, SeenTransaction, Transaction
from revcred.runtime.logs import RedactingFormatter
from tests import factories
from tests.metering.api.conftest import LoopClient

pytestmark = pytest.mark.django_db


def rejections(response):
    assert response.status_code == (202 if response.json()["accepted"] else 400), response.content
    return [(each["index"], each["field"], each["code"]) for each in response.json()["rejected"]]


def kept():
    return [
        each["transaction_id"] for row in Delivery.objects.all() for each in json.loads(row.body)
    ]


def test_one_transaction(post, call, gateway):
    response = post(call())

    delivery = Delivery.objects.get()
    assert response.status_code == 202
    assert response.json() == {"delivery": str(delivery.pk), "accepted": 1, "rejected": []}
    assert (delivery.gateway, delivery.transactions) == (gateway, 1)


def test_several_in_an_array(post, call):
    post([call(transaction_id="a"), call(transaction_id="b")])

    assert kept() == ["a", "b"]


@pytest.mark.parametrize(
    "content_type", ["application/x-ndjson", "application/jsonl; charset=utf-8"]
)
def test_several_one_a_line(post, call, content_type):
    lines = [json.dumps(call(transaction_id=each)) for each in "ab"]

    post("\n".join([*lines, "", ""]), content_type=content_type)

    assert kept() == ["a", "b"]


def test_compressed(post, call):
    response = post(gzip.compress(json.dumps(call()).encode()), content_encoding="gzip")

    assert response.status_code == 202
    assert kept() == ["t-1"]


def test_what_was_compressed_in_several_goes(post, call):
    lines = [json.dumps(call(transaction_id=each)).encode() + b"\n" for each in "ab"]

    post(b"".join(map(gzip.compress, lines)), "application/x-ndjson", content_encoding="gzip")

    assert kept() == ["a", "b"]


def test_a_slash_at_the_end_is_not_worth_a_redirect(client, token, call):
    response = client.post(
        "/v1/transactions/", call(), content_type="application/json", headers={"x-api-key": token}
    )

    assert response.status_code == 202


def test_every_field_arrives(post, call):
    customer = factories.a_customer()
    factories.a_credential(
        customer, key="some-key-of-a-caller", subscriptions=[factories.a_subscription(customer)]
    )
    said = {
        "method": "GET",
        "path": "/maps/1",
        "status": 200,
        "request_bytes": 2**63 - 1,
        "response_bytes": 0,
        "latency_ms": 12.25,
        "elements": {"calls": 1, "gigabytes": 0.5, "tokens": 10**18 - 1},
        "metadata": {"region": "eu", "nested": [{"a": None}]},
    }

    post(call(**said, source="a-source"))
    process_waiting_deliveries()

    row = Transaction.objects.get()
    assert {name: getattr(row, name) for name in said} == said
    assert row.source_named == "a-source"


def test_without_elements_it_is_one_call(post, call):
    post([call(), call(transaction_id="t-2", elements={})])

    (body,) = [json.loads(row.body) for row in Delivery.objects.all()]
    assert [each["elements"] for each in body] == [{"calls": 1}, {"calls": 1}]


def test_null_is_the_same_as_nothing(post, call):
    nothing = dict.fromkeys(["subscription", "source", "method", "path", "status", "elements"])

    assert rejections(post(call(**nothing))) == []


def test_the_key_stops_at_the_door(post, call):
    post(call())

    assert "some-key-of-a-caller" not in Delivery.objects.get().body


def test_one_bad_item_spoils_no_other(post, call):
    response = post([call(transaction_id="a"), call(transaction_id=7), 5, call(transaction_id="b")])

    assert rejections(response) == [(1, "transaction_id", "invalid"), (2, None, "invalid")]
    assert kept() == ["a", "b"]


def test_a_rejection_names_the_transaction(post, call):
    (rejected,) = post(call(source=200)).json()["rejected"]

    assert rejected == {
        "index": 0,
        "transaction_id": "t-1",
        "field": "source",
        "code": "invalid",
        "message": "Expected str | null, got int.",
    }


BAD = {
    "no id": ({"transaction_id": ...}, "transaction_id", "missing"),
    "empty id": ({"transaction_id": ""}, "transaction_id", "invalid"),
    "long id": ({"transaction_id": "x" * 201}, "transaction_id", "invalid"),
    "no moment": ({"occurred_at": ...}, "occurred_at", "missing"),
    "no such moment": ({"occurred_at": "2026-02-30T00:00:00Z"}, "occurred_at", "invalid"),
    "no time zone": ({"occurred_at": "2026-01-01T00:00:00"}, "occurred_at", "invalid"),
    "a number": ({"occurred_at": 1_700_000_000}, "occurred_at", "invalid"),
    "nobody": ({"key": ...}, "key", "missing"),
    "long key": ({"key": "x" * 4_097}, "key", "too_long"),
    "blank key": ({"key": " \n"}, "key", "missing"),
    "empty key": ({"key": ""}, "key", "invalid"),
    "null key": ({"key": None}, "key", "missing"),
    "wrong type": ({"key": 5}, "key", "invalid"),
    "typo": ({"elments": {}}, "elments", "unknown_field"),
    "negative quantity": ({"elements": {"a": -1}}, "elements.a", "out_of_range"),
    "huge quantity": ({"elements": {"a": 10**18}}, "elements.a", "out_of_range"),
    "too fine": ({"elements": {"a": 1e-10}}, "elements.a", "too_fine"),
    "no quantity": ({"elements": {"a": True}}, "elements.a", "invalid"),
    "quantity as text": ({"elements": {"a": "1"}}, "elements.a", "invalid"),
    "no quantity at all": ({"elements": {"a": None}}, "elements.a", "invalid"),
    "things": ({"elements": {"a": {"b": 1}}}, "elements.a", "invalid"),
    "nameless": ({"elements": {"": 1}}, "elements", "invalid"),
    "many elements": ({"elements": {str(n): 1 for n in range(51)}}, "elements", "invalid"),
    "nul": ({"key": "a\0b"}, "key", "bad_text"),
    "lone surrogate in a name": ({"elements": {"\udfff": 1}}, "elements", "bad_text"),
}


@pytest.mark.parametrize(("fields", "field", "code"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named(post, call, fields, field, code):
    response = post([call(**fields), call(transaction_id="good")])

    assert rejections(response) == [(0, field, code)]
    assert kept() == ["good"]


RAW = {
    "nan": ('"elements": {"a": NaN}', "elements", "malformed"),
    "infinity": ('"latency_ms": -Infinity', "latency_ms", "malformed"),
    "nan as text": ('"elements": {"a": "NaN"}', "elements.a", "invalid"),
    "astronomic": ('"elements": {"a": 1e999999999}', "elements.a", "out_of_range"),
    "beyond all": ('"elements": {"a": 1e99999999999999999999}', "elements.a", "out_of_range"),
    "very long": ('"elements": {"a": ' + "9" * 5_000 + "}", "elements.a", "out_of_range"),
    "twice": ('"key": "other"', "key", "duplicate_field"),
    "twice, escaped": ('"k\\u0065y": "other"', "key", "duplicate_field"),
    "element twice": ('"elements": {"a": 1, "a": 2}', "elements", "duplicate_field"),
    "twice, and deep": (
        '"key": "other", "metadata": {"a": ' + "[" * 600 + "]" * 600 + "}",
        None,
        "too_deep",
    ),
    "a raw newline": ('"path": "a\nb"', "path", "malformed"),
}


@pytest.mark.parametrize(("member", "field", "code"), RAW.values(), ids=RAW)
def test_what_python_would_not_write_is_named_too(post, call, member, field, code):
    bad = json.dumps(call())[:-1] + f", {member}}}"

    response = post(f"[{bad}, {json.dumps(call(transaction_id='good'))}]")

    ((index, found, said),) = rejections(response)
    assert (index, found if said != "malformed" else field, said) == (0, field, code)
    assert kept() == ["good"]


REFUSED = {
    "nothing": (b"", 400, "empty"),
    "space": (b" \n", 400, "empty"),
    "no transactions": (b"[]", 400, "empty"),
    "half": (b'[{"transaction_id": "a"', 400, "malformed"),
    "garbage": (b"\x00\x01", 400, "malformed"),
    "after the end": (b"[{}] x", 400, "malformed"),
    "no utf-8": (b'[{"transaction_id": "\xff"}]', 400, "malformed"),
    "very deep": (b"[" * 100_000, 400, "too_deep"),
    "large": (b" " * 1_000_001, 413, "too_large"),
    "many": (b"[" + b"{}," * 1_000 + b"{}]", 413, "too_many"),
    "very many": (b"[" + b"1," * 400_000 + b"1]", 413, "too_many"),
}


@pytest.mark.parametrize(("body", "status", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_apart_is_refused_whole(post, body, status, code):
    response = post(body)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert not Delivery.objects.exists()


COMPRESSED = {
    "bomb": (gzip.compress(bytes(50_000_000)), "gzip", 413, "too_large"),
    "no gzip": (b"{}", "gzip", 400, "malformed"),
    "many members": (gzip.compress(b"") * 2_000, "gzip", 400, "malformed"),
    "more than gzip": (gzip.compress(b"{}") + b"JUNK", "gzip", 400, "malformed"),
    "half": (gzip.compress(b"{}" * 100)[:-9], "gzip", 400, "malformed"),
    "another": (b"{}", "br", 415, "unknown_encoding"),
}


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"), COMPRESSED.values(), ids=COMPRESSED
)
def test_compression_is_no_way_in(post, body, encoding, status, code):
    response = post(body, content_encoding=encoding)

    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("ago", "code"),
    [
        (timedelta(days=31, minutes=1), "too_old"),
        (timedelta(days=31, minutes=-1), None),
        (timedelta(minutes=-59), None),
        (timedelta(minutes=-61), "too_new"),
    ],
)
def test_the_moment_is_within_the_window(post, call, ago, code):
    response = post(call(occurred_at=(timezone.now() - ago).isoformat()))

    assert [each[1:] for each in rejections(response)] == ([("occurred_at", code)] if code else [])


def test_the_same_moment_in_another_time_zone_is_the_same_content(post, call):
    moment = timezone.now()
    post(call(occurred_at=moment.isoformat()))
    post(call(occurred_at=moment.astimezone(timezone.get_fixed_timezone(330)).isoformat()))
    process_waiting_deliveries()

    assert SeenTransaction.objects.count() == 1
    receipt = SeenTransaction.objects.get()
    assert receipt.occurred_at == moment


def test_identity_keeps_gateways_apart():
    assert UUID(dedup_key_of_id(1, "2x")) != UUID(dedup_key_of_id(12, "x"))


def test_a_failure_of_ours_is_an_error_whose_text_is_nowhere(token, call, monkeypatch, caplog):
    def fail(dialect, post):
        raise RuntimeError(post.body.decode())

    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    monkeypatch.setattr(TransactionsDialect, "read", fail)
    answer = LoopClient().post(
        "/v1/transactions",
        json.dumps(call(key="the-key-that-is-told-to-nobody")),
        content_type="application/json",
        headers={"x-api-key": token},
    )

    assert (answer.status_code, json.loads(answer.content)["code"]) == (500, "error")
    assert "A POST failed" in caplog.text
    assert "told-to-nobody" not in RedactingFormatter().format(caplog.records[-1])
