"""Quantities of 18 digits and nine decimals are shown exactly on every page."""

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.ledger.quantities import format_quantity
from metering.models import Conflict, GatewayToken, Transaction
from tests import factories

pytestmark = pytest.mark.django_db

EXACT = "123456789012345678.123456789"
SHOWN = "123,456,789,012,345,678.123456789"
KEY = "a-key-of-exact-calls"


@pytest.fixture
def gateway():
    return factories.a_gateway("edge")


@pytest.fixture
def token(gateway):
    scopes = ["transactions:post", "receipts:read"]
    return GatewayToken.issue(gateway, name="tests", scopes=scopes)[1]


@pytest.fixture
def owner():
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    subscriber = factories.a_subscriber(customer, role="owner")
    factories.a_credential(customer, KEY, subscriptions=[subscription])
    return subscriber


@pytest.fixture
def posted(client, token):
    def posted(quantity=EXACT, key=KEY, **fields):
        said = {"transaction_id": "t", "occurred_at": timezone.now().isoformat(), "key": key}
        body = json.dumps(said | fields)[:-1] + f', "elements": {{"tokens": {quantity}}}}}'
        headers = {"x-api-key": token}
        return client.post(
            "/v1/transactions", body, content_type="application/json", headers=headers
        )

    return posted


def receipt(client, token):
    return client.get("/v1/transactions/t", headers={"x-api-key": token}).content.decode()


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize("key", [KEY, "an-unknown-key-of-calls"])
@pytest.mark.parametrize("quantity", [EXACT, "999999999999999999.999999999", "0.000000001"])
def test_in_the_receipt_of_a_gateway(client, token, posted, key, quantity):
    posted(quantity, key)
    waiting = receipt(client, token)
    process_waiting_deliveries()
    settled = receipt(client, token)

    for said in (waiting, settled):
        assert json.loads(said, parse_float=str)["elements"]["tokens"] in {quantity, "1E-9"}


def test_on_every_page(client, admin_client, posted, owner):
    posted()
    process_waiting_deliveries()
    row = Transaction.objects.get()
    client.force_login(owner.user)

    pages = [
        admin_client.get(reverse("admin:metering_transaction_changelist")),
        admin_client.get(reverse("admin:metering_transaction_changelist") + "?q=t"),
        admin_client.get(reverse("admin:metering_usage_changelist")),
        client.get(reverse("storefront:transaction", args=[row.pk])),
    ]

    assert [SHOWN in page.content.decode() for page in pages] == [True] * len(pages)


def test_in_quarantine_and_in_conflicts(admin_client, client, token, posted):
    posted(key="an-unknown-key-of-calls")
    posted("123456789012345678.987654321", key="an-unknown-key-of-calls")
    process_waiting_deliveries()

    listed = admin_client.get(reverse("admin:metering_quarantined_changelist") + "?reviewed=no")
    assert SHOWN in listed.content.decode()
    assert "123456789012345678.987654321" in receipt(client, token)
    conflict = Conflict.objects.get()
    page = admin_client.get(reverse("admin:metering_conflict_change", args=[conflict.pk]))
    assert "123456789012345678.987654321" in page.content.decode()


@pytest.mark.parametrize(
    ("quantity", "shown"), [(1, "1"), (0, "0"), (1e-09, "0.000000001"), (1500.5, "1,500.5")]
)
def test_plain(quantity, shown):
    assert format_quantity(quantity) == shown
