"""Every door, every field, wrong values: what decides is rejected, and a fact is kept as it is.

What each door calls its fields is in `DOORS`; what becomes of a value is in `DECIDING` and `FACTS`,
for all doors the same. A field that a door's struct has and this table does not is found by
`test_no_field_of_a_struct_is_forgotten`.
"""

import json
import re
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from metering.api.revenium import ai, partial_transactions, tools, v1, v2
from metering.attribution.processing import process_waiting_deliveries
from metering.models import (
    Conflict,
    Delivery,
    IntakeStats,
    PartialTransaction,
    Quarantined,
    Rejection,
    Transaction,
    Usage,
)
from metering.pairing.completion import pair_due_partials
from tests import factories
from tests.lengths import sampled
from tests.metering.api.conftest import LoopClient

pytestmark = pytest.mark.django_db

KEY = "key-of-every-door-0001"


@dataclass(frozen=True, kw_only=True)
class DoorCase:
    """A door, a good body of one call, and what its fields are called."""

    path: str
    body: Any
    at: str  # JSON pointer to where the fields are, "" for the body itself
    key: str = ""
    quantity: str = ""  # a field, or a member of an object
    latency: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    path_fields: tuple[str, ...] = ()
    moment: str = ""
    moment_waits: bool = False  # in quarantine, where its clients read no rejection
    content_type: str = "application/json"
    in_loop: bool = False
    ok: frozenset[int] = frozenset({200, 201, 202, 204})
    struct: Any = None
    deciding: frozenset[str] = field(default_factory=frozenset)


def _native(**more: Any) -> DoorCase:
    return DoorCase(
        path="/v1/transactions",
        body=lambda now: {
            "transaction_id": "t",
            "occurred_at": now.isoformat(),
            "key": KEY,
            "elements": {"tokens": 1},
        },
        at="",
        key="key",
        quantity="elements.tokens",
        latency=("latency_ms",),
        status=("status",),
        size=("request_bytes", "response_bytes"),
        method=("method",),
        path_fields=("path",),
        moment="occurred_at",
        **more,
    )


def _event(**more: Any) -> DoorCase:
    return DoorCase(
        body=lambda now: {
            "specversion": "1.0",
            "id": "t",
            "source": "s",
            "type": "call",
            "time": now.isoformat(),
            "subject": KEY,
            "data": {"tokens": 1},
        },
        at="",
        key="subject",
        quantity="data.tokens",
        moment="time",
        content_type="application/cloudevents+json",
        **more,
    )


def raw(text: str) -> str:
    """Stand for these characters of JSON, which no number of Python's is written as."""
    return f"@raw {text} raw@"


