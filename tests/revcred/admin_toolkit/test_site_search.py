"""One search finds anything by anything, and no answer of it holds a key."""

import pytest
from django.test import Client
from django.urls import reverse

from metering.models import GatewayToken
from revcred.models import Customer, Upload, UserToken
from tests import factories
from tests.revcred.test_pasting import PASTED

SEARCH = reverse("admin:search")
KEY = "aKnown-K3y-0f9harbour"


@pytest.fixture
def found(admin_client):
    """Return a function that searches: labels by group, or where the only hit led."""

    def search(term):
        response = admin_client.post(SEARCH, {"term": term})
        if response.status_code == 302:
            return response.url
        assert KEY not in response.content.decode()
        return {
            group.name: [hit.label for hit in group.hits] for group in response.context["groups"]
        }

    return search


@pytest.fixture
def customer(db):
    factories.a_customer("Nordic Orbit")
    return Customer.objects.create(name="Zürich Käse", external_key="zk-77")


def page(thing):
    name = f"admin:{thing._meta.app_label}_{thing._meta.model_name}_change"
    return reverse(name, args=[thing.pk])


@pytest.mark.parametrize("line", PASTED)
def test_a_pasted_key_leads_to_its_credential(found, line):
    credential = factories.a_credential(key=KEY)

    assert found(line.format(KEY)) == page(credential)


@pytest.mark.parametrize(
    "term", ["Zürich Käse", "zurich kase", "ürich", "KASE zur", "zk-77", "K-77", "käse zk-"]
)
def test_words_are_found_anywhere_and_in_any_writing(found, customer, term):
    assert found(term) == page(customer)


@pytest.mark.parametrize("term", ["100%", "zur_ch", "a\\b", "zü'; --", "\0", "%%%", "___", "é", ""])
def test_signs_of_patterns_stand_for_themselves(found, customer, term):
    assert found(term) == {}


def test_each_kind_is_found_by_what_people_know_of_it(found, customer):
    person = factories.a_subscriber(customer, email="ada@harbour.example")
    subscription = factories.a_subscription(customer, external_key="sub-4711", name="Tides")
    credential = factories.a_credential(customer, name="Checkout", key="k-1-abcdefgh9Xy2")
    product = factories.a_product("Weather maps")
    gateway = factories.a_gateway("edge-1")
    upload = Upload.objects.create(kind="customers", file_name="autumn.csv", size=1, digest="")
    factories.settled(factories.a_call("k-1-abcdefgh9Xy2", transaction_id="t-9"), gateway=gateway)
    receipt = f"{reverse('admin:metering_transaction_changelist')}?q=t-9"

    for term, thing in {
        "@harbour": person,
        "4711": subscription,
        "heckou": credential,
        "9Xy2": credential,
        "weather": product,
        "edge": gateway,
        "autumn": upload,
    }.items():
        assert found(term) == page(thing), term
    assert found("t-9") == receipt
    # What belongs to a customer is found by its name, the customer first.
    assert list(found("kase")) == ["Customers", "Subscriptions", "Credentials"]


def test_a_token_says_whose_it_is(found):
    gateway, user = factories.a_gateway("edge-1"), factories.a_user(is_staff=True)
    _, of_gateway = GatewayToken.issue(gateway, name="", scopes=[])
    record, of_user = UserToken.issue(user, name="", scopes=[])

    assert found(f"Authorization: Bearer {of_gateway}") == page(gateway)
    assert found(of_gateway.removeprefix("hak_")) == page(gateway)
    assert found(of_user) == page(record)


def test_a_key_that_waits_in_quarantine(found):
    factories.settled(factories.a_call(KEY), gateway=factories.a_gateway())

    assert found(KEY).startswith(f"{reverse('admin:metering_quarantined_changelist')}?group=")


def test_many_are_cut_and_the_closest_comes_first(admin_client):
    for number in range(8):
        factories.a_customer(f"Harbour {number}")
    factories.a_customer("Harbour")

    group = admin_client.post(SEARCH, {"term": "harbour"}).context["groups"][0]

    assert len(group.hits) == 6
    assert group.hits[0].label == "Harbour"
    assert group.all_url == f"{reverse('admin:revcred_customer_changelist')}?q=harbour"


def test_what_may_be_a_key_is_not_shown_again(admin_client):
    for term, shown in {
        "unKnown-0f.harbour9x": "",
        "x-api-key: abcdefgh": "",
        "Käse": "Käse",
    }.items():
        response = admin_client.post(SEARCH, {"term": term})
        assert response.context["term"] == shown
        # Whoever uses the machine next does not find it by the back button.
        assert "no-store" in response["Cache-Control"]


def test_nobody_finds_what_they_may_not_see(customer):
    client = Client()
    client.force_login(factories.a_user(is_staff=True))

    assert client.post(SEARCH, {"term": "kase"}).context["groups"] == []
    assert Client().post(SEARCH, {"term": "kase"}).status_code == 302
