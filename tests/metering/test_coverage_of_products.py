"""A product counts all calls, those of its sources, or also those without a source."""

from importlib import import_module

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from metering.models import Claim, Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import subscriptions
from revcred.models import Product, Source
from revcred.postgresql.owner import as_owner, grant_runtime_rights
from tests import factories
from tests.confirming import confirm, post

KEY = "the-key-of-the-products"


def subscribed(product):
    subscription = factories.a_subscription(product=product)
    factories.a_credential(subscription.customer, KEY, subscriptions=[subscription])
    return subscription


CALLS = {
    "of its source": {"source_named": "tiles"},
    "of another": {"source_named": "routes"},
    "of an unknown one": {"source_named": "nothing"},
    "of none": {},
    "of a path of none": {"path": "/nowhere"},
    "of its path": {"path": "/tiles/1"},
}
NO_SOURCE = {"of none", "of a path of none"}
ITS_SOURCE = {"of its source", "of its path"}


def ways_to_call(subscription):
    """Return calls by a key, by the subscription's name, and by the customer's name."""
    return (
        {"key": KEY},
        {"subscription_named": subscription.external_key},
        {"names": {"customer": subscription.customer.name}},
    )


def counted(subscription):
    """Return those of CALLS that count, which are the same in every way to call."""
    found = []
    for way in ways_to_call(subscription):
        calls = {said: factories.a_call(**way, **fields) for said, fields in CALLS.items()}
        factories.settled(*calls.values())
        charged = {*Transaction.objects.standing().values_list("transaction_id", flat=True)}
        found.append({said for said, call in calls.items() if call.transaction_id in charged})
    assert found[0] == found[1] == found[2]
    return found[0]


@pytest.fixture
def product(db):
    Source.objects.create(name="Routes", external_key="routes")
    product = factories.a_product("Maps")
    tiles = product.sources.create(name="Tiles", external_key="tiles")
    tiles.path_rules.create(text="/tiles/")
    return Product.objects.get(pk=product.pk)


@pytest.mark.django_db
def test_a_product_that_never_had_a_source_counts_all(product):
    assert counted(subscribed(factories.a_product())) == {*CALLS}


def test_with_sources_only_calls_that_fit_one_count(product):
    assert counted(subscribed(product)) == ITS_SOURCE


def test_it_may_count_calls_of_no_source_too(product):
    product.also_without_source = True
    product.save()

    assert counted(subscribed(product)) == ITS_SOURCE | NO_SOURCE


def test_it_keeps_its_restriction_when_the_last_source_goes_until_it_is_opened(product):
    subscription = subscribed(product)
    product.sources.clear()
    assert counted(subscription) == set()

    product.refresh_from_db()
    subscriptions.open_product_to_all_calls(product=product, by=None)
    while Claim.objects.open().exists():
        reattribution.work_through_claims()

    assert not Quarantined.objects.exists()
    assert counted(subscription) == {*CALLS}


def test_one_with_sources_cannot_be_opened(product):
    subscriptions.open_product_to_all_calls(product=product, by=None)
    Product.objects.update(restricted=False)

    assert Product.objects.get().restricted


# --- The form, and deleting a source -------------------------------------------------------------


def form_of(product, **fields):
    return {
        "name": product.name,
        "external_key": product.external_key,
        "sources": [],
        "credential_issuing": product.credential_issuing,
    } | fields


def test_the_form_asks_what_a_product_without_its_last_source_counts(admin_client, product):
    page = f"/admin/revcred/product/{product.pk}/change/"

    response = admin_client.post(page, form_of(product))
    assert "No source is left" in response.content.decode()
    assert product.sources.count() == 1

    post(admin_client, page, form_of(product, without_sources="closed"))
    product.refresh_from_db()
    assert (product.sources.count(), product.restricted) == (0, True)
    # It is not asked again, and may be opened.
    post(admin_client, page, form_of(product, without_sources="open"))
    product.refresh_from_db()
    assert not product.restricted


@pytest.mark.parametrize("choice", ["open", "closed"])
def test_deleting_the_last_source_asks(admin_client, product, choice):
    page = f"/admin/revcred/source/{Source.objects.get(name='Tiles').pk}/delete/"

    assert "Maps" in admin_client.get(page).content.decode()
    response = admin_client.post(page, {"post": "yes"})
    assert "Choose what these products count" in response.content.decode()
    assert product.sources.count() == 1

    response = admin_client.post(page, {"post": "yes", "without_sources": choice})
    if choice == "open":  # what waits would be counted
        assert product.sources.count() == 1
        confirm(admin_client, response)
    product.refresh_from_db()
    assert (product.sources.count(), product.restricted) == (0, choice == "closed")


def test_deleting_one_of_several_asks_nothing(admin_client, product):
    other = product.sources.create(name="Other", external_key="other")

    admin_client.post(f"/admin/revcred/source/{other.pk}/delete/", {"post": "yes"})

    assert product.sources.count() == 1


# --- The upgrade ---------------------------------------------------------------------------------


def migrate(*targets):
    with as_owner() as application:
        executor = MigrationExecutor(connection)
        executor.loader = MigrationLoader(connection)
        executor.migrate(list(targets))
        grant_runtime_rights(application)


@pytest.mark.long
@pytest.mark.django_db(transaction=True)
def test_no_bill_changes_by_the_upgrade():
    """A product with sources that counted calls of no source says so; others do not."""
    named, unnamed, all_of_them = (factories.a_product(name) for name in ("A", "B", "C"))
    for number, product in enumerate((named, unnamed, all_of_them)):
        subscription = factories.a_subscription(product=product)
        key = f"the-key-of-product-{number}"
        factories.a_credential(subscription.customer, key, subscriptions=[subscription])
        factories.settled(factories.a_call(key, source_named="tiles" if product == named else None))
    source = Source.objects.create(name="Tiles", external_key="tiles")
    for product in (named, unnamed):
        product.sources.add(source)
    upgrade = import_module("metering.migrations.0051_names_by_the_moment")

    loader = MigrationLoader(connection)
    (before,) = loader.disk_migrations["revcred", "0051_names_and_sources"].dependencies
    leaves = loader.graph.leaf_nodes()
    migrate(before)  # which takes back whatever depends on it, in metering too
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM revcred_product_sources")
        assert cursor.fetchone() == (2,)
    migrate(*leaves)

    said = {
        each.name: (each.restricted, each.also_without_source) for each in Product.objects.all()
    }
    # A's call named its source; it was no source of the installation yet.
    assert said == {"A": (True, False), "B": (True, True), "C": (False, False)}
    # Where the ledger is too long to tell in time, all with sources do.
    Product.objects.update(also_without_source=False)
    upgrade.MOST_MILLISECONDS, kept = 1, upgrade.MOST_MILLISECONDS
    upgrade.COUNTED_WITHOUT_SOURCE, statement = "SELECT pg_sleep(5)", upgrade.COUNTED_WITHOUT_SOURCE
    try:
        upgrade.let_bills_stay(None, None)
    finally:
        upgrade.MOST_MILLISECONDS, upgrade.COUNTED_WITHOUT_SOURCE = kept, statement
    assert {each.name for each in Product.objects.filter(also_without_source=True)} == {"A", "B"}