def _is_raw(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("@raw ")


def _otlp_attribute(name: str, value: Any) -> dict[str, Any]:
    if _is_raw(value):
        return {"key": name, "value": {"doubleValue": value}}
    kind = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    if isinstance(value, list):
        return {
            "key": name,
            "value": {"arrayValue": {"values": [{"stringValue": str(each)} for each in value]}},
        }
    return {"key": name, "value": {kind.get(type(value), "stringValue"): value}}


AI_BODY = {"transactionId": "t", "subscriber": {"credential": {"value": KEY}}}

DOORS = {
    "native": _native(),
    "loop": _native(in_loop=True),
    "cloudevents": _event(path="/v1/events"),
    "openmeter": _event(path="/api/v1/events"),
    "v1 meter": DoorCase(
        path="/meter/v1/api/meter",
        body=lambda _: {"application": KEY, "elements": [{"name": "tokens", "value": 1}]},
        at="",
        key="application",
        quantity="elements.0.value",
        latency=("backendLatency", "gatewayLatency"),
        status=("responseCode",),
        size=("requestMessageSize", "responseMessageSize"),
        method=("method",),
        path_fields=("url",),
        struct=v1.MeteringRequest,
        deciding=frozenset({"application", "product_key", "api", "elements"}),
    ),
    "v1 event": DoorCase(
        path="/meter/v1/api/event",
        body=lambda now: {"application": KEY, "currentMillis": now.isoformat()},
        at="",
        key="application",
        latency=("elapsedTime", "backendLatency"),
        status=("responseCode",),
        size=("requestMessageSize", "responseMessageSize"),
        method=("method",),
        path_fields=("uri", "url"),
        moment="currentMillis",
        moment_waits=True,
        struct=partial_transactions.ApiEvent,
        deciding=frozenset(
            {
                *("request_id", "event_type", "asset_id", "application", "client_id"),
                *("product_key", "current_millis"),
            }
        ),
    ),
    "v2 event": DoorCase(
        path="/meter/v2/events",
        body=lambda _: {
            "transactionId": "t",
            "subscriberCredential": KEY,
            "payload": {"tokens": 1},
        },
        at="",
        key="subscriberCredential",
        quantity="payload.tokens",
        struct=v2.ProductEvent,
        deciding=frozenset(
            {"transaction_id", "payload", "source_type", "source_id", "subscriber_credential"}
        ),
    ),
    "v2 request": DoorCase(
        path="/meter/v2/apis/requests",
        body=lambda _: {"credential": KEY},
        at="",
        key="credential",
        size=("requestMessageSize",),
        method=("method",),
        path_fields=("resource",),
        struct=partial_transactions.ApiRequest,
        deciding=frozenset({"transaction_id", "credential", "source_id"}),
    ),
    "v2 response": DoorCase(
        path="/meter/v2/apis/responses",
        body=lambda _: {"responseCode": 200},
        at="",
        latency=("totalDuration", "backendLatency", "gatewayLatency"),
        status=("responseCode",),
        size=("responseMessageSize",),
        struct=partial_transactions.ApiResponse,
        deciding=frozenset({"transaction_id"}),
    ),
    **{
        f"ai {kind}": DoorCase(
            path=f"/meter/v2/ai/{kind}",
            # What a test puts into it must not be in the next one's.
            body=lambda now: deepcopy(AI_BODY) | {"requestTime": now.isoformat()},
            at="",
            key="subscriber.credential.value",
            quantity=quantity,
            latency=("requestDuration",),
            moment="requestTime",
            moment_waits=True,
            struct=ai.AiCall,
            deciding=frozenset(ai.AiCall.__struct_fields__) - {"request_duration"},
        )
        for kind, quantity in (
            ("completions", "inputTokenCount"),
            ("images", "actualImageCount"),
            ("audio", "durationSeconds"),
            ("video", "creditsConsumed"),
        )
    },
    "tool": DoorCase(
        path="/meter/v2/tool/events",
        body=lambda now: {
            "transactionId": "t",
            "toolId": "search",
            "subscriberCredential": KEY,
            "timestamp": now.isoformat(),
        },
        at="",
        key="subscriberCredential",
        quantity="costUsd",
        latency=("durationMs",),
        moment="timestamp",
        moment_waits=True,
        struct=tools.ToolCall,
        deciding=frozenset(tools.ToolCall.__struct_fields__) - {"duration_ms"},
    ),
    "otlp": DoorCase(
        path="/meter/v2/otlp/v1/logs",
        body=lambda now: {
            "timeUnixNano": str(int(now.timestamp() * 1e9)),
            "attributes": {"credential": KEY, "gen_ai.usage.input_tokens": 1},
        },
        at="attributes",
        key="credential",
        quantity="gen_ai.usage.input_tokens",
        latency=("duration_ms",),
        moment="timeUnixNano",
    ),
}

# What is no quantity, by what is wrong with it.
UNCOUNTABLE = {
    "negative": -5,
    "negative, a fraction": -0.5,
    "too large": 10**18,
    "far too large": 1e300,
    "negative, as text": "-5",
    "no number": "NaN",
    "infinite": "Infinity",
    "no number, of PHP": "NAN",
    "infinite, of Go": "+Inf",
    "negative and infinite, of C": "-inf",
    "far too large, as text": "1e1000",
    "far too large and negative": "-1e1000",
    "negative, with 41 digits": f"-{'1' * 41}",
    "too large once it is rounded": raw("999999999999999999.9999999999"),
}
# Where a quantity has a name of its own, other values are none either.
UNCOUNTABLE_BY_NAME = {
    "a text": "many",
    "a flag": True,
    "a list": [1, 2],
    "digits of an id": "1" * 20,
}
NAMED = ("native", "loop", "ai", "tool", "otlp")
# Of whole and of deciding numbers a fraction that is too fine; of money it is rounded.
TOO_FINE = 0.1234567890123
ODD = {
    "latency": {
        "a list as text": "0.304, 0.012",
        "negative": -1,
        "a text": "loop",
        "a list": ["0.304", "0.012"],
        "huge": 1e300,
    },
    "status": {
        "a list as text": "502, 200",
        "a text": "many",
        "negative": -1,
        "huge": 100_000,
        "a list": ["502", "200"],
    },
    "size": {
        "negative": -1,
        "a text": "large",
        "beyond 64 bits": 2**64,
        "a list as text": "1, 2",
        "a list": ["1", "2"],
    },
    "method": {"long": "X" * 30, "a list": ["GET", "POST"], "a flag": True},
    "path_fields": {"a list": ["/a", "/b"], "a flag": True},
}


@pytest.fixture
def subscription():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, external_key="every-door")
    factories.a_credential(customer, KEY, subscriptions=[subscription])
    return subscription


