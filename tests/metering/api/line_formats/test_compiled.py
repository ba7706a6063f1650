import json
from decimal import Decimal

import pytest

from metering.api.decoding import ItemRejected
from metering.api.line_formats.definition import CountWhen, Owners, Pointer
from metering.inbox.redaction import CallerKey
from tests.metering.api.line_formats.conftest import calls_in, compiled

pytestmark = pytest.mark.django_db  # asked whether a key is also a customer's name

TS = "2026-11-16T12:00:00Z"
KEY = "key-of-a-caller-0001"
PUBLIC_ID = "cred_0123456789abcdef0123456789abcdef"


def line(**fields):
    return json.dumps({"ts": TS} | fields)


def rejection(line_format, text):
    (found,) = calls_in(line_format, text)
    assert isinstance(found, ItemRejected)
    return found.field, found.code


@pytest.mark.parametrize("absent", [None, "", "-", [], [""], {}, [{}]])
def test_the_first_pointer_with_a_value_counts(only_call, absent):
    line_format = compiled(key=("a", "b"), method=("deep/a", "deep/b/0"))

    call = only_call(line_format, line(a=absent, b=KEY, deep={"a": absent, "b": ["GET"]}))

    assert (call.key, call.method) == (CallerKey(KEY), "GET")


def test_a_header_that_was_sent_twice_has_its_first_value(only_call):
    assert only_call(compiled(key=("k",)), line(k=[KEY, "other"])).key == CallerKey(KEY)


def test_a_pointer_beside_the_record_leads_to_nothing(only_call):
    line_format = compiled(method=("a/9", "a/x", "b/c"))

    assert only_call(line_format, line(a=["x"], b="text")).method is None


def test_a_capture_is_a_part_of_a_text(only_call):
    line_format = compiled(key=(Pointer("auth", capture=r"^Bearer (\S+)$"), "key"))

    assert only_call(line_format, line(auth=f"Bearer {KEY}")).key == CallerKey(KEY)
    assert only_call(line_format, line(auth="Basic eDp5", key=KEY)).key == CallerKey(KEY)
    assert only_call(line_format, line(auth=5)).key is None


def test_an_own_id_is_enough(only_call):
    line_format = compiled(transaction_id=("id",), transaction_id_from_caller=("theirs",))

    call = only_call(line_format, line(id=7, theirs="x"))

    assert (call.transaction_id, call.distinguished_by) == ("7", None)


def test_an_id_of_a_caller_goes_with_moment_method_path_and_status():
    line_format = compiled(
        transaction_id_from_caller=("id",), method=("m",), path=("p",), status=("s",)
    )
    same = {"id": "x", "m": "GET", "p": "/", "s": 200}

    calls = calls_in(
        line_format,
        line(**same),
        line(**same, more=1),
        line(**same | {"m": "POST"}),
        line(**same | {"p": "/b"}),
        line(**same | {"s": 404}),
        line(**same | {"ts": "2026-11-16T12:00:01Z"}),
    )

    assert {call.transaction_id for call in calls} == {"x"}
    first, again, *others = [call.distinguished_by for call in calls]
    assert first == again
    assert len({first, *others}) == 5


def test_a_line_with_its_place_is_known_by_it(only_call):
    assert only_call(compiled(), line(), line_id="edge-17").transaction_id == "edge-17"


def test_equal_lines_without_any_id_are_calls_of_their_own():
    first, second, other = calls_in(compiled(), line(), line(), line(a=1))
    again, _ = calls_in(compiled(), line(), line())

    assert len({each.transaction_id for each in (first, second, other)}) == 3
    assert first.transaction_id == again.transaction_id


def test_the_same_line_has_the_same_content_whatever_reads_it(only_call):
    first = only_call(compiled(), line(path="/a"))
    mended = only_call(compiled(path=("path",)), line(path="/a"))

    assert first.content == mended.content
    assert first.content != only_call(compiled(), line(path="/b")).content


def test_what_the_gateway_put_there_goes_before_the_callers_key(only_call):
    line_format = compiled(key=("key",), credential=("cred",), metadata={"note": ("note",)})

    call = only_call(line_format, line(key=KEY, cred="acme-app", note=f"with {KEY}"))

    assert call.key == CallerKey("acme-app")
    assert call.metadata["note"] == "with …0001"


def test_a_public_id_counts_only_if_the_gateway_put_it_there(only_call):
    line_format = compiled(key=("key",), credential=("cred",))

    sent = only_call(line_format, line(key=PUBLIC_ID))
    put_there = only_call(line_format, line(key=KEY, cred=PUBLIC_ID))

    assert (sent.key, sent.fingerprint) == (CallerKey(PUBLIC_ID), None)
    assert (put_there.key, put_there.fingerprint) == (CallerKey(KEY), PUBLIC_ID[5:])


