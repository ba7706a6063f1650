"""Which log records are calls, what is counted and kept of them, and what makes a repeat."""

import copy
import gzip
import json
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from metering.api import authentication
from metering.api.revenium import labels
from metering.api.revenium.ai import COST_FIELDS, AiCall, AiDialect
from metering.api.revenium.calls_in_logs import USAGE_ATTRIBUTES, is_usage
from metering.api.revenium.dialect import REVENIUM_FACT_READERS
from metering.api.revenium.record_facts import DECIDING
from metering.api.revenium.tools import ToolCall
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Delivery, IntakeStats, Quarantined, Transaction
from tests import factories
from tests.lengths import sampled
from tests.metering.api.revenium.logs import PATH, attributes, logs, of_resource, record

pytestmark = pytest.mark.django_db

KEY = "ak_live_demo_9c2e"
SECRET = "what-somebody-asked-a-model"


@pytest.fixture
def counted(revenium, settled):
    """Post log records, and return what was counted of them."""

    def counted(body, **headers):
        answer = revenium(PATH, body, **headers)
        assert answer.status_code == 200, answer.content
        settled()
        rows = [*Transaction.objects.order_by("pk"), *Quarantined.objects.order_by("pk")]
        return [row.elements for row in rows]

    return counted


@pytest.fixture
def configured(gateway):
    def configured(**fields):
        for name, value in fields.items():
            setattr(gateway, name, value)
        gateway.save()
        authentication.forget_admissions()

    return configured


# --- One request of a model, as its clients tell of it -------------------------------------------

COMMON = {"session.id": "s-1", "installation.id": "i-1", "interactive": False}
MOMENT = {"event.timestamp": "2026-11-28T12:00:00.000Z"}
TOKENS = {
    "input_token_count": 9_871,
    "output_token_count": 12,
    "cached_content_token_count": 0,
    "thoughts_token_count": 31,
    "tool_token_count": 0,
    "total_token_count": 9_914,
}
DETAILS = "gen_ai.client.inference.operation.details"

# All that Gemini's CLI sends for one request: ten records.
GEMINI = [
    {"event.name": "gemini_cli.config", "extensions_count": 3, "mcp_servers_count": 0},
    {"event.name": "gemini_cli.ripgrep_fallback", "error": "not found"},
    {"event.name": "gemini_cli.startup_stats", "duration_ms": 812, "memory": 91_000_000},
    {"event.name": "gemini_cli.user_prompt", "prompt_length": 42, "prompt": SECRET},
    {"event.name": "gemini_cli.model_routing", "classifier_threshold": 50, "latency": 3},
    {"event.name": "gemini_cli.api_request", "model": "flash", "request_text": SECRET},
    {"event.name": DETAILS, "gen_ai.request.temperature": 1, "gen_ai.input.messages": SECRET},
    {"event.name": "gemini_cli.api_response", "status_code": 200, "duration_ms": 640, **TOKENS},
    {
        "event.name": DETAILS,
        "gen_ai.usage.input_tokens": 9_871,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.response.id": "r-1",
        "gen_ai.output.messages": SECRET,
    },
    {"event.name": "gemini_cli.approval_mode_switch", "count": 1},
]

CLAUDE = [
    ("claude_code.user_prompt", {"event.name": "user_prompt", "prompt_length": 42}),
    (
        "claude_code.api_request",
        {"event.name": "api_request", "model": "m", "cost_usd": 0.25, "input_tokens": 5},
    ),
    ("claude_code.tool_decision", {"event.name": "tool_decision", "decision": "accept"}),
    ("claude_code.tool_result", {"event.name": "tool_result", "tool_result_size_bytes": 4096}),
    ("claude_code.agent_result", {"event.name": "agent_result", "total_tokens": 70_000}),
    ("claude_code.api_error", {"event.name": "api_error", "attempt": 3, "status_code": 529}),
]

