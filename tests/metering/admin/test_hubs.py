"""Hubs: figures that lead to the lists they count, and what the user may see."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import BooleanField, Func, Value
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from metering import customer_calls
from metering.admin import hubs
from metering.admin.hubs import hub_of
from metering.models import QuarantineReason
from revcred.actions import credentials
from revcred.models import Gateway, Membership, Subscriber
from tests.factories import (
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_product,
    a_subscriber,
    a_subscription,
    a_user,
    settled,
)

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = "a-key-of-a-hub-1111", "a-key-of-a-hub-2222"


@pytest.fixture
def customer():
    """Acme: two credentials, one suspended; calls counted and waiting; three people."""
    customer = a_customer("Acme")
    product = a_product("Maps")
    subscription = a_subscription(customer, product=product, quota=1, name="Gold")
    first = a_credential(customer, key=KEYS[0], name="First", subscriptions=[subscription])
    second = a_credential(customer, key=KEYS[1], name="Second")
    credentials.suspend_credential(credential=second, by=None)
    signs_in = a_subscriber(customer, email="ada@example.com")
    first.holders.add(signs_in)
    invited = Subscriber.objects.create(email="bob@example.com", invited_at=timezone.now())
    for person in (invited, Subscriber.objects.create(email="eve@example.com")):
        Membership.objects.create(customer=customer, subscriber=person)
    settled(
        a_call(KEYS[0], transaction_id="one", path="/maps"),
        a_call(KEYS[0], transaction_id="two", path="/maps"),
        a_call(KEYS[1], transaction_id="waits"),
        gateway=a_gateway("Edge"),
    )
    # What is another's is not shown.
    other = a_customer("Other")
    a_credential(other, key="a-key-of-another-33", subscriptions=[a_subscription(other)])
    settled(a_call("a-key-of-another-33", transaction_id="another's"))
    return customer


def page_of(client, thing) -> str:
    name = f"admin:{thing._meta.app_label}_{thing._meta.model_name}_change"
    response = client.get(reverse(name, args=[thing.pk]))
    assert response.status_code == 200
    return response.content.decode()


def figures_of(thing, user) -> dict[str, str]:
    return {each.label: each.value for each in hub_of(thing, user).figures}


def table_of(thing, user, title: str):
    (found,) = (each for each in hub_of(thing, user).tables if each.title.startswith(title))
    return found


def test_a_customer_shows_what_belongs_to_it(admin_client, admin_user, customer):
    assert figures_of(customer, admin_user) == {
        "Active credentials": "1",
        "Suspended credentials": "1",
        "Active subscriptions": "1",
        "Calls this month": "2",
    }
    page = page_of(admin_client, customer)
    for said in ("Gold", "2 of 1 (200 %)", "signs in", "invited 20", "never invited", "/maps"):
        assert said in page, said
    assert "The key or its credential was not valid then" in page
    assert "another&#x27;s" not in page
    for key in KEYS:
        assert key not in page


def test_each_figure_and_table_leads_to_a_list_with_as_many_rows(
    admin_client, admin_user, customer
):
    subscriber = Subscriber.objects.get(email="ada@example.com")
    product = customer.subscriptions.get().product
    gateway = a_gateway("Bound")
    a_credential(customer, new_key=credentials.NewKey(gateway=gateway))
    for thing in (customer, subscriber, product, gateway):
        hub = hub_of(thing, admin_user)
        for figure in hub.figures:
            response = admin_client.get(figure.url, follow=True)
            assert response.status_code == 200
            if "cl" in (response.context or {}) and not figure.label.startswith("Calls"):
                rows = response.context["cl"].result_count
                assert f"{rows:,}" == figure.value, (thing, figure)
        for table in hub.tables:
            assert admin_client.get(table.url, follow=True).status_code == 200


def test_people_products_and_gateways_have_hubs_too(admin_client, admin_user, customer):
    subscriber = Subscriber.objects.get(email="ada@example.com")
    product = customer.subscriptions.get().product

    assert figures_of(subscriber, admin_user) == {"Active credentials": "1"}
    assert "Acme" in page_of(admin_client, subscriber)
    figures = figures_of(product, admin_user)
    assert figures == {
        "Active subscriptions": "1",
        "Ended subscriptions": "0",
        "Later subscriptions": "0",
        "Calls in the last 7 days": "2",
    }
    assert "Gold" in page_of(admin_client, product)
    edge = customer.credentials.model.keys.rel.related_model.gateway.field.related_model
    gateway = edge.objects.get(name="Edge")
    figures = figures_of(gateway, admin_user)
    assert figures["Attributed, last 24 hours"] == "2"
    assert figures["Quarantined, last 24 hours"] == "1"
    assert "Attributed, last 24 hours" in page_of(admin_client, gateway)
    (why, calls), *others = table_of(gateway, admin_user, "Waiting in quarantine").rows
    assert QuarantineReason.KEY_NOT_VALID.label in why
    assert (calls, others) == ("1", [])
    latest = table_of(gateway, admin_user, "Latest calls").rows
    assert [(owner, call) for _, owner, _, call, _ in latest] == [("Acme", "/maps")] * 2
    # Others have none.
    assert hub_of(customer.subscriptions.get(), admin_user) is None


def test_of_many_credentials_and_subscriptions_the_newest_are_counted(
    admin_user, customer, monkeypatch
):
    monkeypatch.setattr(hubs, "MAX_CREDENTIALS_COUNTED", 1)
    monkeypatch.setattr(hubs, "MAX_CREDENTIALS_READ", 1)
    monkeypatch.setattr(hubs, "MAX_SUBSCRIPTIONS_COUNTED", 1)

    figures = figures_of(customer, admin_user)
    assert figures["Suspended credentials, of the newest 1"] == "1"
    title = "Credentials, the last used first, of the newest 1 credentials"
    ((name, *_),) = table_of(customer, admin_user, title).rows
    assert "Second" in name
    product = customer.subscriptions.get().product
    assert figures_of(product, admin_user)["Active subscriptions, of the newest 1"] == "1"


def test_a_call_that_takes_long_to_find_does_not_keep_the_page(customer, admin_user, monkeypatch):
    monkeypatch.setattr(customer_calls, "SEARCH_LIMIT_MILLISECONDS", 1)
    slow = customer_calls.LIST_COUNTED.replace("WHERE", "WHERE pg_sleep(1) IS NOT NULL AND", 1)
    monkeypatch.setattr(customer_calls, "LIST_COUNTED", slow)

    table = table_of(customer, admin_user, "Latest calls")

    assert (table.rows, table.nothing) == ([], "They were not found in time. The list has them.")


def test_what_is_not_found_quickly_does_not_keep_the_page(customer, monkeypatch):
    monkeypatch.setattr(hubs, "SEARCH_LIMIT_MILLISECONDS", 1)
    sleeping = Func(
        Value(1), template="(pg_sleep(%(expressions)s) IS NULL)", output_field=BooleanField()
    )

    assert hubs._quickly_found(Gateway.objects.filter(sleeping)) == []


def test_a_hub_shows_only_what_its_user_may_see_in_the_lists(client, customer):
    reader = a_user("reader@example.com", is_staff=True)
    reader.user_permissions.set(Permission.objects.filter(codename="view_customer"))
    hub = hub_of(customer, reader)
    assert (hub.figures, hub.tables) == ([], [])

    reader.user_permissions.add(Permission.objects.get(codename="view_subscription"))
    reader = type(reader).objects.get(pk=reader.pk)
    hub = hub_of(customer, reader)
    assert [each.title for each in hub.tables] == ["Subscriptions"]
    assert [each.label for each in hub.figures] == ["Active subscriptions"]
    assert hub.tables[0].rows[0][-1] is None


def test_a_hub_asks_the_same_for_three_of_everything_as_for_one(admin_user, customer):
    def queries() -> int:
        with CaptureQueriesContext(connection) as asked:
            hub_of(customer, admin_user)
        return len(asked)

    queries()
    one = queries()
    for number in range(2):
        subscription = a_subscription(customer)
        a_credential(customer, key=f"a-further-key-000{number}", subscriptions=[subscription])
        a_subscriber(customer)
        settled(a_call(f"a-further-key-000{number}"), a_call(KEYS[1], ago=timedelta(hours=1)))

    assert queries() == one
    assert one <= 20
