from datetime import timedelta

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone

from revcred.fingerprints import fingerprint
from revcred.models import (
    Assignment,
    Credential,
    ExternalKey,
    KeyringCheck,
    Membership,
    Subscription,
    Suspension,
)
from tests import factories

pytestmark = pytest.mark.django_db

Role = Membership.Role
State = Credential.State

HOUR = timedelta(hours=1)
NOW = timezone.now()


def a_key(string="one-string", credential=None, **fields):
    return ExternalKey.objects.create(
        credential=credential or factories.a_credential(),
        fingerprint=fingerprint(string),
        **{"active_from": NOW} | fields,
    )


# --- One string means one credential at a time ----------------------------------------------------


def test_two_credentials_do_not_share_a_key_at_a_time():
    a_key(active_until=NOW + 2 * HOUR)

    with pytest.raises(IntegrityError, match="externalkey_means_one_credential"):
        a_key(active_from=NOW + HOUR)


def test_nor_does_one_credential_have_it_twice():
    first = a_key()

    with pytest.raises(IntegrityError, match="externalkey_means_one_credential"):
        a_key(credential=first.credential)


def test_nor_by_a_longer_period():
    first, second = a_key(active_until=NOW + HOUR), a_key(active_from=NOW + HOUR)

    with pytest.raises(IntegrityError, match="externalkey_means_one_credential"):
        ExternalKey.objects.filter(pk=first.pk).update(active_until=NOW + 2 * HOUR)
    assert second.pk != first.pk


def test_a_key_passes_on_at_the_very_moment():
    first = a_key(active_until=NOW + HOUR)
    second = a_key(active_from=NOW + HOUR)

    holding = ExternalKey.objects.filter(fingerprint=fingerprint("one-string"))
    assert holding.at(NOW + HOUR / 2).get() == first
    assert holding.at(NOW + HOUR).get() == second


def test_a_gateway_may_give_a_string_a_meaning_of_its_own():
    anywhere = a_key()
    here = a_key(gateway=factories.a_gateway())
    there = a_key(gateway=factories.a_gateway())

    same = ExternalKey.objects.filter(fingerprint=fingerprint("one-string"))
    assert set(same) == {anywhere, here, there}


def test_but_only_one():
    gateway = factories.a_gateway()
    a_key(gateway=gateway)

    with pytest.raises(IntegrityError, match="externalkey_means_one_credential"):
        a_key(gateway=gateway)


def test_the_current_key_is_the_one_in_force_and_the_one_on_its_way_out():
    credential = factories.a_credential()
    generated = credential.keys.get()
    leaving = a_key("leaving", credential, active_until=NOW + HOUR)
    a_key("gone", credential, active_from=NOW - 2 * HOUR, active_until=NOW)
    a_key("to come", credential, active_from=NOW + HOUR)
    a_key("alias", credential, kind=ExternalKey.Kind.ALIAS)

    assert list(credential.keys.current(NOW)) == [leaving, generated]


def test_a_list_of_keys_says_what_there_is_to_reveal():
    with_both = factories.a_credential(secret="a secret").keys.get()
    with_value = factories.a_credential().keys.get()
    with_none = a_key()

    known = ExternalKey.objects.with_sealed().values_list("pk", "has_value", "has_secret")
    assert set(known) == {
        (with_both.pk, True, True),
        (with_value.pk, True, False),
        (with_none.credential.keys.last().pk, True, False),
        (with_none.pk, False, False),
    }


# --- Both sides of an assignment are of one customer ----------------------------------------------


def an_assignment(credential=None, subscription=None, customer=None, **fields):
    credential = credential or factories.a_credential()
    return Assignment(
        customer=customer or credential.customer,
        credential=credential,
        subscription=subscription or factories.a_subscription(credential.customer),
        **{"active_from": NOW} | fields,
    )