CODEX = [
    {"event.name": "codex.conversation_starts", "context_window": 272_000},
    {"event.name": "codex.api_request", "attempt": 1, "duration_ms": 300},
    {"event.name": "codex.sse_event", "event.kind": "response.created", "duration_ms": 1},
    {"event.name": "codex.sse_event", "event.kind": "response.completed", "input_token_count": 7},
    {"event.name": "codex.tool_result", "duration_ms": 12, "arguments": SECRET},
]


def test_gemini_s_cli_is_counted_once(counted):
    records = [record(COMMON | MOMENT | said) for said in GEMINI]

    assert counted(logs(*records, scope="gemini-cli")) == [{"calls": 1} | TOKENS]
    assert IntakeStats.objects.get().passed_over == 9


@pytest.mark.parametrize("named", [{"scope": "gemini-cli"}, {"resource": {"service.name": "x"}}])
def test_it_is_counted_once_in_whatever_posts_it_comes(counted, named):
    """By its program's name where the two vocabularies come apart, or else by the company."""
    posts = [[each] for each in GEMINI] if "scope" in named else [GEMINI[:5], GEMINI[5:]]
    for post in posts:
        seen = counted(logs(*(record(COMMON | said) for said in post), **named))

    assert seen == [{"calls": 1} | TOKENS]


def test_claude_code_is_counted_once(counted):
    records = [record(said, body=body) for body, said in CLAUDE]

    assert counted(logs(*records, resource={"service.name": "claude-code"})) == [
        {"calls": 1, "cost_usd": 0.25, "input_tokens": 5}
    ]


def test_codex_is_counted_once(counted):
    assert counted(logs(*map(record, CODEX))) == [{"calls": 1, "input_token_count": 7}]


def test_cursor_is_counted(counted):
    said = {"transaction_id": "c-1", "model": "m", "input_tokens": "7", "billing.kind": "usage"}

    assert counted(logs(record(said, body="cursor_ide.api_response"))) == [
        {"calls": 1, "input_tokens": 7}
    ]


def test_conventions_alone_are_counted(counted):
    said = {"event.name": DETAILS, "gen_ai.usage.input_tokens": 5, "server.port": 443}

    assert counted(logs(record(said), resource={"service.name": "shop"})) == [
        {"calls": 1, "gen_ai.usage.input_tokens": 5}
    ]


def test_two_programs_in_one_post_do_not_hide_each_other(counted):
    body = {
        "resourceLogs": [
            of_resource(record({"event.name": "claude_code.api_request", "input_tokens": 1})),
            of_resource(record({"event.name": DETAILS, "gen_ai.usage.input_tokens": 2})),
        ]
    }

    assert len(counted(body)) == 2


# --- What is a call, and what is counted of it ----------------------------------------------------

CALLS = [
    {"transaction.id": "t-1"},
    {"revenium.transaction.id": "t-1"},
    {"transaction_id": "t-1"},
    {"revenium.transaction_id": "t-1"},
    {"credential": KEY},
    {"subscriber.credential": KEY},
    {"revenium.subscriber.credential.value": KEY},
    {"subscription.id": "sub-key-1"},
    {"gen_ai.usage.anything": 3},
    {"event.name": "some.api_response"},
    *({name: 1} for name in sorted(USAGE_ATTRIBUTES)),
]
NO_CALLS = [
    {},
    {"event.name": "user_prompt", "prompt_length": 42},
    {"event.name": "tool_result"},
    {"event.name": "claude_code.tool_result", "output_tokens": 4},
    {"ClientPort": 59_550, "Duration": 723_849, "status": 200},
    {"http.request.method": "GET", "http.response.status_code": 200},
    {"log.record.uid": "01"},
]


@pytest.mark.parametrize("said", sampled(CALLS, every=4), ids=str)
def test_it_is_a_call(counted, subscription, said):
    (elements,) = counted(logs(record(said)))

    assert elements["calls"] == 1
    assert not IntakeStats.objects.get().passed_over


