"""From a gateway's POST to what a subscriber and an admin see of it, and back."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.models import GatewayToken, Quarantined
from metering.quarantine import reattribution
from revcred.models import Credential, Membership
from tests import factories
from tests.confirming import asked, confirm

pytestmark = pytest.mark.django_db

KEY = "a-key-from-another-system"


@pytest.fixture
def report():
    """Post a call as a gateway, let the worker finish, and ask for the receipt."""
    gateway = factories.a_gateway("edge")
    token = GatewayToken.issue(gateway, name="", scopes=list(GatewayToken.Scope))[1]
    client = Client(headers={"x-api-key": token})

    def report(**fields):
        call = {"transaction_id": "t-1", "occurred_at": timezone.now().isoformat()} | fields
        response = client.post("/v1/transactions", json.dumps(call), "application/json")
        assert response.status_code == 202
        process_waiting_deliveries()
        return client.get(f"/v1/transactions/{call['transaction_id']}").json()

    return report


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def test_a_reported_call_is_usage_on_the_subscribers_page(report):
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    subscription = factories.a_subscription(customer, name="Maps")
    factories.a_credential(customer, KEY, subscriptions=[subscription])

    receipt = report(key=KEY, elements={"tiles": 1234})

    assert receipt["subscription"]["name"] == "Maps"
    page = signed_in(owner.user).get(f"/subscriptions/{subscription.pk}/?element=tiles")
    assert "1,234" in page.text


def test_an_unknown_key_waits_until_an_admin_issues_its_credential(report):
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps")
    admin = signed_in(factories.a_user(is_staff=True, is_superuser=True))

    first = report(key=KEY)
    assert (first["state"], first["reason"]) == ("quarantined", "unknown_key")
    quarantine = admin.get("/admin/metering/quarantined/").text
    assert "No credential has this key" in quarantine
    assert f"…{KEY[-4:]}" in quarantine

    response = admin.post(
        "/admin/revcred/credential/add/",
        {
            "customer": customer.pk,
            "name": "Backend",
            "key": KEY,
            "subscriptions": [subscription.pk],
        },
    )
    # It says first whose the waiting call will be.
    assert asked(response)
    assert confirm(admin, response).status_code == 302
    reattribution.work_through_claims()

    assert not Quarantined.objects.exists()
    again = report(key=KEY, transaction_id="t-2")
    assert (again["state"], again["credential"]["name"]) == ("attributed", "Backend")
    claimed = report(key=KEY, occurred_at=first["occurred_at"])
    assert [moment["what"] for moment in claimed["history"]] == [
        "Received from edge",
        "Quarantined: No credential has this key",
        "Attributed to Maps, because credential “Backend” was issued",
    ]


def test_rotating_in_the_admin_keeps_both_keys_alive(report):
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(customer, KEY, subscriptions=[subscription])
    admin = signed_in(factories.a_user(is_staff=True, is_superuser=True))

    page = f"/admin/revcred/credential/{credential.pk}/rotate/"
    response = confirm(admin, admin.post(page, {"overlap": "24", "key": "the-next-key-from-there"}))
    assert response.status_code == 302, response.text

    for number, key in enumerate((KEY, "the-next-key-from-there")):
        receipt = report(key=key, transaction_id=f"t-{number}")
        assert receipt["credential"]["id"] == Credential.objects.get().pk
