"""Lists follow the rules of names and of revoked credentials' keys, as every form does."""

from datetime import timedelta

import pytest
from django.utils import timezone

from metering.models import Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials, subscriptions
from revcred.models import Credential, FormerName, Subscription, UploadChange
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
KEY = "the-key-of-the-revoked"


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def revoked(acme):
    credential = factories.a_credential(acme, KEY, name="Gone")
    credentials.revoke_credential(credential=credential, reason="lost", by=None)
    return credential


def counts(upload):
    return {action: count for action, count in upload.preview["counts"].items() if count}


def test_a_revoked_credential_s_name_is_free_again(applied, revoked):
    upload = applied(
        rows("customer,name,key", "acme,Gone,another-key-of-acme", "acme,More,more-keys-of-acme")
    )

    assert upload.outcome == {"create": 2, "meanwhile": 0}
    assert revoked.customer.credentials.filter(name="Gone", revoked_at=None).count() == 1


@pytest.mark.parametrize("customer", ["acme", "other"])
@pytest.mark.parametrize("has_ended", [False, True])
def test_a_revoked_credential_s_key_is_rejected_whosever_it_was(
    uploaded, revoked, customer, has_ended
):
    factories.a_customer("Other")
    if has_ended:
        credentials.end_key(key=revoked.keys.get(), by=None)

    upload = uploaded(
        rows("customer,name,key", f"{customer},New,{KEY}"), keys_of_others="take_over"
    )

    assert counts(upload) == {"rejected": 1}
    assert not Credential.objects.filter(name="New").exists()


@pytest.mark.parametrize("customer", ["acme", "other"])
def test_it_counts_again_if_that_is_chosen_and_is_on_record(applied, undone, revoked, customer):
    factories.a_customer("Other")

    upload = applied(rows("customer,name,key", f"{customer},New,{KEY}"), revoked_keys="use_again")

    assert upload.outcome == {"create": 1, "meanwhile": 0}
    new = Credential.objects.get(name="New").keys.get()
    assert new.active_from == upload.applied_at
    assert revoked.keys.get().active_until == revoked.revoked_at
    change = UploadChange.objects.get(target_id=new.credential_id)
    assert change.undo_data == {"used_again_of": revoked.pk}
    assert undone(upload).outcome["undone"] == 1


def test_it_cannot_count_from_before_it_was_revoked(uploaded, revoked):
    before = (revoked.revoked_at - DAY).isoformat()

    upload = uploaded(
        rows("customer,name,key,key_active_from", f"acme,New,{KEY},{before}"),
        revoked_keys="use_again",
    )

    assert counts(upload) == {"rejected": 1}


# --- External keys of subscriptions ---------------------------------------------------------------


def subscriptions_of(*lines, header="external_key,customer,product,active_from"):
    return rows(header, *lines)


@pytest.fixture
def ended(acme):
    """A subscription called maps that ended a day ago."""
    factories.a_product("Maps")
    subscription = factories.a_subscription(acme, external_key="maps")
    subscriptions.end_subscription(subscription=subscription, at=timezone.now() - DAY, by=None)
    return subscription


def test_an_external_key_is_free_after_its_subscription_has_ended(applied, uploaded, ended):
    other = factories.a_customer("Other")

    upload = applied(subscriptions_of("maps,other,maps,"), kind=ListKind.SUBSCRIPTIONS)

    assert upload.outcome == {"create": 1, "meanwhile": 0}
    new = other.subscriptions.get()
    assert (new.external_key, new.active_from) == ("maps", ended.active_until)
    # The same list once more means the one that has the name now.
    again = uploaded(subscriptions_of("maps,other,maps,"), kind=ListKind.SUBSCRIPTIONS)
    assert counts(again) == {"unchanged": 1}


def test_dates_say_which_of_two_a_row_means(applied, acme, ended):
    begins = timezone.now()
    later = factories.a_subscription(acme, external_key="maps", active_from=begins)
    header = "external_key,customer,product,active_from,active_until,name"

    applied(
        rows(
            header,
            f"maps,acme,{ended.product.external_key},"
            f"{ended.active_from.isoformat()},{ended.active_until.isoformat()},Old",
        ),
        kind=ListKind.SUBSCRIPTIONS,
    )
    applied(
        rows(header, f"maps,acme,{later.product.external_key},,,New"), kind=ListKind.SUBSCRIPTIONS
    )

    ended.refresh_from_db()
    later.refresh_from_db()
    assert (ended.name, later.name) == ("Old", "New")


def test_an_external_key_that_another_has_then_is_rejected(uploaded, acme, ended):
    factories.a_subscription(acme, external_key="maps", active_from=timezone.now())
    from_ = (ended.active_until - DAY).isoformat()
    until = (timezone.now() + DAY).isoformat()

    upload = uploaded(
        rows(
            "external_key,customer,product,active_from,active_until",
            f"maps,acme,{ended.product.external_key},{from_},{until}",
        ),
        kind=ListKind.SUBSCRIPTIONS,
    )

    assert counts(upload) == {"rejected": 1}


def test_a_list_that_takes_a_former_name_takes_its_calls(applied, acme):
    factories.a_product("Maps")
    renamed = factories.a_subscription(acme, external_key="maps")
    renamed.external_key = "atlas"
    subscriptions.change_subscription(subscription=renamed, by=None)
    call = factories.a_call(subscription_named="maps")
    factories.settled(call)
    assert Transaction.objects.get().subscription == renamed

    applied(subscriptions_of("maps,acme,maps,"), kind=ListKind.SUBSCRIPTIONS)
    reattribution.work_through_claims()

    taker = Subscription.objects.get(external_key="maps")
    assert Transaction.objects.standing().get().subscription == taker
    assert FormerName.objects.get().taken_by_id == taker.pk


def test_what_is_undone_never_had_the_name(applied, undone, acme):
    factories.a_product("Maps")
    renamed = factories.a_subscription(acme, external_key="maps")
    renamed.external_key = "atlas"
    subscriptions.change_subscription(subscription=renamed, by=None)
    upload = applied(subscriptions_of("maps,acme,maps,"), kind=ListKind.SUBSCRIPTIONS)
    assert FormerName.objects.get().counts_until is not None

    undone(upload)

    assert FormerName.objects.get().counts_until is None
    factories.settled(factories.a_call(subscription_named="maps"))
    assert Transaction.objects.get().subscription == renamed


def test_credentials_of_a_list_feed_the_subscription_that_has_the_name_now(applied, acme, ended):
    later = factories.a_subscription(acme, external_key="maps", active_from=timezone.now())

    applied(
        rows("customer,name,key,subscription", "acme,Orders,the-key-of-the-orders,maps"),
    )

    assert Credential.objects.get(name="Orders").assignments.get().subscription == later