@pytest.fixture
def ask(client, token, monkeypatch):
    """Post one call at a door, with some of its fields as they are said."""

    def ask(door, said=None, *, now=None, among=(), rewritten=None):
        body = door.body(now or timezone.now())
        for name, value in (said or {}).items():
            _put(door, body, name, value)
        content = _framed(door, body, among)
        content = rewritten(content) if rewritten else content
        headers = {"x-api-key": token}
        asked = client
        if door.in_loop:
            monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
            asked = LoopClient()
        return asked.post(door.path, content, content_type=door.content_type, headers=headers)

    return ask


def _put(door, body, name, value):
    """Into the place that the name says: members and numbers of a list, with dots between."""
    if door.path.endswith("/logs") and name != door.moment:
        body["attributes"][name] = value
        return
    *parents, last = name.split(".")
    for parent in parents:
        body = body[int(parent)] if parent.isdigit() else body[parent]
    body[int(last) if last.isdigit() else last] = value


def _framed(door, body, among):
    if door.path.endswith("/logs"):
        record = body | {
            "attributes": [_otlp_attribute(*each) for each in body["attributes"].items()]
        }
        body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    return json.dumps(body).replace('"@raw ', "").replace(' raw@"', "")


def settle():
    while pair_due_partials():
        pass
    # What is half a call here waits for nothing.
    process_waiting_deliveries()
    return [*Transaction.objects.all(), *Quarantined.objects.all()]


def rows_of(kind):
    return [
        (name, door, wire, what, value)
        for name, door in DOORS.items()
        for wire in getattr(door, kind)
        for what, value in ODD[kind].items()
        if not (name == "otlp" and isinstance(value, float | int) and abs(value) >= 2**63)
    ]


FACTS = [row for kind in ODD for row in rows_of(kind)]
QUANTITIES = [
    (name, door, what, value)
    for name, door in DOORS.items()
    if door.quantity
    for what, value in (
        UNCOUNTABLE | (UNCOUNTABLE_BY_NAME if name.startswith(NAMED) else {})
    ).items()
    # Of OTLP, JSON has no such whole numbers; the native door takes no text at all.
    if not (name == "otlp" and value == 10**18)
]


@pytest.mark.parametrize(
    ("door", "wire", "value"),
    sampled([(door, wire, value) for _, door, wire, _, value in FACTS], every=7),
    ids=[f"{name}-{wire}-{what}" for name, _, wire, what, _ in FACTS],
)
def test_a_fact_never_costs_the_call(ask, subscription, door, wire, value):
    response = ask(door, {wire: value})

    assert response.status_code in door.ok, response.content
    (row,) = settle()
    assert _is_same(row.metadata[wire], value), row.metadata
    assert isinstance(row, Transaction) or row.reason == "anonymous"
    if isinstance(row, Transaction):
        assert Usage.objects.filter(subscription=subscription).exists()
    assert not Rejection.objects.exists()