@pytest.mark.parametrize("said", sampled(NO_CALLS, every=4), ids=str)
@pytest.mark.parametrize("resource", [{}, {"credential": KEY}])
def test_it_is_no_call(counted, said, resource):
    assert counted(logs(record(said), resource=resource)) == []
    assert IntakeStats.objects.get().passed_over == 1


def test_the_gateway_s_page_names_records(counted, configured):
    configured(counted_records=["access", "http.*"])
    names = ["access", "http.access", "other"]

    assert counted(logs(*(record({"event.name": name}) for name in names))) == [{"calls": 1}] * 2


def test_every_record_may_be_a_call(counted, configured):
    configured(counted_records=["*"])

    assert counted(logs(record({}, body="GET / 200"))) == [{"calls": 1}]


def test_the_gateway_s_page_names_elements(counted, configured):
    configured(event_elements=["Duration"])
    said = {"ClientPort": 59_550, "Duration": 7, "input_tokens": 5}

    assert counted(logs(record(said), record({"ClientPort": 1}))) == [{"calls": 1, "Duration": 7}]


@settings(max_examples=150)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
            lambda name: name not in USAGE_ATTRIBUTES and not name.startswith("gen_ai.usage.")
        )
        | st.sampled_from(
            ["ClientPort", "Duration", "status", "prompt_length", "http.response.status_code"]
        ),
        st.integers(0, 2**40) | st.floats(0, 1e9),
        max_size=10,
    )
)
def test_no_other_number_is_counted(post_calls, said):
    (call,) = post_calls(logs(record(said | {"transaction.id": "t"})))

    assert call["elements"] == {"calls": 1}


def test_what_was_called_has_columns(revenium, credential, settled):
    said = {
        "credential": KEY,
        "http.request.method": "GET",
        "url.path": f"/maps/1?api_key={KEY}",
        "http.response.status_code": 200,
        "http.request.body.size": "12",
        "http.response.body.size": 20_481,
        "duration_ms": 1.5,
    }
    revenium(PATH, logs(record(said)))

    (row,) = settled().values()
    assert (row.method, row.path, row.status) == ("GET", "/maps/1", 200)
    assert (row.request_bytes, row.response_bytes, row.latency_ms) == (12, 20_481, 1.5)
    assert (row.elements, row.metadata) == ({"calls": 1}, None)


@pytest.mark.parametrize(
    "odd",
    [
        {"duration_ms": "0.304, 0.012"},
        {"http.response.status_code": "502, 200"},
        {"http.response.body.size": -1},
        {"http.request.method": "x" * 100},
    ],
)
def test_a_fact_that_decides_nothing_costs_no_call(revenium, credential, settled, odd):
    revenium(PATH, logs(record({"credential": KEY} | odd)))

    (row,) = settled().values()
    assert row.credential == credential
    assert {name: str(value) for name, value in row.metadata.items()} == {
        name: str(value) for name, value in odd.items()
    }


@pytest.mark.parametrize("name", ["http.request.method", "duration_ms", "http.response.body.size"])
def test_a_fact_that_may_be_a_prompt_is_not_kept(revenium, credential, settled, name):
    revenium(PATH, logs(record({"credential": KEY, name: SECRET * 20})))

    (row,) = settled().values()
    assert (row.credential, row.metadata) == (credential, None)


# --- What is kept ---------------------------------------------------------------------------------


@pytest.fixture
def post_calls(revenium):
    """Post a body, and return the calls as they wait."""

    def post_calls(body, path=PATH):
        Delivery.objects.all().delete()
        answer = revenium(path, body)
        assert answer.status_code in {200, 201}, answer.content
        return json.loads(Delivery.objects.get().body)

    return post_calls


NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30
) | st.sampled_from(
    [
        *sorted(labels.NEVER_KEPT_LABELS),
        *("gen_ai.event.content", "content", "message", "text", "tool_args", "request_X-Api-Key"),
        *("systemPrompt", "inputMessages", "outputResponse", "payload", "usageMetadata"),
    ]
)
TOLD = st.recursive(
    st.just(SECRET),
    lambda inner: st.lists(inner, min_size=1, max_size=2) | st.fixed_dictionaries({"a": inner}),
    max_leaves=3,
)


def as_any_value(said):
    if isinstance(said, dict):
        pairs = [{"key": name, "value": as_any_value(each)} for name, each in said.items()]
        return {"kvlistValue": {"values": pairs}}
    if isinstance(said, list):
        return {"arrayValue": {"values": [as_any_value(each) for each in said]}}
    return {"stringValue": said}


@settings(max_examples=200)
@given(
    # Usage that is no number rejects its record, as two different ids do, so that nothing of it is
    # kept at all.
    st.dictionaries(
        NAMES.filter(lambda name: name not in labels.LOG_LABELS | DECIDING and not is_usage(name)),
        TOLD,
        max_size=8,
    ),
    st.sampled_from(["attributes", "resource", "body"]),
)
def test_of_a_record_nothing_but_the_list_is_kept(post_calls, said, place):
    pairs = [{"key": name, "value": as_any_value(each)} for name, each in said.items()]
    one = record({"transaction.id": "t", "model": "small"}, body=SECRET)
    body = logs(one)
    if place == "attributes":
        one["attributes"] += pairs
    elif place == "resource":
        body["resourceLogs"][0]["resource"]["attributes"] += pairs
    else:
        one["body"] = as_any_value(said)

    (call,) = post_calls(body)

    assert call["metadata"] == {"model": "small"}
    assert SECRET not in Delivery.objects.get().body


# Fields that decide: a text that does not fit rejects the call, so that nothing of it is kept. And
# names of facts, which are listed: what is kept under a listed name is tested below.
DECISIVE_FIELDS = (
    {field.encode_name for item in (AiCall, ToolCall) for field in msgspec.structs.fields(item)}
    | {name for dialect in AiDialect.__subclasses__() for name in dialect.amounts}
    | {*COST_FIELDS, "costUsd"}
    | REVENIUM_FACT_READERS.keys()
)


