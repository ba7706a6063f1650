"""OTLP logs, as the Node client sends them (captured) and as OpenTelemetry's exporters do."""

import gzip
import json
import time

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from metering.api.revenium.calls_in_logs import USAGE_ATTRIBUTES
from metering.api.revenium.record_facts import DECIDING
from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Delivery, Rejection, Transaction
from tests import factories

pytestmark = pytest.mark.django_db

LOGS = "/meter/v2/otlp/v1/logs"
KEY = "the-key-of-the-logs"
PROTOBUF = "application/x-protobuf"
DAY = 86_400 * 10**9
LIST = {"values": [{"stringValue": "a"}, {"intValue": "1"}]}
MAP = {"values": [{"key": "a", "value": {"stringValue": "b"}}]}


@pytest.fixture
def ask(client, token):
    def ask(body, content_type="application/json", path=LOGS, **headers):
        data = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"x-api-key": token} | headers
        return client.post(path, data, content_type=content_type, headers=headers)

    return ask


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, external_key="acme-ai")
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


def attributes(**said):
    return [{"key": name.replace("__", "."), "value": value} for name, value in said.items()]


def text(value):
    return {"stringValue": value}


def a_record(*, ago=0, **said):
    return {
        "timeUnixNano": str(time.time_ns() - ago),
        "body": text("claude-code.api_request"),
        "attributes": attributes(
            session__id=text("test-1"),
            model=text("small"),
            input_tokens=text("12"),
            output_tokens=text("7"),
            cost_usd=text("0.25"),
            duration_ms=text("15.5"),
            **said,
        ),
    }


def logs(*records, **resource):
    return {
        "resourceLogs": [
            {
                "resource": {
                    "attributes": attributes(service__name=text("claude-code"), **resource)
                },
                "scopeLogs": [{"scope": {"name": "claude-code"}, "logRecords": list(records)}],
            }
        ]
    }


def as_message(body):
    message = ExportLogsServiceRequest()
    for of_resource in body["resourceLogs"]:
        resource = message.resource_logs.add()
        _add(resource.resource.attributes, of_resource["resource"]["attributes"])
        for record in of_resource["scopeLogs"][0]["logRecords"]:
            log = resource.scope_logs.add().log_records.add()
            log.time_unix_nano = int(record["timeUnixNano"])
            log.body.string_value = record["body"]["stringValue"]
            _add(log.attributes, record["attributes"])
    return message.SerializeToString()


def _add(to, pairs):
    for pair in pairs:
        to.add(key=pair["key"]).value.string_value = pair["value"]["stringValue"]


def test_a_record_is_a_call(ask, credential):
    response = ask(logs(a_record(subscriber__credential=text(KEY))))
    process_waiting_deliveries()

    assert response.status_code == 200
    said = response.json()
    assert (said["resourceType"], said["processedEvents"]) == ("otlp", 1)
    assert said["partialSuccess"] == {}
    assert {"id", "created"} <= said.keys()
    row = Transaction.objects.get()
    assert (row.credential, row.latency_ms) == (credential, 15.5)
    assert row.elements == {"calls": 1, "input_tokens": 12, "output_tokens": 7, "cost_usd": 0.25}
    assert row.metadata == {
        "service.name": "claude-code",
        "session.id": "test-1",
        "model": "small",
    }


@pytest.mark.parametrize("path", [LOGS, f"{LOGS}/", "/v2/otlp/v1/logs"])
@pytest.mark.parametrize("content_type", ["application/json", PROTOBUF])
@pytest.mark.parametrize("compress", [False, True])
def test_json_and_protobuf_are_the_same(ask, credential, path, content_type, compress):
    sent = logs(a_record(), a_record(ago=1), revenium__subscriber__credential=text(KEY))
    body = as_message(sent) if content_type == PROTOBUF else json.dumps(sent).encode()
    headers = {"content-encoding": "gzip"} if compress else {}

    response = ask(gzip.compress(body) if compress else body, content_type, path, **headers)
    process_waiting_deliveries()

    assert response.status_code == 200
    assert response["Content-Type"] == content_type
    if content_type == PROTOBUF:
        assert not ExportLogsServiceResponse.FromString(response.content).HasField(
            "partial_success"
        )
    assert Transaction.objects.filter(credential=credential).count() == 2
    assert KEY not in str(list(Transaction.objects.values()))


