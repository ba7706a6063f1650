"""Test calls over the doors: judged and shown, and nowhere that anything is counted."""

import json
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.apps import apps
from django.urls import reverse
from django.utils import timezone

from metering import trial_calls
from metering.api.authentication import forget_admissions
from metering.attribution.processing import process_waiting_deliveries
from metering.models import GatewayToken, TrialCall
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-test-calls-abcd"
SCOPES = [*GatewayToken.Scope.values]


@pytest.fixture
def gateway():
    forget_admissions()
    yield factories.a_gateway("Edge")
    forget_admissions()


@pytest.fixture
def token_of_tests(gateway):
    return GatewayToken.issue(gateway, name="Test", scopes=SCOPES, is_test=True)[1]


@pytest.fixture
def subscription():
    customer = factories.a_customer("Acme")
    gold = factories.a_subscription(customer, name="Gold")
    factories.a_credential(customer, KEY, name="App", subscriptions=[gold])
    return gold


def a_transaction(**fields):
    moment = timezone.now().isoformat()
    return {"transaction_id": "t-1", "occurred_at": moment, "key": KEY} | fields


def post(client, path, body, token):
    return client.post(
        path, json.dumps(body), content_type="application/json", headers={"x-api-key": token}
    )


def rows_of_metering() -> dict[str, int]:
    """Numbers of rows of all tables that have rows, but for tokens and test calls."""
    models = [
        model
        for model in apps.get_app_config("metering").get_models()
        if model not in (GatewayToken, TrialCall)
    ]
    counts = {model.__name__: model._base_manager.count() for model in models}
    return {name: count for name, count in counts.items() if count}


BODIES = {
    "/v1/transactions": [a_transaction(path="/a")],
    "/v1/events": {
        "specversion": "1.0",
        "id": "t-1",
        "source": "tests",
        "type": "call",
        "subject": KEY,
        "data": {},
    },
    "/meter/v2/ai/completions": {
        "transactionId": "t-1",
        "subscriber": {"credential": {"name": "App", "value": KEY}},
        "model": "m",
        "inputTokenCount": 5,
    },
    "/meter/v2/events": {
        "transactionId": "t-1",
        "subscriberCredential": KEY,
        "payload": {"pages": 3},
    },
}


@pytest.mark.parametrize("path", BODIES)
def test_a_test_token_gets_a_verdict_and_nothing_is_counted(
    client, gateway, token_of_tests, subscription, path
):
    before = rows_of_metering()

    answer = post(client, path, BODIES[path], token_of_tests)

    assert answer.status_code in (200, 201, 202, 204), answer.content
    process_waiting_deliveries()
    assert rows_of_metering() == before
    (trial,) = TrialCall.objects.all()
    address = f"/v1/transactions/{quote(trial.transaction_id, safe='')}"
    receipt = client.get(address, headers={"x-api-key": token_of_tests}).json()
    assert (receipt["state"], receipt["is_test"]) == ("attributed", True)
    assert receipt["subscription"]["name"] == "Gold"
    assert KEY not in json.dumps([trial.call, trial.verdict, receipt])


def test_no_field_makes_a_call_a_test_and_no_token_sees_the_others(client, gateway, token_of_tests):
    _, live_token = GatewayToken.issue(gateway, name="Live", scopes=SCOPES)
    forget_admissions()
    metadata = {"test": True, "is_test": True}
    post(client, "/v1/transactions", [a_transaction(metadata=metadata)], live_token)
    post(client, "/v1/transactions", [a_transaction(transaction_id="t-2")], token_of_tests)

    assert TrialCall.objects.values_list("transaction_id", flat=True).get() == "t-2"
    rejected = post(client, "/v1/transactions", [a_transaction(is_test=True)], live_token)
    assert rejected.json()["rejected"][0]["code"] == "unknown_field"
    seen = {
        (name, transaction): client.get(
            f"/v1/transactions/{transaction}", headers={"x-api-key": token}
        ).status_code
        for name, token in (("live", live_token), ("test", token_of_tests))
        for transaction in ("t-1", "t-2")
    }
    assert seen == {
        ("live", "t-1"): 200,
        ("live", "t-2"): 404,
        ("test", "t-1"): 404,
        ("test", "t-2"): 200,
    }


def test_a_rejected_test_call_says_why_and_keeps_no_key(
    client, admin_client, gateway, token_of_tests
):
    too_old = a_transaction(occurred_at="2001-01-01T00:00:00Z", transaction_id=f"x {KEY}")
    post(client, "/v1/transactions", [too_old], token_of_tests)
    post(client, "/v1/transactions", "no list of calls", token_of_tests)

    assert rows_of_metering() == {}
    codes = [each.rejection["code"] for each in TrialCall.objects.order_by("received_at")]
    assert codes[0] == "too_old"
    assert len(codes) == 2
    page = admin_client.get(reverse("admin:revcred_gateway_try", args=[gateway.pk]))
    assert "It is more than 31 days ago." in page.content.decode()
    assert KEY not in page.content.decode()


def test_the_page_shows_each_call_as_it_arrives_with_its_receipt(
    client, admin_client, gateway, token_of_tests, subscription
):
    latest = reverse("admin:revcred_gateway_try-latest", args=[gateway.pk])
    assert "No test call has arrived yet" in admin_client.get(latest).content.decode()
    post(client, "/v1/transactions", [a_transaction()], token_of_tests)

    assert "Gold" in admin_client.get(latest).content.decode()
    trial = TrialCall.objects.get()
    address = reverse("admin:revcred_gateway_trial", args=[gateway.pk, trial.pk])
    receipt = admin_client.get(address).content.decode()
    assert "Does exactly one subscription fit?" in receipt
    assert "Not counted: it is a test" in receipt
    other = factories.a_gateway("Other")
    for pk, trial_id in ((other.pk, trial.pk), (gateway.pk, "nonsense")):
        gone = reverse("admin:revcred_gateway_trial", args=[pk, trial_id])
        assert admin_client.get(gone).status_code == 404


def test_test_calls_are_deleted_after_a_week_and_beyond_a_limit(gateway, monkeypatch):
    monkeypatch.setattr(trial_calls, "MAX_TRIAL_CALLS", 2)
    token, _ = GatewayToken.issue(gateway, name="Test", scopes=SCOPES, is_test=True)
    for days in (8, 6, 5, 4):
        TrialCall.objects.create(
            gateway=gateway,
            token=token,
            transaction_id=f"{days}",
            received_at=timezone.now() - timedelta(days=days),
            rejection={},
        )

    trial_calls.delete_old_trial_calls()

    assert [each.transaction_id for each in TrialCall.objects.all()] == ["4", "5"]