def test_facts_that_cannot_be_read_do_not_cost_the_call(only_call):
    line_format = compiled(
        status=("status",), request_bytes=("size",), latency_ms=("took",), method=("method",)
    )

    call = only_call(line_format, line(status="ok", size=-1, took="long", method=True))

    assert (call.status, call.request_bytes, call.latency_ms, call.method) == (None,) * 4
    assert call.metadata == {"format": "trial 1"}


@pytest.mark.parametrize(
    ("unit", "expected"), [("s", 1500.0), ("ms", 1.5), ("us", 0.0015), ("ns", 0.000002), ("", 1.5)]
)
def test_latency_has_a_unit(only_call, unit, expected):
    line_format = compiled(latency_ms=(Pointer("took", unit=unit),))

    assert only_call(line_format, line(took="1.5")).latency_ms == expected


def test_only_named_numbers_are_counted(only_call):
    line_format = compiled(elements={"tokens": ("usage/tokens",), "images": ("images",)})

    call = only_call(line_format, line(usage={"tokens": "12.5"}, port=59550))

    assert call.elements == {"calls": 1, "tokens": Decimal("12.5")}


def test_only_named_members_are_kept(only_call):
    line_format = compiled(metadata={"route": ("route/name",), "tags": ("tags",)})

    call = only_call(line_format, line(route={"name": "maps"}, secret="x", tags={"a": 1}))

    assert call.metadata == {"format": "trial 1", "route": "maps"}


def test_metadata_is_no_longer_than_elsewhere(only_call):
    line_format = compiled(metadata={"long": ("long",), "short": ("short",)})

    call = only_call(line_format, line(long="x" * 5_000, short="y"))

    assert call.metadata["short"] == "y"
    assert len(json.dumps(call.metadata)) <= 4_096


def test_names_say_whose_a_call_is(only_call):
    line_format = compiled(owners=Owners(customer=("org",), product=("plan",)))

    assert only_call(line_format, line(org="Acme")).names["customer"] == "Acme"


@pytest.mark.parametrize(
    ("when", "counted"),
    [
        (CountWhen(statuses=("2xx", "404")), [200, 204, 404]),
        (CountWhen(statuses=("200-399",)), [200, 204, 301]),
    ],
)
def test_calls_count_by_their_status(when, counted):
    line_format = compiled(status=("status",), count_when=when)
    statuses = [200, 204, 301, 404, 500]

    calls = calls_in(line_format, *(line(status=status) for status in statuses))

    assert [call.status for call in calls if call] == counted


def test_a_call_that_counts_by_its_status_needs_one():
    line_format = compiled(status=("status",), count_when=CountWhen(statuses=("2xx",)))

    assert rejection(line_format, line()) == ("status", "missing")


def test_calls_count_by_method_and_texts():
    line_format = compiled(
        method=("method",),
        count_when=CountWhen(methods=("get", "POST"), texts={"kind": ("access*",)}),
    )

    calls = calls_in(
        line_format,
        line(method="GET", kind="access.log"),
        line(method="OPTIONS", kind="access.log"),
        line(method="GET", kind="error"),
        line(method="GET"),
    )

    assert [call is not None for call in calls] == [True, False, False, False]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"ts": None}, ("occurred_at", "missing")),
        ({"ts": "soon"}, ("occurred_at", "invalid")),
        ({"ts": {"a": 1}}, ("occurred_at", "missing")),
        ({"ts": "2019-01-01T00:00:00Z"}, ("occurred_at", "too_old")),
        ({"ts": "2039-01-01T00:00:00Z"}, ("occurred_at", "too_new")),
        ({"id": "x" * 201}, ("transaction_id", "too_long")),
        ({"id": 1.5}, ("transaction_id", "invalid")),
        ({"key": "x" * 4_097}, ("key", "too_long")),
        ({"key": True}, ("key", "invalid")),
        ({"cred": 1.5}, ("credential", "invalid")),
        ({"sub": "x" * 201}, ("subscription", "too_long")),
        ({"tokens": "many"}, ("elements.tokens", "invalid")),
        ({"tokens": -1}, ("elements.tokens", "out_of_range")),
    ],
)
def test_what_decides_rejects_the_line(fields, expected):
    line_format = compiled(
        transaction_id=("id",),
        key=("key",),
        credential=("cred",),
        subscription=("sub",),
        elements={"tokens": ("tokens",)},
    )

    assert rejection(line_format, line(**fields)) == expected