def check_now():
    """What the database would otherwise check when the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_an_assignment_of_one_customer_is_accepted():
    Assignment.objects.bulk_create([an_assignment()])

    check_now()


def test_another_customers_subscription_is_refused():
    Assignment.objects.bulk_create([an_assignment(subscription=factories.a_subscription())])

    with pytest.raises(IntegrityError, match="assignment_subscription_of_same_customer"):
        check_now()


def test_another_customers_credential_is_refused():
    theirs = factories.a_subscription()
    Assignment.objects.bulk_create([an_assignment(subscription=theirs, customer=theirs.customer)])

    with pytest.raises(IntegrityError, match="assignment_credential_of_same_customer"):
        check_now()


def test_a_subscription_that_is_fed_does_not_change_its_customer():
    assignment = an_assignment()
    assignment.save()
    other = factories.a_customer()
    Subscription.objects.filter(pk=assignment.subscription_id).update(customer=other)

    with pytest.raises(IntegrityError, match="assignment_subscription_of_same_customer"):
        check_now()


def test_a_credential_feeds_a_subscription_once_at_a_time():
    first = an_assignment()
    first.save()

    with pytest.raises(IntegrityError, match="assignment_once_at_a_time"):
        an_assignment(first.credential, first.subscription, active_from=NOW + HOUR).save()


def test_it_may_feed_several_and_come_back_to_one():
    first = an_assignment(active_until=NOW + HOUR)
    first.save()

    an_assignment(first.credential).save()
    an_assignment(first.credential, first.subscription, active_from=NOW + HOUR).save()

    assert first.credential.assignments.count() == 3


# --- States ---------------------------------------------------------------------------------------


def test_suspensions_do_not_overlap():
    credential = factories.a_credential()
    Suspension.objects.create(credential=credential, active_from=NOW, active_until=NOW + HOUR)
    Suspension.objects.create(credential=credential, active_from=NOW + HOUR)

    with pytest.raises(IntegrityError, match="suspension_once_at_a_time"):
        Suspension.objects.create(credential=credential, active_from=NOW + 2 * HOUR)


def test_a_list_knows_which_are_suspended_at_a_moment():
    credential = factories.a_credential()
    Suspension.objects.create(credential=credential, active_from=NOW, active_until=NOW + HOUR)
    moments = [NOW - HOUR, NOW, NOW + HOUR]

    found = [Credential.objects.with_suspended(each).get().suspended for each in moments]

    assert found == [False, True, False]


@pytest.mark.parametrize(
    ("facts", "suspended", "expected"),
    [
        ({}, False, State.ACTIVE),
        ({}, True, State.SUSPENDED),
        ({"expires_at": NOW + HOUR}, False, State.ACTIVE),
        ({"expires_at": NOW}, False, State.EXPIRED),
        ({"expires_at": NOW}, True, State.EXPIRED),
        ({"revoked_at": NOW + HOUR}, False, State.ACTIVE),
        ({"revoked_at": NOW}, False, State.REVOKED),
        ({"revoked_at": NOW, "expires_at": NOW}, True, State.REVOKED),
    ],
)
def test_the_gravest_state_is_the_one_said(facts, suspended, expected):
    assert Credential(**facts).state_at(NOW, suspended=suspended) is expected


def test_a_name_is_unique_at_its_customer_only():
    credential = factories.a_credential(name="Production")
    factories.a_credential(name="Production")

    with pytest.raises(IntegrityError, match="credential_name_of_customer"):
        Credential.objects.create(customer=credential.customer, name="Production")


@pytest.mark.parametrize(
    "facts", [{"revoked_at": NOW}, {"revocation_reason": "it was found in a public repository"}]
)
def test_who_revokes_says_why(facts):
    credential = factories.a_credential()

    with pytest.raises(IntegrityError, match="credential_revoked_with_a_reason"):
        Credential.objects.filter(pk=credential.pk).update(**facts)


def test_there_is_one_canary():
    KeyringCheck.matches()

    with pytest.raises(IntegrityError, match="keyringcheck_only_one"):
        KeyringCheck.objects.create(pk=2, text="another")


# --- Who sees it ----------------------------------------------------------------------------------


@pytest.fixture
def customer():
    return factories.a_customer()


def sees(subscriber, customer):
    return set(Credential.objects.visible_to(subscriber.user).filter(customer=customer))


def test_an_owner_sees_all_of_the_customer(customer):
    owner = factories.a_subscriber(customer, Role.OWNER)
    held = factories.a_credential(customer, holders=[owner, factories.a_subscriber(customer)])
    other = factories.a_credential(customer, holders=[factories.a_subscriber(customer)])

    assert sees(owner, customer) == {held, other}
    assert Credential.objects.visible_to(owner.user).count() == 2  # the one with two holders once


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
def test_others_see_what_they_hold(customer, role):
    subscriber = factories.a_subscriber(customer, role)
    held = factories.a_credential(customer, holders=[subscriber])
    factories.a_credential(customer)

    assert sees(subscriber, customer) == {held}


def test_an_owner_elsewhere_sees_nothing_here(customer):
    stranger = factories.a_subscriber(factories.a_customer(), Role.OWNER)
    factories.a_credential(customer)

    assert sees(stranger, customer) == set()


def test_owning_one_customer_does_not_show_all_of_another(customer):
    subscriber = factories.a_subscriber(customer)
    Membership.objects.create(
        customer=factories.a_customer(), subscriber=subscriber, role=Role.OWNER
    )
    factories.a_credential(customer)

    assert sees(subscriber, customer) == set()


def test_who_has_left_the_customer_no_longer_sees_what_he_held(customer):
    leaver = factories.a_subscriber(customer)
    factories.a_credential(customer, holders=[leaver])

    leaver.memberships.all().delete()

    assert sees(leaver, customer) == set()


def test_whose_login_was_taken_away_holds_for_nobody(customer):
    subscriber = factories.a_subscriber(customer, Role.OWNER)
    factories.a_credential(customer, holders=[subscriber])
    user = subscriber.user

    subscriber.user = None
    subscriber.save()

    assert set(Credential.objects.visible_to(user)) == set()
