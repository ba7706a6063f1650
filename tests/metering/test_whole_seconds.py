"""A call logged in whole seconds belongs to what begins in its second, through real actions."""

from datetime import timedelta
from unittest.mock import patch

import pytest
from django.utils import timezone

from metering.models import Claim, Quarantined, Transaction, Usage
from metering.quarantine import reattribution
from revcred.actions import credentials, subscriptions
from revcred.models import Subscription
from tests import factories

pytestmark = pytest.mark.django_db

OLD, NEW = "the-old-key-of-the-second", "the-new-key-of-the-second"
THEN = timezone.now().replace(microsecond=0) - timedelta(hours=1)
IN_IT = THEN + timedelta(milliseconds=400)


@pytest.fixture
def credential():
    customer = factories.a_customer()
    return factories.a_credential(
        customer, OLD, subscriptions=[factories.a_subscription(customer, external_key="maps")]
    )


@pytest.fixture(params=["before", "after"])
def charged(request):
    """Return the subscription a call is charged to, whether it comes before or after the action."""

    def judge(action, *calls):
        if request.param == "before":
            factories.settled(*calls)
        with patch("django.utils.timezone.now", lambda: IN_IT):
            action()
        if request.param == "after":
            factories.settled(*calls)
        while Claim.objects.open().exists():
            reattribution.work_through_claims()
        waiting = {row.transaction_id: row.reason for row in Quarantined.objects.all()}
        charged = {
            row.transaction_id: row.subscription.external_key
            for row in Transaction.objects.standing().select_related("subscription")
        }
        return [(waiting | charged)[call.transaction_id] for call in calls]

    return judge


def at(moment, key=OLD, **fields):
    return factories.a_call(key, occurred_at=moment, **fields)


def test_a_rotation_without_overlap_counts_both_keys_in_its_second(credential, charged):
    def rotate():
        credentials.rotate_credential(credential=credential, overlap=timedelta(), key=NEW, by=None)

    calls = (at(THEN), at(THEN, NEW), at(IN_IT, NEW), at(IN_IT))
    assert charged(rotate, *calls) == ["maps", "maps", "maps", "key_not_valid"]


def test_a_move_takes_the_second_it_happens_in(credential, charged):
    maps = Subscription.objects.get()
    to = factories.a_subscription(credential.customer, external_key="routes")

    def move():
        credentials.move_credential(credential=credential, subscription=maps, to=to, by=None)

    before = THEN - timedelta(seconds=1)
    found = charged(move, at(before), at(THEN), at(THEN + timedelta(milliseconds=100)), at(IN_IT))
    assert found == ["maps", "routes", "maps", "routes"]


def test_a_resumption_counts_the_second_it_happens_in(credential, charged):
    with patch("django.utils.timezone.now", lambda: THEN - timedelta(minutes=1)):
        credentials.suspend_credential(credential=credential, by=None)

    def resume():
        credentials.resume_credential(credential=credential, by=None)

    found = charged(resume, at(THEN), at(THEN - timedelta(seconds=1)))
    assert found == ["maps", "key_not_valid"]


def test_a_suspension_leaves_the_second_it_happens_in(credential, charged):
    def suspend():
        credentials.suspend_credential(credential=credential, by=None)

    found = charged(suspend, at(THEN), at(THEN + timedelta(seconds=1)), at(IN_IT))
    assert found == ["maps", "key_not_valid", "key_not_valid"]


def test_a_subscription_counts_the_second_it_begins_in(credential, charged):
    def begin():
        subscription = Subscription(
            customer=credential.customer,
            product=factories.a_product(),
            external_key="routes",
            active_from=IN_IT,
        )
        subscriptions.start_subscription(subscription=subscription, by=None)

    named = {"key": None, "subscription_named": "routes"}
    found = charged(begin, at(THEN, **named), at(THEN - timedelta(seconds=1), **named))
    assert found == ["routes", "no_subscription"]


def test_an_assignment_counts_the_second_it_begins_in(charged):
    customer = factories.a_customer()
    credential = factories.a_credential(customer, OLD)
    maps = factories.a_subscription(customer, external_key="maps")

    def assign():
        credentials.assign_subscription(credential=credential, subscription=maps, by=None)

    assert charged(assign, at(THEN), at(THEN - timedelta(seconds=1))) == ["maps", "no_subscription"]


def test_usage_and_ledger_keep_the_moment_that_was_said(credential):
    hour = THEN.replace(minute=0, second=0)
    last = hour + timedelta(minutes=59, seconds=59)
    factories.settled(at(last - timedelta(hours=1)))

    assert Transaction.objects.get().occurred_at == last - timedelta(hours=1)
    assert Usage.objects.get().hour == hour - timedelta(hours=1)
