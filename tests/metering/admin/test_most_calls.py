"""The page that says who called most."""

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse

from tests import factories

pytestmark = pytest.mark.django_db

PAGE = reverse("admin:metering_usage_most-calls")
KEY = "a-key-that-called-most-W1x2"


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer)
    credential = factories.a_credential(
        customer, key=KEY, name="checkout", subscriptions=[subscription]
    )
    factories.settled(*[factories.a_call(KEY) for _ in range(2)])
    return credential


def shown(client, **query):
    page = client.get(PAGE, {"span": "day"} | query)
    return [(row["name"], str(row["customer"]), row["calls"]) for row in page.context["rows"]]


def test_each_is_named_with_its_calls_and_links(admin_client, credential):
    ((name, _, calls),) = shown(admin_client)
    page = reverse("admin:revcred_customer_change", args=[credential.customer_id])
    assert (name, calls) == (f'<a href="{page}">Acme</a>', 2)
    ((name, customer, calls),) = shown(admin_client, by="credential")
    assert "checkout" in name
    assert (customer, calls) == ("Acme", 2)
    # What means nothing is as if it was not said.
    assert shown(admin_client, by="x", span="day") == shown(admin_client, by="customer")

    usage = admin_client.get(PAGE, {"span": "day"}).context["rows"][0]["usage"]
    listed = admin_client.get(usage).context["cl"].result_list
    assert [row.customer_id for row in listed] == [credential.customer_id]


def test_whoever_may_see_no_customers_gets_no_links_to_them(client, credential):
    auditor = factories.a_user(is_staff=True)
    auditor.user_permissions.set(Permission.objects.filter(codename="view_usage"))
    client.force_login(auditor)

    assert shown(client) == [("Acme", "None", 2)]