# Around what a column holds, in the ways that JSON can write it.
LIMITS = {"size": 2**63 - 1, "latency": 10**12, "status": 599}
WRITTEN = {"whole": "{}", "with a fraction": "{}.5", "with an exponent": "{}e0"}
AT_LIMITS = [
    (name, wire, f"{beyond:+d}, {how}", raw(written.format(limit + beyond)))
    for name, door in DOORS.items()
    for kind, limit in LIMITS.items()
    for wire in getattr(door, kind)
    for how, written in WRITTEN.items()
    for beyond in ((-1, 0, 1) if kind == "size" else (0,))
]


@pytest.mark.parametrize(
    ("name", "wire", "value"),
    sampled([(name, wire, value) for name, wire, _, value in AT_LIMITS], every=7),
    ids=[f"{name}-{wire}-{what}" for name, wire, what, _ in AT_LIMITS],
)
def test_a_fact_at_its_limit_never_costs_the_call(ask, subscription, name, wire, value):
    assert ask(DOORS[name], {wire: value}).status_code in DOORS[name].ok
    (row,) = settle()
    assert isinstance(row, Transaction) or row.reason == "anonymous", row.error


# What differs from one POST to the next: ids, moments of arrival, and digests of these.
OF_ONE_POST = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r'|"(?:made_id|dedup_key|shared_id|content_hash|content)":"[0-9a-f]{32}"'
    r'|"signature":"[^"]*"|\d{4}-\d\d-\d\dT[\d:.]+Z'
)
BAD_BODIES = ("", "[]", "no json", '{"id": "a"}', '[5, {"transaction_id": 7}]')


def _stored_by(posts):
    """Return what each server stores of the same POSTs, and take it away again."""
    answers = [
        f"{each.status_code} {each.content and each['Content-Type']} {each.content.decode()}"
        for each in posts
    ]
    stored = [
        *Delivery.objects.values_list("transactions", "rejected", "passed_over", "body"),
        *PartialTransaction.objects.values_list("dedup_key", "side", "call"),
        *Rejection.objects.values_list("door", "field", "code", "message", "item"),
    ]
    for model in (Delivery, PartialTransaction, Rejection):
        model.objects.all().delete()
    # Sorted, since ids of one millisecond have no order.
    return [OF_ONE_POST.sub("", text) for text in (*answers, *sorted(map(repr, stored)))]


@pytest.mark.parametrize("name", [name for name in DOORS if name != "loop"])
def test_both_servers_answer_alike_and_store_the_same(name, client, token, monkeypatch):
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    door, now = DOORS[name], timezone.now()
    odd = {wire: -5 for wire in (door.quantity, door.key, *door.latency) if wire}
    bodies = [_framed(door, door.body(now), ()), *BAD_BODIES]
    for wire, value in odd.items():
        body = door.body(now)
        _put(door, body, wire, value)
        bodies.append(_framed(door, body, ()))

    by_django, in_loop = (
        _stored_by(
            [
                server.post(
                    door.path, body, content_type=door.content_type, headers={"x-api-key": token}
                )
                for body in bodies
            ]
        )
        for server in (client, LoopClient())
    )

    assert by_django == in_loop
    assert int(by_django[0][:3]) in door.ok


def _is_same(kept, value):
    """Numbers that no number of ours holds are kept as text, and OTLP's as its JSON has them."""
    if isinstance(value, float):
        return float(kept) == value
    if isinstance(kept, dict):
        return [each["stringValue"] for each in kept["values"]] == value
    return kept == value or str(kept) == str(value)


@pytest.mark.parametrize(
    ("door", "value"),
    sampled([(door, value) for _, door, _, value in QUANTITIES], every=3),
    ids=[f"{name}-{what}" for name, _, what, _ in QUANTITIES],
)
def test_what_cannot_be_counted_is_rejected(ask, subscription, gateway, door, value):
    response = ask(door, {door.quantity: value})

    assert response.status_code == 400, response.content
    assert settle() == []
    assert not Usage.objects.exists()
    (kept,) = Rejection.objects.all()
    assert kept.code in {"out_of_range", "invalid", "too_fine"}
    assert door.quantity.split(".")[-1] in f"{kept.field} tokens value"
    assert IntakeStats.objects.get().rejected == 1