def test_all_kinds_of_values(ask, gateway):
    gateway.kept_attributes = ["a_bool", "a_list", "a_map", "bytes", "code.line.number"]
    gateway.save()
    values = {
        "input_tokens": ({"intValue": "5"}, 5),
        "gen_ai.usage.output_tokens": ({"intValue": 6}, 6),
        "cost_usd": ({"doubleValue": 1.5}, 1.5),
    }
    others = {
        "a_bool": ({"boolValue": True}, True),
        "a_list": ({"arrayValue": LIST}, ["a", "1"]),
        "bytes": ({"bytesValue": "AA=="}, "AA=="),
        "code.line.number": ({"intValue": "7"}, "7"),
    }
    objects = {"a_map": ({"kvlistValue": MAP}, None)}  # may hold anything
    said = {name: value for name, (value, _) in (values | others | objects).items()}
    record = {"timeUnixNano": str(time.time_ns()), "attributes": attributes(**said, nothing={})}

    assert ask(logs(record)).json()["processedEvents"] == 1

    (call,) = json.loads(Delivery.objects.get().body)
    assert call["elements"] == {"calls": 1} | {name: value for name, (_, value) in values.items()}
    assert call["metadata"] == {"service.name": "claude-code"} | {
        name: value for name, (_, value) in others.items()
    }


def test_sent_again_it_is_counted_once(ask, credential):
    record = a_record(subscriber__credential=text(KEY))
    body = logs(record, record, a_record(ago=5, subscriber__credential=text(KEY)))
    for _ in range(3):
        assert ask(body).status_code == 200
    process_waiting_deliveries()

    assert Transaction.objects.count() == 3
    assert not Conflict.objects.exists()


def test_an_id_of_its_own(ask):
    ask(logs(a_record(transaction__id=text("t-1")), a_record(log__record__uid=text("t-2"))))

    calls = json.loads(Delivery.objects.get().body)
    assert [each["transaction_id"] for each in calls] == ["t-1", "t-2"]


def test_a_subscription_without_a_key(ask, credential):
    ask(logs(a_record(subscription__id=text("acme-ai"))))
    process_waiting_deliveries()

    assert Transaction.objects.get().subscription.external_key == "acme-ai"


def test_without_a_moment_it_is_now(ask, credential):
    record = a_record(subscriber__credential=text(KEY)) | {"timeUnixNano": "0"}
    for _ in range(2):
        ask(logs(record))
    process_waiting_deliveries()

    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()


def test_what_was_not_taken_is_told(ask):
    old = a_record(ago=40 * DAY)

    as_json = ask(logs(a_record(), old)).json()
    message = ask(as_message(logs(a_record(), old)), PROTOBUF).content

    assert as_json["processedEvents"] == 1
    told = "Record 1: timeUnixNano: It is more than 31 days ago."
    assert as_json["partialSuccess"] == {"rejectedLogRecords": "1", "errorMessage": told}
    partly = ExportLogsServiceResponse.FromString(message).partial_success
    assert (partly.rejected_log_records, partly.error_message) == (1, told)


BAD = {
    "nothing": (b"", "application/json", 400, "malformed"),
    "half": (b'{"resourceLogs": [', "application/json", 400, "malformed"),
    "a list": (b"[]", "application/json", 400, "malformed"),
    "text": (b'{"resourceLogs": "x"}', "application/json", 400, "malformed"),
    "no protobuf": (b"{}", PROTOBUF, 400, "malformed"),
    "deep": (b'{"resourceLogs":' + b"[" * 100_000, "application/json", 400, None),
    "many": (
        json.dumps(logs(*[{"timeUnixNano": "1"}] * 1_001)).encode(),
        "application/json",
        413,
        "too_many",
    ),
}


@pytest.mark.parametrize(("body", "content_type", "status", "code"), BAD.values(), ids=BAD)
def test_what_is_no_logs(ask, body, content_type, status, code):
    response = ask(body, content_type)

    assert response.status_code == status
    assert response["Content-Type"] == content_type
    if content_type == PROTOBUF:
        assert b"protobuf" in response.content
    elif code:
        assert response.json()["errors"][0]["code"] == code
    assert not Delivery.objects.exists()


