import gzip
import json
from datetime import timedelta

import pytest
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Conflict, Delivery, Transaction
from revcred.models import Gateway
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "the-key-of-the-events"
ONE = "application/cloudevents+json"
MANY = "application/cloudevents-batch+json"


@pytest.fixture
def ask(client, token):
    """Post as the gateway: bytes as they are, anything else as JSON."""

    def ask(body, content_type=ONE, path="/v1/events", **headers):
        data = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"authorization": f"Bearer {token}"} | headers
        return client.post(path, data, content_type=content_type, headers=headers)

    return ask


@pytest.fixture
def event():
    def event(**attributes):
        said = {
            "specversion": "1.0",
            "id": "e-1",
            "source": "checkout",
            "type": "com.example.call",
            "time": timezone.now().isoformat(),
            "subject": KEY,
        }
        return {name: value for name, value in (said | attributes).items() if value is not ...}

    return event


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, external_key="acme-maps")
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


def kept():
    return [each for row in Delivery.objects.all() for each in json.loads(row.body)]


def test_one_event(ask, event, credential):
    response = ask(event(data={"tokens": 12, "model": "small", "cached": True}))
    process_waiting_deliveries()

    assert response.status_code == 202
    assert (response.json()["accepted"], response.json()["rejected"]) == (1, [])
    row = Transaction.objects.get()
    assert (row.transaction_id, row.credential) == ("checkout/e-1", credential)
    assert row.elements == {"tokens": 12}
    assert row.metadata == {
        "type": "com.example.call",
        "source": "checkout",
        "data": {"model": "small", "cached": True},
    }


def test_a_batch(ask, event):
    response = ask([event(id="a"), event(id="b")], MANY)

    assert response.json()["accepted"] == 2
    assert [each["transaction_id"] for each in kept()] == ["checkout/a", "checkout/b"]


@pytest.mark.parametrize("content_type", ["application/json", f"{ONE}; charset=UTF-8", MANY])
def test_the_body_says_whether_it_is_one_or_many(ask, event, content_type):
    assert ask(event(), content_type).status_code == 202
    assert ask([event()], content_type).status_code == 202


def test_compressed(ask, event):
    body = gzip.compress(json.dumps(event()).encode())

    assert ask(body, content_encoding="gzip").status_code == 202


def test_in_the_headers(ask, event, credential):
    headers = {f"ce-{name}": value for name, value in event(id="a%20b").items()}

    response = ask({"tokens": 3}, "application/json", **headers)
    process_waiting_deliveries()

    assert response.status_code == 202
    row = Transaction.objects.get()
    assert (row.transaction_id, row.credential) == ("checkout/a b", credential)
    assert row.elements == {"tokens": 3}


@pytest.mark.parametrize("body", [b"", b"plain text", b"<a/>", b'{"a": 1} and more'])
def test_in_the_headers_with_a_body_that_is_not_json(ask, event, body):
    headers = {f"ce-{name}": value for name, value in event().items()}

    assert ask(body, "text/plain", **headers).status_code == 202
    assert [each["elements"] for each in kept()] == [{"calls": 1}]


def test_a_body_cannot_speak_for_the_headers(ask, event):
    headers = {f"ce-{name}": value for name, value in event().items()}

    ask(b'{}, "subject": "another-key"', "application/json", **headers)

    assert [each["hint"] for each in kept()] == [KEY[-4:]]


def test_the_subject_names_the_subscription_where_the_gateway_says_so(
    ask, event, gateway, credential
):
    gateway.event_subject = Gateway.EventSubject.SUBSCRIPTION
    gateway.save()

    ask(event(subject="acme-maps"))
    process_waiting_deliveries()

    row = Transaction.objects.get()
    assert (row.matched_by, row.subscription.external_key) == ("subscription", "acme-maps")


def test_without_a_subject_it_is_anonymous(ask, event):
    assert ask(event(subject=...)).status_code == 202
    assert not {"fingerprint", "subscription_named"} & set(kept()[0])


def test_the_key_stops_at_the_door(ask, event):
    ask(event())

    assert KEY not in Delivery.objects.get().body


COUNTED = {
    "nothing": (..., {"calls": 1}),
    "null": (None, {"calls": 1}),
    "a text": ("text", {"calls": 1}),
    "a list": ([1, 2], {"calls": 1}),
    "no numbers": ({"a": "b", "c": True, "d": None, "e": [1]}, {"calls": 1}),
    "numbers": ({"a": 1, "b": 2.5, "c": 0}, {"a": 1, "b": 2.5, "c": 0}),
    "numbers as text": ({"a": "12", "b": "0.5", "c": "1e3"}, {"a": 12, "b": 0.5, "c": 1000}),
    "no such numbers": ({"a": "0x1", "b": "9" * 19, "c": "007", "d": "1_0"}, {"calls": 1}),
    "finer than is counted": ({"a": 0.1 + 0.2}, {"a": 0.3}),
}


@pytest.mark.parametrize(("data", "elements"), COUNTED.values(), ids=COUNTED)
def test_the_numbers_in_its_data_are_counted(ask, event, data, elements):
    response = ask(event(data=data))

    assert response.status_code == 202, response.content
    assert kept()[0]["elements"] == elements


