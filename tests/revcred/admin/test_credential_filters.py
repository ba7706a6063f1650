"""Each filter of credentials keeps just those that it promises."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import ExternalKey, KeyUse, Subscription
from tests.factories import (
    a_credential,
    a_customer,
    a_gateway,
    a_product,
    a_subscriber,
    a_subscription,
)

pytestmark = pytest.mark.django_db(transaction=True)

LIST = reverse("admin:revcred_credential_changelist")
HOUR = timedelta(hours=1)


@pytest.fixture
def world():
    """One credential for each thing that a filter tells apart."""
    now = timezone.now()
    customer = a_customer("Acme")
    maps = a_product("Maps")
    subscription = a_subscription(customer, product=maps)
    ended = a_subscription(customer)
    holder = a_subscriber(customer)
    gateway = a_gateway()

    def issue(name, **fields):
        return a_credential(customer, name=name, **fields)

    issue("plain", subscriptions=[subscription], holders=[holder])
    issue("tagged", tags=["eu", "partner"], environment="staging")
    suspended = issue("suspended")
    credentials.suspend_credential(credential=suspended, by=None)
    revoked = issue("revoked")
    credentials.revoke_credential(credential=revoked, reason="Lost", by=None)
    expired = issue("expired")
    type(expired).objects.filter(pk=expired.pk).update(expires_at=now - HOUR)
    bound = issue("bound")
    ExternalKey.objects.filter(credential=bound).update(gateway=gateway)
    rotated = issue("rotated")
    credentials.rotate_credential(credential=rotated, overlap=timedelta(days=2), by=None)
    of_ended = issue("of an ended one", subscriptions=[ended])
    Subscription.objects.filter(pk=ended.pk).update(active_until=now - HOUR)
    for credential, ago in ((bound, HOUR), (of_ended, timedelta(days=90))):
        KeyUse.objects.create(external_key=credential.keys.get(), last_used_at=now - ago)
    a_credential(name="another's")
    return {"customer": customer, "maps": maps, "holder": holder, "gateway": gateway}


def names(client, **query) -> set[str]:
    return {each.name for each in client.get(LIST, query).context["cl"].result_list}


EVERYTHING = {
    *("plain", "tagged", "suspended", "revoked", "expired", "bound", "rotated"),
    *("of an ended one", "another's"),
}


def test_each_filter_keeps_what_it_promises(admin_client, world):
    customer, maps = world["customer"], world["maps"]
    used_lately = f"{timezone.now() - timedelta(days=1):%Y-%m-%d %H:%M}"
    tomorrow = f"{timezone.now() + timedelta(days=1):%Y-%m-%d}"

    assert names(admin_client) == EVERYTHING
    assert names(admin_client, state="suspended") == {"suspended"}
    assert names(admin_client, state="revoked") == {"revoked"}
    assert names(admin_client, state="expired") == {"expired"}
    active = EVERYTHING - {"suspended", "revoked", "expired"}
    assert names(admin_client, state="active") == active
    assert names(admin_client, customer=customer.pk) == EVERYTHING - {"another's"}
    assert names(admin_client, product=maps.pk) == {"plain"}
    assert names(admin_client, holder=world["holder"].pk) == {"plain"}
    assert names(admin_client, tag="partner") == {"tagged"}
    assert names(admin_client, tag="part") == set()
    assert names(admin_client, environment="staging") == {"tagged"}
    assert names(admin_client, gateway=world["gateway"].pk) == {"bound"}
    assert names(admin_client, expires_before=tomorrow) == {"expired"}
    assert names(admin_client, unused_since=used_lately) == EVERYTHING - {"bound"}
    assert names(admin_client, never_used="no") == {"bound", "of an ended one"}
    assert names(admin_client, never_used="yes") == EVERYTHING - {"bound", "of an ended one"}
    assert names(admin_client, old_key="yes") == {"rotated"}
    assert names(admin_client, old_key="no") == EVERYTHING - {"rotated"}
    assert names(admin_client, charged="yes") == {"plain"}
    assert names(admin_client, charged="no") == EVERYTHING - {"plain"}
    assert names(admin_client, state="active", never_used="no", gateway=world["gateway"].pk) == {
        "bound"
    }
