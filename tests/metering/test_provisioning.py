"""Provisioning creates what calls name, by the same rules of names as everywhere."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metering import provisioning
from revcred.actions import credentials, subscriptions
from revcred.models import AuditEvent, Customer, Product
from tests import factories

pytestmark = pytest.mark.django_db

NAMES = {"customer": "Acme", "product": "Maps", "credential": "Backend"}
KEY, OTHER = "the-key-of-a-newcomer", "another-key-of-a-newcomer"


@pytest.fixture
def acme():
    provisioning.forget_provisioned()
    provisioning.provision(NAMES, key=KEY)
    provisioning.forget_provisioned()
    return Customer.objects.get()


@pytest.fixture
def revoked(acme):
    credential = acme.credentials.get()
    credentials.revoke_credential(credential=credential, reason="lost", by=None)
    return credential


@pytest.mark.parametrize("key", [None, KEY])
def test_a_revoked_credential_is_not_replaced(acme, revoked, key):
    provisioning.provision(NAMES, key=key)

    assert acme.credentials.get() == revoked
    assert revoked.keys.count() == 1


def test_its_name_is_free_for_a_key_that_nobody_had(acme, revoked):
    provisioning.provision(NAMES, key=OTHER)

    assert acme.credentials.exclude(pk=revoked.pk).get().name == "Backend"


def test_names_longer_than_an_external_key_are_found_again():
    long = ["x" * 250 + ending for ending in ("1", "2", "1")]
    for name in long:
        provisioning.forget_provisioned()
        provisioning.provision({"customer": name}, key=None)

    assert sorted(Customer.objects.values_list("name", flat=True)) == long[:2]


def test_a_former_name_creates_nothing(acme):
    acme.name, acme.external_key = "Acme Incorporated", "acme-inc"
    acme.save()
    Product.objects.update(name="Atlas", external_key="atlas")

    provisioning.provision(NAMES, key=OTHER)

    assert Customer.objects.get() == acme
    assert Product.objects.count() == 1
    assert acme.subscriptions.count() == 1


def test_a_subscription_that_has_ended_is_followed_by_another_of_the_same_name(acme):
    old = acme.subscriptions.get()
    at = timezone.now() - timedelta(days=1)
    subscriptions.end_subscription(subscription=old, at=at, by=None)

    provisioning.provision(NAMES, key=OTHER)

    new = acme.subscriptions.exclude(pk=old.pk).get()
    assert (new.external_key, new.active_from) == (old.external_key, at)


def test_a_name_that_another_subscription_has_is_left_to_it(acme):
    old = acme.subscriptions.get()
    old.product = factories.a_product("Other")
    subscriptions.change_subscription(subscription=old, by=None)

    provisioning.provision(NAMES, key=OTHER)

    assert acme.subscriptions.count() == 2
    assert acme.subscriptions.exclude(pk=old.pk).get().external_key.startswith("Acme/Maps/")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_subscribers_of_other_customers_become_no_members(acme, elsewhere):
    """A subscriber without a customer joins, on record; others are for an admin to add."""
    globex = factories.a_customer("Globex")
    ada = factories.a_subscriber(globex if elsewhere else None, email="ada@example.com")

    provisioning.provision(
        NAMES | {"credential": "Ada's", "subscriber": "ada@example.com"}, key=OTHER
    )

    assert acme.credentials.filter(name="Ada's").exists()
    assert acme.memberships.filter(subscriber=ada).exists() is not elsewhere
    assert ada.credentials.exists() is not elsewhere
    member = acme.memberships.filter(subscriber=ada).first()
    assert elsewhere or AuditEvent.objects.about(member).get().verb == AuditEvent.Verb.CREATED
