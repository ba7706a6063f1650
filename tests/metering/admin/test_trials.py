import pytest
from django.urls import reverse

from metering.models import Claim, GatewayToken, Quarantined, Transaction
from revcred.models import AuditEvent
from tests.factories import a_credential, a_customer, a_gateway, a_subscription

pytestmark = pytest.mark.django_db

KEY = "a-key-of-what-if-abcd"
WHAT_IF = reverse("admin:metering_transaction_what-if")


@pytest.fixture
def gold():
    customer = a_customer("Acme")
    subscription = a_subscription(customer, name="Gold")
    a_credential(customer, KEY, name="App", subscriptions=[subscription])
    return subscription


@pytest.fixture
def gateway():
    return a_gateway("Edge")


@pytest.mark.parametrize("by", ["key", "credential", "subscription"])
def test_a_call_is_described_by_key_credential_or_subscription(admin_client, gateway, gold, by):
    credential = gold.customer.credentials.get()
    typed = {"key": KEY, "credential": credential.pk, "subscription": gold.pk}
    data = {"gateway": gateway.pk, by: typed[by], "elements": '{"calls": 1, "pages": 2.5}'}
    events = AuditEvent.objects.count(), Claim.objects.count()

    page = admin_client.post(WHAT_IF, data)

    assert page.context["subscription"] == gold
    text = " ".join(page.content.decode().split())
    assert "<strong>2.5 pages</strong>" in text
    assert KEY not in text
    assert (AuditEvent.objects.count(), Claim.objects.count()) == events
    assert not Transaction.objects.exists()
    assert not Quarantined.objects.exists()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({}, "key"),
        ({"key": " "}, "key"),
        ({"key": "x" * 5_000}, "key"),
        ({"gateway": ""}, "gateway"),
        ({"key": KEY, "credential": True}, "credential"),
        ({"key": KEY, "occurred_at": "yesterday"}, "occurred_at"),
        ({"key": KEY, "elements": "calls"}, "elements"),
        ({"key": KEY, "elements": '{"calls": "one"}'}, "elements"),
        ({"key": KEY, "elements": '{"calls": -1}'}, "elements"),
        ({"key": KEY, "elements": '{"": 1}'}, "elements"),
        ({"key": KEY, "elements": "{}"}, "elements"),
    ],
)
def test_what_cannot_be_a_call_is_told_at_its_field(admin_client, gateway, gold, data, field):
    typed = {"gateway": gateway.pk} | data
    if data.get("credential"):
        typed["credential"] = gold.customer.credentials.get().pk

    page = admin_client.post(WHAT_IF, typed)

    assert list(page.context["form"].errors) == [field]
    assert "steps" not in page.context


def test_a_test_token_is_issued_in_the_admin_with_its_command(admin_client, gateway):
    address = reverse("admin:revcred_gateway_issue-token", args=[gateway.pk])

    page = admin_client.post(
        address, {"name": "Try", "scopes": ["transactions:post"], "is_test": "on"}
    )

    token = GatewayToken.objects.get()
    assert token.is_test
    assert f"Authorization: Bearer {page.context['token']}" in page.context["curl"]
    assert page.context["try_url"] == reverse("admin:revcred_gateway_try", args=[gateway.pk])
    assert AuditEvent.objects.get().details["token"].endswith("(test)")

    rejected = admin_client.post(
        address, {"name": "Try", "scopes": ["calls:check"], "is_test": "on"}
    )

    assert list(rejected.context["form"].errors) == ["is_test"]
    assert GatewayToken.objects.count() == 1