@pytest.mark.parametrize("body", [b"{}", b'{"resourceLogs": [{}]}'])
def test_no_records_are_fine(ask, body):
    assert ask(body).json()["processedEvents"] == 0


@pytest.mark.parametrize("bad", [{"transaction.id": "a\0b"}, {"credential": "x" * 4_097}])
def test_what_cannot_be_kept_spoils_no_other(ask, bad):
    said = {name: text(value) for name, value in bad.items()}

    said = ask(logs(a_record(), a_record(**said))).json()

    assert said["processedEvents"] == 1
    assert said["partialSuccess"]["rejectedLogRecords"] == "1"


def test_a_token_is_needed_whatever_is_sent(ask):
    for content_type in ("application/json", PROTOBUF):
        response = ask(b"x", content_type, **{"x-api-key": "no token"})

        assert response.status_code == 401
        assert response["Content-Type"] == content_type


def test_the_bearers_blank_may_be_escaped(ask, client, token):
    response = client.post(
        LOGS,
        logs(a_record()),
        content_type="application/json",
        headers={"authorization": f"Bearer%20{token}"},
    )

    assert response.status_code == 200


def _fill(message, texts, levels=3):
    """Set every text of the message, and of one of each that it holds."""
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_STRING:
            texts.append(f"text-{len(texts):04}")
            if field.is_repeated:
                getattr(message, field.name).append(texts[-1])
            else:
                setattr(message, field.name, texts[-1])
        elif field.message_type is not None and levels and not field.containing_oneof:
            within = getattr(message, field.name)
            _fill(within.add() if field.is_repeated else within, texts, levels - 1)


def with_every_text():
    """A POST with all the texts that OTLP knows, and two records of which each is a call."""
    sent, texts = ExportLogsServiceRequest(), []
    _fill(sent, texts, levels=6)
    of_scope = sent.resource_logs[0].scope_logs[0]
    of_scope.log_records.add()
    for number, record in enumerate(of_scope.log_records):
        record.time_unix_nano = time.time_ns() + number * 1_000
        for name, said in (("credential", KEY), ("input_tokens", "5")):
            attribute = record.attributes.add()
            attribute.key, attribute.value.string_value = name, said
    return sent.SerializeToString(), texts


EVERY_TEXT = with_every_text()[1]


@pytest.mark.parametrize("text", EVERY_TEXT)
def test_protobuf_with_text_that_is_none_costs_no_call(ask, credential, text):
    """Such as a prompt that was cut within a character: some senders do not look."""
    body, _ = with_every_text()
    assert body.count(text.encode()) == 1
    unsound = body.replace(text.encode(), b"\xf0\x9f\x98" + b"x" * (len(text) - 3))

    assert ask(unsound, PROTOBUF).status_code == 200
    process_waiting_deliveries()
    assert Transaction.objects.filter(elements__input_tokens=5).count() == 2


def test_every_text_of_otlp_was_tried():
    assert len(EVERY_TEXT) > 10


def twice(name, first, second):
    record = a_record(credential=text(KEY))
    others = [each for each in record["attributes"] if each["key"] != name]
    record["attributes"] = [
        *others,
        {"key": name, "value": text(first)},
        {"key": name, "value": text(second)},
    ]
    return logs(record)


@pytest.mark.parametrize(
    "name", sorted({*DECIDING, *USAGE_ATTRIBUTES, "gen_ai.usage.input_tokens"})
)
def test_what_decides_is_not_said_twice(ask, credential, name):
    assert ask(twice(name, "5", "7")).status_code == 400
    assert [each.code for each in Rejection.objects.all()] == ["duplicate_field"]
    assert Rejection.objects.get().field == name
    process_waiting_deliveries()
    assert not Transaction.objects.exists()


@pytest.mark.parametrize(
    "said", [("input_tokens", "5", "5"), ("model", "small", "large"), ("duration_ms", "1", "2")]
)
def test_the_same_twice_and_what_decides_nothing_costs_no_call(ask, credential, said):
    assert ask(twice(*said)).status_code == 200
    process_waiting_deliveries()
    assert Transaction.objects.count() == 1
