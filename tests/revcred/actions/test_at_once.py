"""Two people act on the same thing at the same moment: one after the other, and neither unseen."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from time import monotonic, sleep

import pytest
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import credentials, subscriptions
from revcred.actions.credentials import NewKey
from revcred.models import AuditEvent, Credential, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
STRING = "a-string-that-callers-send"


def while_open(first, second):
    """Do `second` while the transaction of `first` is still open, until it has to wait for that."""
    with ThreadPoolExecutor(1) as pool:
        with atomic():
            first()
            waiting = pool.submit(_elsewhere, second)
            _until_somebody_waits()
        return waiting.result()


def _elsewhere(act):
    try:
        return act()
    finally:
        connection.close()


def _until_somebody_waits():
    deadline = monotonic() + 5
    while monotonic() < deadline:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                " WHERE NOT l.granted AND a.datname = current_database()"
            )
            if cursor.fetchall():
                return
        sleep(0.01)
    pytest.fail("Nobody waits.")


def again(credential):
    """As another request would have read it before either began."""
    return Credential.objects.get(pk=credential.pk)


def test_two_rotations_leave_one_key_without_an_end():
    credential = factories.a_credential()
    other = again(credential)

    while_open(
        lambda: credentials.rotate_credential(credential=credential, overlap=DAY, by=None),
        lambda: credentials.rotate_credential(credential=other, overlap=DAY, by=None),
    )

    assert credential.keys.count() == 3
    assert credential.keys.filter(active_until=None).count() == 1


def test_a_rotation_that_waited_for_a_revocation_is_refused():
    credential = factories.a_credential()
    other = again(credential)

    with pytest.raises(credentials.CredentialRevoked):
        while_open(
            lambda: credentials.revoke_credential(credential=credential, reason="leaked", by=None),
            lambda: credentials.rotate_credential(credential=other, overlap=DAY, by=None),
        )

    assert credential.keys.count() == 1


def test_a_credential_is_revoked_once():
    credential = factories.a_credential()
    other = again(credential)

    with pytest.raises(credentials.CredentialRevoked):
        while_open(
            lambda: credentials.revoke_credential(credential=credential, reason="leaked", by=None),
            lambda: credentials.revoke_credential(credential=other, reason="unused", by=None),
        )

    assert again(credential).revocation_reason == "leaked"


def test_a_credential_is_suspended_once():
    credential = factories.a_credential()
    other = again(credential)

    while_open(
        lambda: credentials.suspend_credential(credential=credential, by=None),
        lambda: credentials.suspend_credential(credential=other, by=None),
    )

    assert credential.suspensions.count() == 1


def test_a_subscription_is_assigned_once():
    credential = factories.a_credential()
    subscription = factories.a_subscription(credential.customer)
    other = again(credential)

    with pytest.raises(credentials.AlreadyAssigned):
        while_open(
            lambda: credentials.assign_subscription(
                credential=credential, subscription=subscription, by=None
            ),
            lambda: credentials.assign_subscription(
                credential=other, subscription=subscription, by=None
            ),
        )


def test_a_key_is_given_to_one_credential():
    customer = factories.a_customer()
    new_key = NewKey(key=STRING)

    with pytest.raises(credentials.KeyInUse):
        while_open(
            lambda: credentials.issue_credential(
                customer=customer, name="One", new_key=new_key, by=None
            ),
            lambda: credentials.issue_credential(
                customer=customer, name="Two", new_key=new_key, by=None
            ),
        )

    assert Credential.objects.get().name == "One"


def test_a_button_pressed_twice_issues_once():
    customer = factories.a_customer()

    with pytest.raises(credentials.CredentialNameInUse):
        while_open(
            lambda: credentials.issue_credential(customer=customer, name="One", by=None),
            lambda: credentials.issue_credential(customer=customer, name="One", by=None),
        )


def test_an_ending_subscription_keeps_what_somebody_else_has_just_changed():
    subscription = factories.a_subscription()
    other = Subscription.objects.get(pk=subscription.pk)
    subscription.name = "Renamed"

    while_open(
        lambda: subscriptions.change_subscription(subscription=subscription, by=None),
        lambda: subscriptions.end_subscription(subscription=other, by=None),
    )

    kept = Subscription.objects.get(pk=subscription.pk)
    assert (kept.name, kept.is_active_at(timezone.now())) == ("Renamed", False)


def test_the_chain_of_the_audit_has_one_end():
    one, two = factories.a_credential(), factories.a_credential()

    while_open(
        lambda: credentials.suspend_credential(credential=one, by=None),
        lambda: credentials.suspend_credential(credential=two, by=None),
    )

    assert AuditEvent.objects.first_broken() is None


# --- What is committed when -----------------------------------------------------------------------


def test_a_reveal_is_committed_before_it_opens():
    key = factories.a_credential(key=STRING).keys.get()
    by = factories.a_user()

    with atomic(), pytest.raises(RuntimeError, match="durable"):
        credentials.reveal_key(key=key, field="value", by=by)

    assert credentials.reveal_key(key=key, field="value", by=by) == STRING
