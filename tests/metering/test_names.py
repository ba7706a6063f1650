"""Attribution by the names of customer, product, subscriber and credential in a call."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metering.models import Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials, subscriptions
from revcred.models import Product, Subscription
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def acme(db):
    """Acme has Maps and Routes, with a credential for each; Initech has Maps only."""
    acme, initech = factories.a_customer("Acme"), factories.a_customer("Initech")
    maps, routes = factories.a_product("Maps"), factories.a_product("Routes")
    factories.a_product("Nobody's")
    for customer, product in ((acme, maps), (acme, routes), (initech, maps)):
        subscription = factories.a_subscription(
            customer, product=product, external_key=f"{customer} {product}"
        )
        factories.a_credential(
            customer,
            name=f"For {product}",
            key=f"{customer} {product}"[::-1] * 2,
            subscriptions=[subscription],
        )
    factories.a_subscriber(initech, email="ada@initech.test")
    factories.a_subscriber(acme, email="bob@acme.test")
    return acme


def judged(names, key=None, **fields):
    call = factories.a_call(key, names=names, **fields)
    factories.settled(call)
    row = Transaction.objects.filter(transaction_id=call.transaction_id).first()
    if row is None:
        return Quarantined.objects.get(transaction_id=call.transaction_id).reason
    credential = row.credential and row.credential.name
    return row.subscription.external_key, credential, row.matched_by


CASES = {
    "customer and product": (
        {"customer": "Acme", "product": "maps"},
        ("Acme Maps", None, "name"),
    ),
    "external keys": ({"customer": "acme", "product": "routes"}, ("Acme Routes", None, "name")),
    "a customer with one subscription": ({"customer": "Initech"}, ("Initech Maps", None, "name")),
    "a customer with several": ({"customer": "Acme"}, "ambiguous"),
    "a credential of a customer": (
        {"customer": "Acme", "credential": "For Maps"},
        ("Acme Maps", "For Maps", "name"),
    ),
    "a credential's only name": (
        {"credential": "for routes"},
        ("Acme Routes", "For Routes", "name"),
    ),
    "a credential's name that two have": ({"credential": "For Maps"}, "ambiguous"),
    "a subscriber": ({"subscriber": "Ada@initech.test"}, ("Initech Maps", None, "name")),
    "a subscriber of another": (
        {"customer": "Acme", "subscriber": "ada@initech.test"},
        "no_subscription",
    ),
    "a subscriber and a product": (
        {"subscriber": "bob@acme.test", "product": "Routes"},
        ("Acme Routes", None, "name"),
    ),
    "no such customer": ({"customer": "Umbrella", "product": "Maps"}, "unknown_customer"),
    "no such product": ({"customer": "Acme", "product": "Moon"}, "unknown_product"),
    "no such subscriber": ({"customer": "Acme", "subscriber": "no@one"}, "unknown_subscriber"),
    "no such credential": ({"customer": "Acme", "credential": "x"}, "unknown_credential"),
    "of another customer": (
        {"customer": "Initech", "credential": "For Routes"},
        "unknown_credential",
    ),
    "a product nobody has": ({"customer": "Acme", "product": "Nobody's"}, "no_subscription"),
    "a product alone": ({"product": "Routes"}, "anonymous"),
}


@pytest.mark.parametrize(("names", "expected"), CASES.values(), ids=CASES)
def test_names_alone(names, expected):
    assert judged(names) == expected


KEY_OF_MAPS = "Acme Maps"[::-1] * 2


@pytest.mark.parametrize(
    ("names", "strictly"),
    [
        ({"customer": "Acme", "product": "Maps", "credential": "For Maps"}, None),
        ({"customer": "Umbrella"}, "unknown_customer"),
        ({"product": "Moon"}, "unknown_product"),
        ({"credential": "x"}, "unknown_credential"),
        ({"subscriber": "no@one"}, "unknown_subscriber"),
        ({"customer": "Initech"}, "names_disagree"),
        ({"product": "Routes"}, "names_disagree"),
        ({"credential": "For Routes"}, "names_disagree"),
    ],
)
def test_beside_a_key_they_only_count_strictly(names, strictly):
    of_the_key = ("Acme Maps", "For Maps", "key")

    assert judged(names, KEY_OF_MAPS) == of_the_key
    assert judged(names | {"strict": True}, KEY_OF_MAPS) == (strictly or of_the_key)


@pytest.mark.parametrize(
    ("names", "strictly"),
    [({"customer": "Acme"}, None), ({"customer": "Initech"}, "names_disagree")],
)
def test_beside_a_subscription_they_only_count_strictly(names, strictly):
    of_the_subscription = ("Acme Maps", None, "subscription")

    def judge(names):
        return judged(names, subscription_named="Acme Maps")

    assert judge(names) == of_the_subscription
    assert judge(names | {"strict": True}) == (strictly or of_the_subscription)


def test_nothing_named_is_nobody_s():
    assert judged({"strict": True}) == "anonymous"


def test_a_credential_has_to_be_valid_then(acme):
    credential = acme.credentials.get(name="For Routes")
    credentials.suspend_credential(credential=credential, by=None)

    names = {"credential": "For Routes"}
    assert judged(names, occurred_at=timezone.now()) == "key_not_valid"
    assert judged(names, ago=timedelta(days=1))[1] == "For Routes"


def test_what_names_nobody_is_claimed_when_somebody_has_that_name():
    assert judged({"customer": "Umbrella", "product": "Maps"}) == "unknown_customer"

    subscription = Subscription(
        customer=factories.a_customer("Umbrella"),
        product=Product.objects.get(name="Maps"),
        external_key="Umbrella Maps",
        active_from=factories.LONG_AGO,
    )
    subscriptions.start_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()

    assert Transaction.objects.get().subscription == subscription
    assert Transaction.objects.get().quarantine_reason == "unknown_customer"