@pytest.mark.parametrize("door", ["completions", "images", "audio", "video", "tool"])
@settings(max_examples=60)
@given(
    st.dictionaries(
        NAMES.filter(
            lambda name: name not in labels.AI_LABELS | labels.TOOL_LABELS | DECISIVE_FIELDS
        ),
        TOLD,
        max_size=8,
    )
)
def test_of_a_call_of_ai_nothing_but_the_list_is_kept(post_calls, door, said):
    path = "/meter/v2/tool/events" if door == "tool" else f"/meter/v2/ai/{door}"

    (call,) = post_calls({"transactionId": "t", "agent": "a"} | said, path)

    assert call["metadata"] == {"agent": "a"}
    assert SECRET not in Delivery.objects.get().body


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"model": {"arrayValue": {"values": [{"kvlistValue": {}}]}}}),
        (PATH, {"model": {"stringValue": "x" * 501}}),
        ("/meter/v2/ai/completions", {"model": {"messages": [SECRET]}}),
        ("/meter/v2/ai/completions", {"taskType": [[SECRET]]}),
        ("/meter/v2/ai/completions", {"taskType": SECRET * 20}),
        ("/meter/v2/tool/events", {"usageMetadata": {"query": SECRET, "a": {"b": SECRET}}}),
        ("/meter/v2/tool/events", {"operation": {"arguments": SECRET}}),
        *(
            (f"/meter/v2/{door}", {name: value})
            for door in ("ai/completions", "tool/events")
            for name in REVENIUM_FACT_READERS
            for value in (SECRET * 20, [[SECRET]], {"a": SECRET})
        ),
    ],
)
def test_under_a_listed_name_only_a_label_is_kept(post_calls, path, body):
    if path == PATH:
        pairs = [{"key": name, "value": value} for name, value in body.items()]
        body = logs(record({"transaction.id": "t"}))
        body["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["attributes"] += pairs

    (call,) = post_calls(body, path)

    assert call.get("metadata") is None


def test_the_gateway_s_page_names_attributes(post_calls, configured):
    configured(kept_attributes=["tenant", "body", "prompt", "credential"])
    said = {"transaction.id": "t", "tenant": "a", "prompt": SECRET, "credential": KEY}

    (of_logs,) = post_calls(logs(record(said, body=SECRET)))
    (of_ai,) = post_calls(
        {"transactionId": "t", "tenant": "a", "prompt": SECRET}, "/meter/v2/ai/completions"
    )

    assert of_logs["metadata"] == of_ai["metadata"] == {"tenant": "a"}


# --- What makes a repeat --------------------------------------------------------------------------

MOVED = {
    "log.file.name": "access.log.1",
    "log.file.record_offset": 99,
    "process.pid": 7,
    "host.name": "b",
    "container.id": "c",
    "service.instance.id": "d",
}


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("place", ["attributes", "resource"])
def test_read_again_from_a_file_of_another_name(revenium, credential, settled, ids, place):
    at = time.time_ns()
    for moved in ({"log.file.name": "access.log"}, MOVED):
        own = moved if place == "attributes" else {}
        records = [
            record(
                {"credential": KEY, "n": n, **own, **({"transaction.id": f"t-{n}"} if ids else {})},
                body=f"line {n}",
                at=at + n,
                observedTimeUnixNano=str(time.time_ns()),
            )
            for n in range(100)
        ]
        revenium(PATH, logs(*records, resource={} if place == "attributes" else moved))
    settled()

    assert Transaction.objects.count() == 100
    assert not Conflict.objects.exists()
    assert IntakeStats.objects.get().repeated == 100


def test_what_was_observed_again_is_the_same(revenium, credential, settled):
    for _ in range(2):
        said = record({"credential": KEY}, body="a line", at=0)
        revenium(PATH, logs(said | {"observedTimeUnixNano": str(time.time_ns())}))
    settled()

    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()


@pytest.mark.parametrize("other", [{"body": "b"}, {"at": 1}, {"said": {"n": 2}}])
def test_the_same_id_with_another_content_is_a_conflict(revenium, credential, settled, other):
    now = time.time_ns()
    for change in ({}, other):
        said = {"credential": KEY, "transaction.id": "t", "n": 1} | change.get("said", {})
        at = now + 1_000 * change.get("at", 0)
        revenium(PATH, logs(record(said, body=change.get("body", "a"), at=at)))
    settled()

    assert Transaction.objects.count() == 1
    assert Conflict.objects.count() == 1


@pytest.mark.parametrize(
    "name",
    ["transaction_id", "transaction.id", "revenium.transaction_id", "revenium.transaction.id"],
)
def test_an_id_by_every_name(revenium, credential, settled, name):
    said = {name: "x", "input_tokens": 7, "credential": KEY}
    at = time.time_ns()
    revenium(PATH, logs(record(said, at=at), record(said, at=at)))
    revenium(PATH, logs(record(said, at=at), resource={"region": "eu"}))

    assert settled().keys() == {"x"}
    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()


def test_an_id_of_the_resource_is_that_of_no_record(revenium, credential, settled):
    said = [record({"input_tokens": n, "credential": KEY}) for n in range(3)]
    revenium(PATH, logs(*said, resource={"transaction.id": "x"}))
    settled()

    assert Transaction.objects.count() == 3


# --- Names ----------------------------------------------------------------------------------------


def test_an_organization_and_a_product_are_the_resource_s(revenium, subscription, settled):
    """Programs make up an organization in their records; in the resource it was configured."""
    made_up = {"organization.name": "0d6f6c1b-7a01", "product.name": "x", "input_tokens": 1}
    product = subscription.product.name
    resource = {"organization.name": "Acme", "revenium.product.name": product}
    revenium(PATH, logs(record(made_up), resource=resource))

    (row,) = settled().values()
    assert row.subscription == subscription
    assert row.names == {"customer": "Acme", "product": product}


# --- A token where no header comes ----------------------------------------------------------------


def as_message(body):
    message = ExportLogsServiceRequest()
    for each in body["resourceLogs"]:
        made = message.resource_logs.add()
        for pair in each["resource"]["attributes"]:
            made.resource.attributes.add(key=pair["key"]).value.string_value = pair["value"][
                "stringValue"
            ]
        for said in each["scopeLogs"][0]["logRecords"]:
            log = made.scope_logs.add().log_records.add(time_unix_nano=int(said["timeUnixNano"]))
            for pair in said["attributes"]:
                log.attributes.add(key=pair["key"]).value.string_value = pair["value"][
                    "stringValue"
                ]
    return message.SerializeToString()


def encoded(body, kind):
    data = as_message(body) if "protobuf" in kind else json.dumps(body).encode()
    return gzip.compress(data) if "gzip" in kind else data


@pytest.fixture
def ask(client):
    def ask(body, kind="json", **headers):
        types = {True: "application/x-protobuf", False: "application/json"}
        if "gzip" in kind:
            headers["content-encoding"] = "gzip"
        data = body if isinstance(body, bytes) else encoded(body, kind)
        return client.post(PATH, data, content_type=types["protobuf" in kind], headers=headers)

    return ask


@pytest.mark.parametrize("kind", ["json", "json gzip", "protobuf", "protobuf gzip"])
def test_the_token_as_an_attribute(ask, token, credential, settled, kind):
    said = {"transaction.id": "r1", "subscriber.credential": KEY}
    resource = {"service.name": "gemini-cli", "revenium.api_key": token}
    answer = ask(logs(record(said), resource=resource), kind)

    row = settled()["r1"]
    assert answer.status_code == 200
    assert row.credential == credential
    assert row.metadata == {"service.name": "gemini-cli"}
    assert token not in str(list(Transaction.objects.values()))


def test_the_token_with_records_before_the_resource(ask, token):
    body = logs(record({"input_tokens": "1"}), resource={"revenium.api_key": token})
    (one,) = body["resourceLogs"]
    one["resource"] = one.pop("resource")  # now the last member

    assert ask(body).status_code == 200


def test_the_token_before_very_many_records(ask, token):
    records = [record({"input_tokens": "1", "prompt": "x" * 1_000}) for _ in range(500)]
    body = logs(*records, resource={"revenium.api_key": token})

    for kind in ("json", "json gzip", "protobuf", "protobuf gzip"):
        assert ask(body, kind).status_code == 200


BAD_TOKENS = {
    "none": {},
    "unknown": {"revenium.api_key": "hak_rvg_nobody"},
    "empty": {"revenium.api_key": ""},
}


@pytest.mark.parametrize("kind", ["json", "json gzip", "protobuf"])
@pytest.mark.parametrize("resource", BAD_TOKENS.values(), ids=BAD_TOKENS)
def test_without_a_good_token_nobody_is_known(ask, gateway, kind, resource):
    assert ask(logs(record({"input_tokens": "1"}), resource=resource), kind).status_code == 401
    assert not Delivery.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"{}", b'{"resourceLogs":[]}', b'{"resourceLogs":[null]}'),
        *(b'{"resourceLogs":[{"resource":5}]}', b'{"resourceLogs":[{"resource":{'),
        *(b'{"resourceLogs":[{"resource":' + b"[" * 60_000, b"\xff\xfe", b"\n\xff", b"\n"),
        *(b"\n\xff\xff\xff\xff\xff\xff", b"\n\x04\n\x02\n\xff"),
    ],
)
@pytest.mark.parametrize("kind", ["json", "protobuf", "json gzip"])
def test_whatever_comes_before_anybody_is_known(ask, gateway, body, kind):
    assert ask(body, kind).status_code == 401


