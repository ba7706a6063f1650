"""Spans over OTLP: requests to models are calls, once also where logs report them."""

import gzip
import json
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Quarantined, Rejection, Transaction
from tests import factories
from tests.metering.api.revenium.logs import PATH as LOGS
from tests.metering.api.revenium.logs import attributes, logs, record

pytestmark = pytest.mark.django_db

TRACES = "/meter/v2/otlp/v1/traces"
PROTOBUF = "application/x-protobuf"
KEY = "the-key-of-the-spans"
TRACE = "5b8efff798038103d269b633813fc60c"
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "small",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 7,
}


def span(said, *, number=1, name="chat small", took=1_500, at=None, **fields):
    """Return a span that began just now. `took`: milliseconds."""
    begin = time.time_ns() - 10**10 if at is None else at
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": name,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(begin + took * 10**6),
        "attributes": attributes(said),
    } | fields


def traces(*spans, resource=None):
    resource = {"attributes": attributes(resource or {"subscriber.credential": KEY})}
    scope = {"scope": {"name": "tests"}, "spans": list(spans)}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}


def as_protobuf(body):
    message = ExportTraceServiceRequest()
    for of_resource in body["resourceSpans"]:
        resource = message.resource_spans.add()
        _add_attributes(resource.resource, of_resource["resource"])
        for each in of_resource["scopeSpans"][0]["spans"]:
            made = resource.scope_spans.add().spans.add(
                trace_id=bytes.fromhex(each["traceId"]),
                span_id=bytes.fromhex(each["spanId"]),
                name=each["name"],
                start_time_unix_nano=int(each["startTimeUnixNano"]),
                end_time_unix_nano=int(each["endTimeUnixNano"]),
            )
            _add_attributes(made, each)
    return message.SerializeToString()


def _add_attributes(to, said):
    for pair in said["attributes"]:
        value = to.attributes.add(key=pair["key"]).value
        ((kind, each),) = pair["value"].items()
        if kind == "intValue":
            value.int_value = int(each)
        else:
            value.string_value = each


@pytest.fixture
def send(client, token):
    def send(body, path=TRACES, content_type="application/json", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"x-api-key": token} | headers
        return client.post(path, data, content_type=content_type, headers=headers)

    return send


@pytest.fixture
def credential():
    subscription = factories.a_subscription(external_key="acme-ai")
    return factories.a_credential(subscription.customer, KEY, subscriptions=[subscription])


@pytest.mark.parametrize("path", [TRACES, f"{TRACES}/", "/v2/otlp/v1/traces", "/v1/traces"])
@pytest.mark.parametrize("protobuf", [False, True])
def test_a_request_to_a_model_is_a_call(send, credential, path, protobuf):
    at = (time.time_ns() // 10**6 - 10_000) * 10**6
    body = traces(span(CHAT, at=at), span({"http.route": "/maps"}, number=2, name="GET /maps"))
    data = gzip.compress(as_protobuf(body) if protobuf else json.dumps(body).encode())
    kind = PROTOBUF if protobuf else "application/json"

    answer = send(data, path, kind, **{"content-encoding": "gzip"})
    process_waiting_deliveries()

    assert (answer.status_code, answer["Content-Type"]) == (200, kind)
    if protobuf:
        assert ExportTraceServiceResponse.FromString(answer.content).ByteSize() == 0
    else:
        said = answer.json()
        assert (said["processedEvents"], said["passedOver"]) == (1, 1)
        assert said["partialSuccess"] == {}
    row = Transaction.objects.get()
    assert (row.credential, row.transaction_id) == (credential, "response-chatcmpl-1")
    assert (row.occurred_at.timestamp(), row.latency_ms) == (at / 10**9, 1_500)
    assert row.elements == {
        "calls": 1,
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 7,
    }
    assert row.metadata["gen_ai.request.model"] == "small"


@pytest.mark.parametrize("first", ["logs", "spans"])
def test_a_response_that_logs_report_too_is_counted_once(send, credential, first):
    resource = {"subscriber.credential": KEY}
    posts = {
        "spans": (traces(span(CHAT)), TRACES),
        "logs": (logs(record(CHAT, body="gen_ai.details"), resource=resource), LOGS),
    }
    for _, (body, path) in sorted(posts.items(), key=lambda each: each[0] != first):
        assert send(body, path).json()["processedEvents"] == 1
    process_waiting_deliveries()

    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()


def test_sums_of_agents_and_what_programs_log_as_well_are_not_counted(send):
    usage = {"gen_ai.usage.input_tokens": 19}
    agent = {"gen_ai.operation.name": "invoke_agent"} | usage
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
    spans = [span(agent), span(tool, number=2), span({"gen_ai.agent.name": "a"}, number=3)]
    without_response = span({"gen_ai.operation.name": "embeddings"} | usage, number=4)

    sums = send(traces(*spans, without_response)).json()
    known = send(traces(span(CHAT), resource={"service.name": "gemini-cli"})).json()
    process_waiting_deliveries()

    assert (sums["processedEvents"], sums["passedOver"]) == (1, 3)
    assert (known["processedEvents"], known["passedOver"]) == (0, 1)
    assert Quarantined.objects.get().transaction_id == f"span-{TRACE}-{4:016x}"


@pytest.mark.parametrize("protobuf", [False, True])
def test_partial_success(send, protobuf):
    good, bad = span(CHAT), span(CHAT | {"gen_ai.usage.input_tokens": -1}, number=2)
    kind = PROTOBUF if protobuf else "application/json"

    def answer_to(*spans):
        body = traces(span({"a": "b"}), *spans)
        return send(as_protobuf(body) if protobuf else body, content_type=kind)

    some, none = answer_to(bad, good), answer_to(bad)

    if protobuf:
        told = ExportTraceServiceResponse.FromString(some.content).partial_success
        rejected, message = told.rejected_spans, told.error_message
    else:
        told = some.json()["partialSuccess"]
        rejected, message = int(told["rejectedSpans"]), told["errorMessage"]
    assert (some.status_code, rejected) == (200, 1)
    assert message.startswith("Record 1: gen_ai.usage.input_tokens")
    assert none.status_code == 400
    assert Rejection.objects.count() == 2


def test_the_token_may_stand_in_the_first_resource(client, token, credential):
    body = traces(span(CHAT), resource={"revenium.api_key": token, "subscriber.credential": KEY})
    for data, kind in ((json.dumps(body), "application/json"), (as_protobuf(body), PROTOBUF)):
        assert client.post("/v1/traces", data, content_type=kind).status_code == 200
    process_waiting_deliveries()

    assert Transaction.objects.get().credential == credential
