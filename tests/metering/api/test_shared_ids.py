"""Calls under one id: callers who choose ids, and tools under the id of a model's answer."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.api import authentication
from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import dedup_key_of_call, dedup_key_of_id
from metering.ledger.receipts import find_receipt, find_receipts
from metering.models import Conflict, IntakeStats, Quarantined, SeenTransaction, Transaction
from revcred.models import Gateway
from tests import factories
from tests.metering.api.revenium.logs import logs, record

pytestmark = pytest.mark.django_db

KEY = "ak_live_demo_9c2e"
ID = "11111111-1111-4111-8111-111111111111"


def native(at, path="/a", status=200, method="GET"):
    said = {"transaction_id": ID, "occurred_at": at.isoformat(), "key": KEY}
    return said | {"method": method, "path": path, "status": status}


def otlp(at, path="/a", status=200, method="GET"):
    said = {"transaction.id": ID, "credential": KEY, "http.request.method": method}
    said |= {"url.path": path, "http.response.status_code": status}
    return logs(record(said, at=int(at.timestamp() * 10**6) * 1_000))


def event(at, **_):
    said = {"specversion": "1.0", "id": ID, "source": "s", "type": "t", "subject": KEY}
    return said | {"time": at.isoformat()}


def completion(at, **_):
    said = {"transactionId": ID, "requestTime": at.isoformat()}
    return said | {"subscriber": {"credential": {"value": KEY}}}


DOORS = {
    "/v1/transactions": native,
    "/v1/events": event,
    "/api/v1/events": event,
    "/meter/v2/otlp/v1/logs": otlp,
    "/meter/v2/ai/completions": completion,
    "/meter/v2/ai/images": completion,
    "/meter/v2/ai/audio": completion,
    "/meter/v2/ai/video": completion,
}
TYPES = {
    "/v1/events": "application/cloudevents+json",
    "/api/v1/events": "application/cloudevents+json",
}


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, external_key="acme")
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


@pytest.fixture
def send(client, asked, gateway, token):
    """Post as the gateway; the native door in both of its processes."""

    def send(path, body):
        authentication.forget_admissions()
        client_of = asked if path == "/v1/transactions" else client
        answer = client_of.post(
            path,
            json.dumps(body),
            content_type=TYPES.get(path, "application/json"),
            headers={"x-api-key": token},
        )
        assert answer.status_code < 300, answer.content

    return send


def set_ids_from_callers(gateway, chosen):
    gateway.ids_from_callers = chosen
    gateway.save()


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("chosen", [True, False])
def test_a_caller_who_repeats_an_id_pays_for_each_call(send, gateway, credential, path, chosen):
    set_ids_from_callers(gateway, chosen)
    now = timezone.now()
    bodies = [DOORS[path](now - timedelta(seconds=n)) for n in range(3)]
    for body in (*bodies, *bodies):  # each is sent again
        send(path, body)
    process_waiting_deliveries()

    assert Transaction.objects.count() == (3 if chosen else 1)
    assert Conflict.objects.count() == (0 if chosen else 4)
    tally = IntakeStats.objects.get()
    assert (tally.accepted, tally.repeated + tally.conflicting) == (6, 3 if chosen else 5)


OTHERS = [{"path": "/b"}, {"status": 404}, {"method": "POST"}]


@pytest.mark.parametrize("path", ["/v1/transactions", "/meter/v2/otlp/v1/logs"])
@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_another_call_of_the_same_moment(send, gateway, credential, path, other):
    set_ids_from_callers(gateway, chosen=True)
    now = timezone.now()
    for said in ({}, other, other):
        send(path, DOORS[path](now, **said))
    process_waiting_deliveries()

    assert Transaction.objects.count() == 2
    assert not Conflict.objects.exists()


def test_the_same_call_with_another_content_is_a_conflict(send, gateway, credential):
    set_ids_from_callers(gateway, chosen=True)
    said = native(timezone.now())
    send("/v1/transactions", said)
    send("/v1/transactions", said | {"elements": {"tokens": 5}})
    process_waiting_deliveries()

    assert (Transaction.objects.count(), Conflict.objects.count()) == (1, 1)


def test_all_calls_of_an_id_have_a_receipt(send, client, token, gateway, credential):
    set_ids_from_callers(gateway, chosen=True)
    now = timezone.now()
    for n in range(3):
        send("/v1/transactions", native(now - timedelta(seconds=n), path=f"/{n}"))

    waiting = find_receipts(gateway, ID)
    process_waiting_deliveries()
    settled = find_receipts(gateway, ID)
    said = client.get(f"/v1/transactions/{ID}", headers={"x-api-key": token}).json()

    assert [each.state for each in (*waiting, *settled)] == ["waiting"] * 3 + ["attributed"] * 3
    assert {each.path for each in settled} == {"/0", "/1", "/2"}
    assert said["transaction_id"] == ID
    assert {each["path"] for each in (said, *said["others_of_this_id"])} == {"/0", "/1", "/2"}


def test_an_id_of_one_call_has_no_others(send, client, token, credential):
    send("/v1/transactions", native(timezone.now()))
    process_waiting_deliveries()

    said = client.get(f"/v1/transactions/{ID}", headers={"x-api-key": token}).json()

    assert (said["state"], said["others_of_this_id"]) == ("attributed", [])
    assert SeenTransaction.objects.get().shared_id is None


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", 'a","/"', "a\x01"]),
            st.sampled_from([None, "", "GET", "POST"]),
            st.sampled_from([None, "/", "/a", 'GET","/']),
            st.sampled_from([None, 200, 404]),
            st.integers(0, 2),
            st.sampled_from([None, "0a", "0b"]),
        ),
        min_size=2,
        max_size=2,
    )
)
def test_identities_differ_where_calls_do(pair):
    now = timezone.now()
    calls = [
        factories.a_call(
            transaction_id=name,
            method=method,
            path=path,
            status=status,
            occurred_at=now + timedelta(microseconds=later),
            distinguished_by=tool,
        )
        for name, method, path, status, later, tool in pair
    ]
    first, second = (
        (name, method or "", path or "", status, later, tool)
        for name, method, path, status, later, tool in pair
    )

    known = [dedup_key_of_call(1, call, ids_from_callers=True) for call in calls]
    by_id = [dedup_key_of_call(1, call) for call in calls]

    assert (known[0] == known[1]) == (first == second)
    assert (by_id[0] == by_id[1]) == ((first[0], first[5]) == (second[0], second[5]))
    assert {dedup_key_of_id(1, call.transaction_id) for call in calls}.isdisjoint(known)


@pytest.mark.parametrize("kind", Gateway.Kind)
def test_new_gateways_begin_as_is_usual_for_their_kind(kind):
    expected = kind in {"envoy", "istio", "apisix", "aws"}

    assert factories.a_gateway(kind=kind).ids_from_callers is expected
    for chosen in (True, False):
        assert factories.a_gateway(kind=kind, ids_from_callers=chosen).ids_from_callers is chosen


def test_a_gateway_keeps_what_was_chosen(gateway):
    gateway.kind = "envoy"
    gateway.save()

    assert gateway.ids_from_callers is False


# --- Tools ----------------------------------------------------------------------------------------

TOOLS = "/meter/v2/tool/events"


def tool(at, name="search", **said):
    made = {"transactionId": ID, "toolId": name, "timestamp": at.isoformat(), "costUsd": 0.5}
    return made | {"subscriberCredential": KEY} | said


@pytest.mark.parametrize("path", [TOOLS, f"{TOOLS}/", "/tool/events"])
def test_two_tools_under_one_id_are_two(send, gateway, credential, path):
    now = timezone.now()
    bodies = [tool(now), tool(now, "lookup"), tool(now + timedelta(seconds=1))]
    for body in (*bodies, *bodies):
        send(path, body)
    process_waiting_deliveries()

    assert Transaction.objects.count() == 3
    assert not Conflict.objects.exists()
    assert sum(row.elements["costUsd"] for row in Transaction.objects.all()) == 1.5


@pytest.mark.parametrize("tool_first", [True, False])
def test_a_model_s_answer_and_its_tool_are_two(send, gateway, credential, tool_first):
    now = timezone.now()
    posts = [(TOOLS, tool(now)), ("/meter/v2/ai/completions", completion(now))]
    for path, body in sorted(posts, reverse=not tool_first):
        send(path, body)
    process_waiting_deliveries()

    assert Transaction.objects.count() == 2
    assert not Conflict.objects.exists()
    found = find_receipts(gateway, ID)
    assert [bool(each.metadata.get("toolId")) for each in found] == [False, True]


def test_a_tool_alone_is_found_by_its_id(send, gateway, credential):
    send(TOOLS, tool(timezone.now()))
    assert find_receipt(gateway, ID).state == "waiting"
    process_waiting_deliveries()
    assert find_receipt(gateway, ID).state == "attributed"


def test_the_same_tool_with_another_cost_is_a_conflict(send, gateway, credential):
    now = timezone.now()
    send(TOOLS, tool(now))
    send(TOOLS, tool(now, costUsd=0.75))
    process_waiting_deliveries()

    assert (Transaction.objects.count(), Conflict.objects.count()) == (1, 1)
    assert not Quarantined.objects.exists()


def test_what_a_tool_is_may_be_anything(send, gateway):
    send(TOOLS, tool(timezone.now(), {"a": [1]}))
    process_waiting_deliveries()

    assert Quarantined.objects.count() == 1
