"""The form of a subscription says who loses calls when it takes a name, and forgets names."""

import html

import pytest

from metering.models import Transaction
from metering.quarantine import reattribution
from revcred.actions import subscriptions
from revcred.models import Subscription
from tests import factories
from tests.confirming import asked, confirm

pytestmark = pytest.mark.django_db


@pytest.fixture
def renamed():
    """A subscription called atlas that was called maps, with a call under that name."""
    subscription = factories.a_subscription(
        factories.a_customer("Acme"), external_key="maps", name="Atlas of Acme"
    )
    subscription.external_key = "atlas"
    subscriptions.change_subscription(subscription=subscription, by=None)
    factories.settled(factories.a_call(subscription_named="maps"))
    return subscription


def page_of(subscription):
    return f"/admin/revcred/subscription/{subscription.pk}/change/"


def form_of(subscription, **fields):
    began = subscription.active_from
    return {
        "product": subscription.product_id,
        "external_key": subscription.external_key,
        "name": subscription.name,
        "active_from_0": f"{began:%Y-%m-%d}",
        "active_from_1": f"{began:%H:%M:%S}",
        "active_from": f"{began:%Y-%m-%dT%H:%M:%S}",
    } | fields


def test_taking_a_former_name_is_asked_and_says_who_loses_calls(admin_client, renamed):
    taker = factories.a_subscription(name="Taker")

    response = admin_client.post(page_of(taker), form_of(taker, external_key="maps"))

    assert asked(response)
    text = response.content.decode()
    assert "was an external key of “Atlas of Acme” of Acme" in text
    assert "1 in the last" in text
    assert response.context["found"].calls == 1
    taker.refresh_from_db()
    assert taker.external_key != "maps"

    confirm(admin_client, response)
    reattribution.work_through_claims()
    assert Transaction.objects.standing().get().subscription == taker


def test_a_plain_rename_moves_nothing_and_shows_the_name_before(admin_client, renamed):
    response = admin_client.post(page_of(renamed), form_of(renamed, external_key="globe"))

    assert not response.context["found"].moves_calls
    assert "Calls that name “atlas” go on counting for it" in html.unescape(response.text)
    assert confirm(admin_client, response).status_code == 302
    text = admin_client.get(page_of(renamed)).content.decode()
    assert "globe" in text
    assert "maps" in text
    assert "atlas" in text
    assert Transaction.objects.standing().get().subscription == renamed


def test_a_name_in_use_then_is_refused_by_the_form(admin_client, renamed):
    other = factories.a_subscription()

    response = admin_client.post(page_of(other), form_of(other, external_key="atlas"))

    assert "Another subscription has this external key in that time." in response.content.decode()
    assert Subscription.objects.filter(external_key="atlas").count() == 1


def test_a_former_name_can_be_forgotten(admin_client, renamed):
    page = f"/admin/revcred/subscription/{renamed.pk}/forget-name/"

    response = admin_client.post(page, {"name": "maps"})
    assert asked(response)
    confirm(admin_client, response)
    reattribution.work_through_claims()

    assert not renamed.former_names().exists()
    assert not Transaction.objects.standing().exists()