def test_what_a_gateways_events_count_can_be_named(ask, event, gateway):
    gateway.event_elements = ["usage.output", "seconds", "missing"]
    gateway.save()

    ask(event(data={"usage": {"output": 7, "input": 5}, "seconds": "1.5", "status": 200}))
    response = ask(event(data={"seconds": "soon"}))

    assert kept()[0]["elements"] == {"usage.output": 7, "seconds": 1.5}
    assert (response.status_code, response.json()["code"]) == (400, "invalid")
    assert response.json()["message"].startswith("data.seconds: ")


def test_data_that_is_too_much_to_keep_is_counted_all_the_same(ask, event):
    ask(event(data={"tokens": 9, "prompt": "x" * 5_000}))

    (call,) = kept()
    assert call["elements"] == {"tokens": 9}
    assert call["metadata"] == {"type": "com.example.call", "source": "checkout"}


def test_attributes_of_others_are_let_pass(ask, event):
    response = ask(event(traceparent="00-1", partitionkey="x", dataschema=None, data_base64="AA=="))

    assert response.status_code == 202


def test_an_event_is_known_by_its_source_and_its_id(ask, event, credential):
    for attributes in (
        {"id": "1", "source": "a"},
        {"id": "1", "source": "a", "data": {"other": 1}},
        {"id": "1", "source": "b"},
        {"id": "2/1", "source": "a"},
        {"id": "1", "source": "a/2"},
        {"id": "2%2F1", "source": "a"},
    ):
        assert ask(event(**attributes)).status_code == 202
    process_waiting_deliveries()

    assert sorted(Transaction.objects.values_list("transaction_id", flat=True)) == [
        "a/1",
        "a/2%252F1",
        "a/2%2F1",
        "a/2/1",
        "b/1",
    ]


def test_without_a_time_it_is_now(ask, event):
    before = timezone.now()
    ask(event(time=...))
    ask(event(time=None, id="e-2"))

    for call in kept():
        assert abs(timezone.datetime.fromisoformat(call["occurred_at"]) - before) < timedelta(
            seconds=5
        )


BAD = {
    "no id": ({"id": ...}, "id", "missing"),
    "empty id": ({"id": ""}, "id", "invalid"),
    "no source": ({"source": ...}, "source", "missing"),
    "no type": ({"type": ...}, "type", "missing"),
    "no version": ({"specversion": ...}, "specversion", "missing"),
    "another version": ({"specversion": "0.3"}, "specversion", "invalid"),
    "a number": ({"subject": 5}, "subject", "invalid"),
    "no such moment": ({"time": "yesterday"}, "time", "invalid"),
    "long ago": ({"time": "2020-01-01T00:00:00Z"}, "time", "too_old"),
    "nul": ({"subject": "a\0"}, "subject", "bad_text"),
    "nul inside": ({"data": {"a": ["\0"]}}, "data", "bad_text"),
    "many": ({"data": {str(n): n for n in range(51)}}, "data", "too_many"),
}


@pytest.mark.parametrize(("attributes", "field", "code"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named(ask, event, attributes, field, code):
    alone = ask(event(**attributes))
    among = ask([event(**attributes), event(id="good")], MANY)

    assert (alone.status_code, alone.json()["code"]) == (400, code)
    assert alone.json()["message"].startswith(f"{field}: ")
    assert among.status_code == 202
    (rejected,) = among.json()["rejected"]
    assert (rejected["index"], rejected["field"], rejected["code"]) == (0, field, code)
    assert [each["transaction_id"] for each in kept()] == ["checkout/good"]


def test_other_formats_are_not_understood(ask, event):
    response = ask(event(), "application/cloudevents+avro")

    assert (response.status_code, response.json()["code"]) == (415, "unknown_format")


@pytest.mark.parametrize("accept", ["text/html", "application/problem+json", "*/*"])
def test_whatever_answer_is_wanted(ask, event, accept):
    assert ask(event(), accept=accept).status_code == 202


# --- As OpenMeter's clients post ------------------------------------------------------------------

OPENMETER = "/api/v1/events"


def test_openmeter_is_answered_with_nothing(ask, event):
    for body, content_type in ((event(), ONE), ([event(id="b")], MANY), (event(id="c"), "")):
        response = ask(body, content_type, OPENMETER)

        assert (response.status_code, response.content) == (204, b"")
    assert len(kept()) == 3


def test_openmeter_is_told_of_what_was_refused(ask, event):
    response = ask([event(), event(id="b", subject=7)], MANY, OPENMETER)

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert (problem["title"], problem["status"]) == ("Bad Request", 400)
    assert problem["detail"].startswith("subject: ")
    assert [each["index"] for each in problem["rejected"]] == [1]
    assert len(kept()) == 1


def test_every_refusal_is_a_problem(ask, client, event, token):
    asked = {
        400: ask(b"{", path=OPENMETER),
        401: client.post(OPENMETER, event(), content_type=ONE),
        405: client.get(OPENMETER, headers={"x-api-key": token}),
        415: ask(event(), "application/cloudevents+xml", OPENMETER),
    }

    for status, response in asked.items():
        assert response.status_code == status
        assert response["Content-Type"] == "application/problem+json"
        assert response.json()["status"] == status
    assert asked[401]["WWW-Authenticate"] == 'Bearer realm="revcred"'


def test_an_event_that_is_sent_again_is_no_conflict(ask, event, credential):
    for _ in range(2):
        ask(event(time=...), path=OPENMETER)
    process_waiting_deliveries()

    assert Transaction.objects.count() == 1
    assert not Conflict.objects.exists()