def test_only_the_first_resource_is_looked_at(ask, token):
    body = {
        "resourceLogs": [
            of_resource(record({"input_tokens": "1"})),
            of_resource(record({"input_tokens": "1"}), resource={"revenium.api_key": token}),
        ]
    }

    assert ask(body).status_code == 401


def test_a_header_goes_before_an_attribute(ask, token):
    body = logs(record({"input_tokens": "1"}), resource={"revenium.api_key": token})

    assert ask(body, **{"x-api-key": "hak_rvg_nobody"}).status_code == 401


def test_an_attribute_may_be_a_token_that_may_not_post(ask, gateway):
    from metering.models import GatewayToken

    reader = GatewayToken.issue(gateway, name="", scopes=["receipts:read"])[1]
    body = logs(record({"input_tokens": "1"}), resource={"revenium.api_key": reader})

    assert ask(body).status_code == 403


# --- One bad record costs no other ----------------------------------------------------------------

GOOD = {"transaction.id": "good", "credential": KEY, "input_tokens": 5}
WRONG = [None, 5, "x", [], {}, [None], [5], {"a": 1}, True, 1e300, -1, "\0", "\ud800"]


def places(said, path=()):
    """The path of each member and element in it."""
    yield path
    for name, each in said.items() if isinstance(said, dict) else enumerate(said):
        if isinstance(each, dict | list):
            yield from places(each, (*path, name))
        else:
            yield (*path, name)


