"""The quarantine shows which product does not count which source; changing it is enough."""

import pytest
from django.urls import reverse

from metering.admin import groups
from metering.models import Quarantined, QuarantineReason, Transaction
from metering.quarantine import reattribution
from revcred.models import Source
from tests import factories
from tests.confirming import asked, confirm
from tests.revcred.admin_toolkit.test_confirmation import fields_of

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-the-uncounted"


@pytest.fixture
def subscription():
    customer = factories.a_customer("Acme")
    product = factories.a_product("Atlas")
    product.sources.add(Source.objects.create(name="Maps", external_key="maps"))
    tiles = Source.objects.create(name="Tiles", external_key="tiles")
    factories.a_product("Another").sources.add(tiles)
    made = factories.a_subscription(customer, product=product, name="Fleet", external_key="fleet")
    factories.a_credential(customer, KEY, subscriptions=[made])
    return made


def page(client):
    (group,) = groups.find_groups()
    assert group.reason is QuarantineReason.NO_SUBSCRIPTION
    listed = reverse("admin:metering_quarantined_changelist")
    texts = [client.get(f"{listed}{query}").text for query in ("", f"?group={group.slug}")]
    return [" ".join(text.split()) for text in texts]


WAYS = {
    "by subscription": {"subscription_named": "fleet"},
    "by key": {"key": KEY},
    "by both": {"key": KEY, "subscription_named": "fleet"},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_source_that_the_product_lacks_is_named_and_adding_it_is_enough(
    admin_client, subscription, way
):
    said = dict(WAYS[way])
    key = said.pop("key", None)
    factories.settled(*[factories.a_call(key, source_named="tiles", **said) for _ in range(3)])
    overview, text = page(admin_client)
    address = reverse("admin:revcred_product_change", args=[subscription.product_id])
    assert "The product Atlas does not count the source “Tiles”." in overview
    assert "<strong>3 calls</strong> to the source" in text
    assert "of “Fleet” (Acme) does not have this source" in text
    assert f'<a href="{address}">add the source to the product</a>' in text
    assert "charged automatically as soon as the product counts their source" in text

    typed = fields_of(admin_client, address)
    typed["sources"] = [each.pk for each in Source.objects.all()]
    response = admin_client.post(address, typed)
    assert asked(response)
    assert "This moves 3 calls" in response.text
    assert confirm(admin_client, response).status_code == 302
    reattribution.work_through_claims()

    assert not Quarantined.objects.exists()
    assert Transaction.objects.standing().filter(subscription=subscription).count() == 3


def test_a_source_that_nobody_knows_is_added_first(admin_client, subscription):
    factories.settled(factories.a_call(subscription_named="fleet", source_named="streets"))

    overview, text = page(admin_client)

    assert "<code>streets</code>, which is no source yet" in overview
    assert "names the source <code>streets</code>, which does not exist in revcred" in text
    assert "?external_key=streets&amp;name=streets" in text


def test_calls_of_no_source_are_told_too(admin_client, subscription):
    factories.settled(factories.a_call(KEY, path="/elsewhere/"))

    overview, text = page(admin_client)

    assert "The product Atlas does not count calls of no source." in overview
    assert "choose <em>also calls of no source</em> on the product" in text


def test_nothing_is_said_of_calls_that_wait_for_another_reason(admin_client, subscription):
    factories.a_credential(subscription.customer, "a-key-that-feeds-nothing")
    factories.settled(factories.a_call("a-key-that-feeds-nothing"))

    overview, text = page(admin_client)

    assert "does not count" not in overview
    assert "Why these calls are not charged" not in text