def _members(value):
    """Each member of the objects in it, as it is written in JSON."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{json.dumps(name)}: {json.dumps(each)}"
            yield from _members(each)
    elif isinstance(value, list):
        for each in value:
            yield from _members(each)


def _said_twice(name):
    """What to put in place of each part of the door's body: the same name with another value."""
    door = DOORS[name]
    body = door.body(timezone.now())
    if name == "otlp":
        parts = [json.dumps(_otlp_attribute(*each)) for each in body["attributes"].items()]
        others = [json.dumps(_otlp_attribute(each, "7")) for each in body["attributes"]]
        return list(zip(parts, others, strict=True))
    return [(part, f"{part.partition(':')[0]}: 7") for part in _members(body)]


TWICE = [
    (name, number, part.partition(":")[0])
    for name in DOORS
    for number, (part, _) in enumerate(_said_twice(name))
]


@pytest.mark.parametrize(
    ("name", "number"),
    sampled([(name, number) for name, number, _ in TWICE], every=3),
    ids=[f"{name}-{number}-{part}" for name, number, part in TWICE],
)
def test_what_is_said_twice_is_not_counted_by_chance(ask, subscription, monkeypatch, name, number):
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now)
    part, other = _said_twice(name)[number]

    for written in (f"{part}, {other}", f"{other}, {part}"):
        response = ask(DOORS[name], rewritten=lambda said, to=written: said.replace(part, to, 1))

        assert response.status_code == 400, response.content
    assert {each.code for each in Rejection.objects.all()} <= {"duplicate_field", "invalid"}
    assert settle() == []


def test_an_element_of_v1_that_is_named_twice_is_rejected(ask, subscription):
    twice = [{"name": "tokens", "value": 5}, {"name": "tokens", "value": 7}]

    assert ask(DOORS["v1 meter"], {"elements": twice}).status_code == 400
    assert [each.code for each in Rejection.objects.all()] == ["duplicate_field"]
    assert settle() == []


def test_an_id_of_many_digits_among_unnamed_data_costs_no_call(ask, subscription):
    for name in ("cloudevents", "v2 event"):
        within = DOORS[name].quantity.partition(".")[0]
        digits = "1" * 30
        said = {f"{within}.order": digits, DOORS[name].quantity: 2}

        assert ask(DOORS[name], said).status_code in DOORS[name].ok
    assert [row.elements for row in settle()] == [{"tokens": 2}, {"tokens": 2}]


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.quantity])
def test_what_is_too_fine_is_rejected_and_of_money_rounded(ask, subscription, name):
    door = DOORS[name]
    response = ask(door, {door.quantity: TOO_FINE})

    if name.startswith("ai") or name == "tool":
        assert response.status_code == 201
        (row,) = settle()
        assert str(row.elements[door.quantity]) == "0.123456789"
    else:
        assert response.status_code == 400, response.content
        assert [each.code for each in Rejection.objects.all()] == ["too_fine"]
        assert settle() == []


@pytest.mark.parametrize(
    "name",
    [name for name, door in DOORS.items() if door.quantity and name not in {"native", "loop"}],
)
def test_the_noise_of_a_double_is_not_too_fine(ask, subscription, name):
    door = DOORS[name]

    assert ask(door, {door.quantity: 0.1 + 0.2}).status_code in door.ok
    (row,) = settle()
    assert "0.3" in [str(each) for each in row.elements.values()]


MOMENTS = {
    "five years ago": timedelta(days=-5 * 365),
    "40 days ago": timedelta(days=-40),
    "2 hours ahead": timedelta(hours=2),
    "a year ahead": timedelta(days=365),
}
DATED = [(name, what) for name, door in DOORS.items() if door.moment for what in MOMENTS]