ONE = {
    "timeUnixNano": "1",
    "observedTimeUnixNano": "1",
    "eventName": "x",
    "severityText": "INFO",
    "body": {"stringValue": "x"},
    "attributes": attributes({"transaction.id": "bad", "input_tokens": 5, "duration_ms": 1}),
    "traceId": "00",
}
SPOILT = {
    "record": ONE,
    "scope": {"scope": {"name": "x"}, "logRecords": [ONE]},
    "resource": {"resource": {"attributes": attributes({"a": "b"})}, "scopeLogs": []},
}


@pytest.mark.parametrize(
    ("what", "path"),
    [(what, path) for what, said in SPOILT.items() for path in places(said)],
    ids=str,
)
def test_one_bad_record_costs_no_other(revenium, what, path):
    for wrong in WRONG:
        Delivery.objects.all().delete()
        spoilt = copy.deepcopy({"it": SPOILT[what]})
        target, name = spoilt, "it"
        for step in path:
            target, name = target[name], step
        target[name] = wrong
        first, last = (record(GOOD | {"transaction.id": f"good-{n}"}) for n in range(2))
        body = logs(first, last)
        if what == "record":
            body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].insert(1, spoilt["it"])
        elif what == "scope":
            body["resourceLogs"][0]["scopeLogs"].insert(0, spoilt["it"])
        else:
            body["resourceLogs"].insert(0, spoilt["it"])

        answer = revenium(PATH, body)

        assert answer.status_code == 200, (wrong, answer.content)
        ids = {call["transaction_id"] for call in json.loads(Delivery.objects.get().body)}
        assert {"good-0", "good-1"} <= ids, wrong


@pytest.mark.parametrize("levels", [31, 32, 90, 200, 5_000, 20_000])
@pytest.mark.parametrize("place", ["attribute", "body", "resource"])
def test_what_is_nested_deeply_costs_no_other(revenium, levels, place):
    text = '{"arrayValue":{"values":[' * levels + '{"stringValue":"x"}' + "]}}" * levels
    bad = record(GOOD | {"transaction.id": "bad"})
    body = {"resourceLogs": [of_resource(bad), of_resource(record(GOOD))]}
    marked = {"key": "prompt", "value": "HERE"}
    if place == "attribute":
        bad["attributes"].append(marked)
    elif place == "body":
        bad["body"] = "HERE"
    else:
        body["resourceLogs"][0]["resource"]["attributes"].append(marked)

    answer = revenium(PATH, json.dumps(body).replace('"HERE"', text))

    if levels >= 5_000:  # deeper than any JSON that is read
        assert answer.status_code in {200, 400}, answer.content
        return
    assert answer.status_code == 200
    assert answer.json()["processedEvents"] == (2 if levels < 32 else 1)


def test_which_record_was_bad_is_told(revenium):
    bad = [{"attributes": "x"}, {"timeUnixNano": "never"}, 5]
    body = logs(record(GOOD), *bad, record(GOOD | {"transaction.id": "t"}))

    said = revenium(PATH, body).json()

    assert said["processedEvents"] == 2
    assert said["partialSuccess"]["rejectedLogRecords"] == "3"
    told = said["partialSuccess"]["errorMessage"]
    assert "Record 1: attributes: " in told
    assert "Record 2: timeUnixNano: " in told
    assert "Record 3: " in told


def test_many_bad_records_are_told_in_part(revenium):
    said = revenium(PATH, logs(*[5] * 30)).json()["partialSuccess"]

    assert said["rejectedLogRecords"] == "30"
    assert said["errorMessage"].endswith("And 20 more.")


@pytest.mark.parametrize(
    "text",
    [b"\\ud83d", b"\\ude00", b"a\\ud83dz", b"\\ud83d\\ud83d\\ude00", b"\xff", b"\\\\\\ud83d"],
)
def test_text_cut_within_a_character_costs_no_call(revenium, text):
    """As a prompt that was cut short: what it says is not kept anyway."""
    body = json.dumps(logs(record(GOOD | {"prompt": "CUT", "session.id": "CUT"})))

    assert revenium(PATH, body.encode().replace(b"CUT", text)).status_code == 200
    (call,) = json.loads(Delivery.objects.get().body)
    assert "\ufffd" in call["metadata"]["session.id"]


@pytest.mark.parametrize("text", [b"\\ud83d\\ude00", b"\\\\ud83d"])
def test_sound_text_stays(revenium, text):
    body = json.dumps(logs(record(GOOD | {"session.id": "CUT", "prompt": "HALF"}))).encode()
    body = body.replace(b"CUT", text).replace(b"HALF", b"\\ud83d")

    assert revenium(PATH, body).status_code == 200
    (call,) = json.loads(Delivery.objects.get().body)
    assert call["metadata"]["session.id"] == json.loads(b'"%s"' % text)


def test_without_attributes_it_is_a_record_like_others(revenium):
    body = logs(record(GOOD), {"timeUnixNano": str(time.time_ns()), "attributes": None})

    said = revenium(PATH, body).json()

    assert (said["processedEvents"], said["passedOver"]) == (1, 1)
    assert said["partialSuccess"] == {}


def test_what_is_rejected_is_told_by_its_place_among_all(revenium):
    body = logs(record({"event.name": "user_prompt"}), record(GOOD, at=1))

    told = revenium(PATH, body).json()["partialSuccess"]["errorMessage"]

    assert told.startswith("Record 1: timeUnixNano: ")


def test_passed_over_is_counted_where_nothing_else_is(revenium, gateway):
    revenium(PATH, logs(record({}), record({})))
    process_waiting_deliveries()
    revenium(PATH, logs(record({}), record({"input_tokens": 1})))
    process_waiting_deliveries()

    tally = IntakeStats.objects.get()
    assert (tally.gateway, tally.passed_over, tally.accepted) == (gateway, 3, 1)
    factories.a_gateway()


# --- What the documentation says ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", sorted(USAGE_ATTRIBUTES | labels.LOG_LABELS | labels.AI_LABELS | labels.TOOL_LABELS)
)
def test_the_lists_are_documented(name):
    guide = (Path(__file__).parents[4] / "docs" / "gateways.md").read_text()

    assert f"`{name}`" in guide