@pytest.mark.parametrize(
    ("name", "what"), sampled(DATED, every=3), ids=[f"{name}-{what}" for name, what in DATED]
)
def test_a_moment_outside_the_window_is_never_counted_as_now(ask, subscription, name, what):
    door, said = DOORS[name], timezone.now() + MOMENTS[what]

    response = ask(door, now=said)

    rows = settle()
    assert not Usage.objects.exists()
    if door.moment_waits:
        assert response.status_code in door.ok
        (row,) = rows
        assert (row.reason, row.outside) == ("moment_outside", True)
        assert abs(row.occurred_at - said) < timedelta(milliseconds=1)
        return
    assert response.status_code == 400
    assert rows == []
    (kept,) = Rejection.objects.all()
    assert kept.code == ("too_old" if MOMENTS[what] < timedelta() else "too_new")


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.moment])
def test_a_gateway_may_bring_older_calls(ask, subscription, gateway, name):
    gateway.accepted_days = 90
    gateway.save()
    door = DOORS[name]

    assert ask(door, now=timezone.now() - timedelta(days=80)).status_code in door.ok
    (row,) = settle()
    assert isinstance(row, Transaction), row.reason
    assert (timezone.now() - row.occurred_at).days == 80


KEYED = [name for name, door in DOORS.items() if door.key]
AROUND = {"a newline": f"{KEY}\n", "blanks": f"  {KEY}\t", "a carriage return": f"\r\n{KEY}\r\n"}


@pytest.mark.parametrize("what", AROUND)
@pytest.mark.parametrize("name", KEYED)
def test_white_space_around_a_key_is_no_part_of_it(ask, subscription, name, what):
    door = DOORS[name]

    assert ask(door, {door.key: AROUND[what]}).status_code in door.ok
    (row,) = settle()
    assert isinstance(row, Transaction), row.reason


@pytest.mark.parametrize("length", [1_582, 4_096])
@pytest.mark.parametrize("name", KEYED)
def test_a_long_key_is_one_everywhere(ask, name, length):
    key = "k" * length
    customer = factories.a_customer("Acme")
    factories.a_credential(customer, key, subscriptions=[factories.a_subscription(customer)])
    door = DOORS[name]

    assert ask(door, {door.key: key}).status_code in door.ok
    (row,) = settle()
    assert isinstance(row, Transaction), row.reason


@pytest.mark.parametrize("name", KEYED)
def test_a_longer_one_is_rejected_with_the_number(ask, name):
    door = DOORS[name]

    assert ask(door, {door.key: "k" * 4_097}).status_code == 400
    (kept,) = Rejection.objects.all()
    assert (kept.code, kept.message.endswith("at most 4,096 characters.")) == ("too_long", True)
    assert "kkkk" not in f"{kept.field}{kept.message}{kept.transaction_id}"


ODDLY = {
    "prefix": f"Bearer {KEY}",
    "quotes": f'"{KEY}"',
    "quotes,prefix": f'"Bearer {KEY}"',
    "invisible": f"{KEY[:5]}\u200b{KEY[5:]}",
    "escapes": KEY.replace("-", "%2D"),
    "case": KEY.upper(),
}


@pytest.mark.parametrize("oddities", ODDLY)
@pytest.mark.parametrize("name", KEYED)
def test_a_key_is_recognised_but_for_an_oddity(ask, subscription, name, oddities):
    door = DOORS[name]

    ask(door, {door.key: ODDLY[oddities]})

    (row,) = settle()
    assert row.reason == "unknown_key"
    known = subscription.customer.credentials.get().keys.get()
    assert row.similar_fingerprint == known.fingerprint
    assert sorted(row.oddities.split(",")) == sorted(oddities.split(","))


@pytest.mark.parametrize("name", DOORS)
def test_a_good_call_is_counted_once_and_keeps_no_reason(ask, name, subscription):
    door = DOORS[name]

    assert ask(door).status_code in door.ok
    (row,) = settle()
    assert not Rejection.objects.exists()
    assert not Conflict.objects.exists()
    assert not (row.metadata or {}).keys() & {"latency_ms", "status"}


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.struct])
def test_no_field_of_a_struct_is_forgotten(name):
    """Each one decides, or is a fact that the cases above go through."""
    door = DOORS[name]
    struct = door.struct
    wire = dict(zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True))
    tried = {*door.latency, *door.status, *door.size, *door.method, *door.path_fields}
    known = {python for python, encoded in wire.items() if encoded in tried} | door.deciding
    labels = {"model", "provider"}  # kept as they are

    assert wire.keys() - known - labels == set()
