"""Calls outside the window keep the moment they came with, until an admin chooses one."""

from datetime import timedelta
from random import Random

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import Call
from metering.inbox.intake import accept_calls
from metering.ledger import partitions, receipts
from metering.models import (
    Claim,
    Conflict,
    IntakeStats,
    PartialTransaction,
    Quarantined,
    Transaction,
    Usage,
)
from metering.pairing.completion import pair_due_partials
from metering.pairing.partial_transactions import PartialSide, accept_partial
from metering.quarantine import actions, reattribution
from metering.quarantine.actions import MomentChoice
from revcred.actions import credentials
from revcred.hooks import announce_change
from revcred.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-of-long-ago-0001"
RANDOM_CASES = 12


@pytest.fixture
def admin():
    return factories.a_user()


@pytest.fixture
def subscription():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, name="Maps")
    factories.a_credential(customer, KEY, subscriptions=[subscription])
    return subscription


def outside(ago, **fields):
    return factories.a_call(fields.pop("key", KEY), ago=ago, outside=True, **fields)


def choose(at, admin, transactions=None):
    count = actions.choose_moments(
        Quarantined.objects.all() if transactions is None else transactions, at=at, by=admin
    )
    reattribution.work_through_claims()
    return count


def test_it_waits_with_the_moment_it_said(subscription):
    gateway = factories.a_gateway()
    call = outside(timedelta(days=5 * 365), transaction_id="t")
    factories.settled(call, gateway=gateway)
    reattribution.work_through_claims()

    receipt = receipts.find_receipt(gateway, "t")
    assert (receipt.state, receipt.reason) == ("quarantined", "moment_outside")
    assert receipt.occurred_at == call.occurred_at
    assert not Usage.objects.exists()


def test_no_claim_touches_it(subscription, admin):
    factories.settled(outside(timedelta(days=40)))
    announce_change("all of it", by=admin)
    announce_change("its key", by=admin, credential=subscription.customer.credentials.get())
    reattribution.work_through_claims()

    assert Quarantined.objects.get().reason == "moment_outside"
    assert not Claim.objects.open().exists()


def test_at_its_arrival_what_it_said_stays_beside_it(subscription, admin):
    gateway = factories.a_gateway()
    call = outside(timedelta(days=5 * 365), transaction_id="t", metadata={"a": 1})
    factories.settled(call, gateway=gateway)
    reattribution.work_through_claims()

    assert choose(MomentChoice.ARRIVAL, admin) == 1

    row = Transaction.objects.get()
    assert row.occurred_at == row.received_at
    assert row.metadata["a"] == 1
    assert row.metadata["occurred_at_said"].startswith(f"{call.occurred_at:%Y-%m-%dT%H:%M:%S}")
    receipt = receipts.find_receipt(gateway, "t")
    assert (receipt.state, receipt.subscription) == ("attributed", subscription)
    assert [each.by for each in receipt.history][-1] == admin.email
    assert Usage.objects.get().hour.date() == timezone.now().date()
    event = AuditEvent.objects.get(verb="moments_chosen")
    assert (event.actor, event.details["transactions"]) == (admin.email, 1)


def test_at_the_moment_it_said_the_ledger_gets_the_day(subscription, admin):
    partitions.drop_partitions(before=(timezone.now() - timedelta(days=100)).date())
    call = outside(timedelta(days=200))
    factories.settled(call)
    assert call.occurred_at.date() not in partitions.partitioned_days()

    assert choose(MomentChoice.SAID, admin) == 1

    assert Transaction.objects.get().occurred_at == call.occurred_at
    assert Usage.objects.get().hour.date() == call.occurred_at.date()


def test_a_day_that_the_ledger_does_not_keep_cannot_be_counted_in(subscription, admin):
    factories.settled(outside(timedelta(days=5 * 365)), outside(timedelta(days=-3)))

    preview = actions.preview_moments(Quarantined.objects.all(), MomentChoice.SAID)

    assert (preview.shares, preview.beyond) == ([], 2)
    assert choose(MomentChoice.SAID, admin) == 0
    assert Quarantined.objects.filter(outside=True).count() == 2


def test_a_key_is_judged_by_the_moment_that_was_chosen(subscription, admin):
    credential = subscription.customer.credentials.get()
    credentials.revoke_credential(credential=credential, reason="lost", by=admin)
    factories.settled(outside(timedelta(days=40), transaction_id="then"))

    choose(MomentChoice.ARRIVAL, admin)

    assert Quarantined.objects.get().reason == "key_not_valid"
    assert not Transaction.objects.exists()


@pytest.mark.parametrize("seed", range(RANDOM_CASES))
def test_the_preview_is_what_then_happens(admin, seed):
    random = Random(seed)
    customer = factories.a_customer()
    keys = [f"a-key-of-the-preview-{seed}-{n}" for n in range(3)]
    for key in keys[:2]:
        active_from = timezone.now() - timedelta(days=random.choice([10, 100, 900]))
        subscription = factories.a_subscription(customer, active_from=active_from)
        factories.a_credential(customer, key, subscriptions=[subscription])
    days = [-300, -3, 40, 41, 90, 380, 500, 5_000]
    calls = [
        outside(timedelta(days=random.choice(days)), key=random.choice([*keys, None]))
        for _ in range(random.randint(1, 20))
    ]
    factories.settled(*calls)
    at = random.choice(list(MomentChoice))

    preview = actions.preview_moments(Quarantined.objects.all(), at)
    expected = {
        (each.subscription and each.subscription.pk, each.reason and str(each.reason)): each.calls
        for each in preview.shares
    }
    choose(at, admin)

    happened = {}
    for row in [*Transaction.objects.all(), *Quarantined.objects.filter(outside=False)]:
        reason = getattr(row, "reason", None)
        which = (None if reason else row.subscription_id, reason)
        happened[which] = happened.get(which, 0) + 1
    assert happened == expected
    assert Quarantined.objects.filter(outside=True).count() == preview.beyond
    assert sum(expected.values()) + preview.beyond == len(calls)


def test_it_is_the_same_when_it_is_sent_again_inside_the_window(subscription):
    gateway = factories.a_gateway()
    call = outside(timedelta(hours=-2), transaction_id="t")
    accept_calls(gateway, [call])
    process_waiting_deliveries()
    again = factories.a_call(KEY, transaction_id="t", occurred_at=call.occurred_at)
    accept_calls(gateway, [again])
    process_waiting_deliveries()

    assert not Conflict.objects.exists()
    assert Quarantined.objects.count() == 1


def test_its_other_part_leaves_it_in_quarantine(subscription, admin, settings):
    settings.PAIRING_TIMEOUT_SECONDS = 0
    gateway = factories.a_gateway()
    asked = outside(timedelta(days=40), transaction_id="t", method="GET")
    answered = Call(
        transaction_id="t",
        occurred_at=timezone.now(),
        undated=True,
        status=200,
        elements=asked.elements,
    )
    accept_partial(gateway, asked, PartialSide.REQUEST)
    while pair_due_partials():
        pass
    process_waiting_deliveries()
    accept_partial(gateway, answered, PartialSide.RESPONSE)
    while pair_due_partials():
        pass

    row = Quarantined.objects.get()
    assert (row.reason, row.outside, row.status) == ("moment_outside", True, 200)

    choose(MomentChoice.ARRIVAL, admin)
    accept_partial(
        gateway, Call(**{**_fields(answered), "response_bytes": 7}), PartialSide.RESPONSE
    )
    while pair_due_partials():
        pass
    standing = Transaction.objects.standing().get()
    assert (standing.response_bytes, standing.corrects is not None) == (7, True)


def _fields(call):
    return {name: getattr(call, name) for name in call.__struct_fields__}


# --- A key's last use, and a gateway's clock ------------------------------------------------------


def last_used(subscription):
    return subscription.customer.credentials.get().keys.get().last_used_at


def test_a_key_was_last_used_when_the_call_was_made_also_after_a_claim():
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    call = factories.a_call("a-key-that-comes-later", ago=timedelta(days=3))
    factories.settled(call)
    factories.a_credential(customer, "a-key-that-comes-later", subscriptions=[subscription])
    reattribution.work_through_claims()

    assert Transaction.objects.count() == 1
    assert last_used(subscription) == call.occurred_at


def arrives(gateway, call):
    a_credential_of(factories.a_customer())
    factories.settled(call, gateway=gateway)


def is_claimed(gateway, call):
    factories.settled(call, gateway=gateway)
    a_credential_of(factories.a_customer())
    reattribution.work_through_claims()


def is_taken_over(gateway, call):
    """The same string means another credential at this gateway."""
    a_credential_of(factories.a_customer())
    factories.settled(call, gateway=gateway)
    other = a_credential_of(factories.a_customer(), key="another-key-of-theirs")
    since = call.occurred_at - timedelta(days=1)
    credentials.add_alias(
        credential=other, alias=SAID_KEY, gateway=gateway, active_from=since, by=None
    )
    reattribution.work_through_claims()


def is_completed(gateway, call):
    """By its request, which says the key and comes too late to be waited for."""
    a_credential_of(factories.a_customer())
    fields = {"transaction_id": call.transaction_id, "occurred_at": call.occurred_at}
    accept_partial(gateway, factories.a_call(**fields, status=200), PartialSide.RESPONSE)
    PartialTransaction.objects.update(
        received_at=timezone.now() - timedelta(hours=3), next_look_at=Now()
    )
    pair_due_partials()
    process_waiting_deliveries()
    accept_partial(gateway, call, PartialSide.REQUEST)
    pair_due_partials()


def a_credential_of(customer, key="a-key-that-calls-say"):
    feeds = [factories.a_subscription(customer)]
    return factories.a_credential(customer, key, subscriptions=feeds)


SAID_KEY = "a-key-that-calls-say"


@pytest.mark.parametrize("way", [arrives, is_claimed, is_taken_over, is_completed])
def test_a_key_was_last_used_when_what_is_counted_under_it_was_made(way):
    call = factories.a_call(SAID_KEY, ago=timedelta(days=3))
    way(factories.a_gateway(), call)

    row = Transaction.objects.standing().get()
    assert row.external_key.last_used_at == call.occurred_at


@pytest.mark.parametrize("is_outside", [True, False])
def test_a_key_is_never_used_in_the_future(subscription, is_outside):
    call = factories.a_call(KEY, ago=timedelta(minutes=-50), outside=is_outside)
    factories.settled(call)

    assert last_used(subscription) is None or last_used(subscription) <= timezone.now()


def clock_after(*ages, undated=()):
    gateway = factories.a_gateway()
    calls = [factories.a_call(KEY, ago=age) for age in ages]
    calls += [factories.a_call(KEY, ago=age, undated=True) for age in undated]
    factories.settled(*calls, gateway=gateway)
    gateway.refresh_from_db()
    return gateway.clock_ahead


def test_the_clock_is_the_median_of_live_calls():
    minute = timedelta(minutes=1)
    backfilled = [timedelta(days=days) for days in range(2, 12)]

    ahead = clock_after(-2 * minute, -2 * minute, -2 * minute, 40 * minute, *backfilled)

    assert abs(ahead - 2 * minute) < timedelta(seconds=20)


def test_what_is_brought_later_says_nothing_of_the_clock():
    assert clock_after(timedelta(days=2), timedelta(hours=5), undated=[timedelta()]) is None


def test_what_is_brought_later_leaves_the_clock_as_it_was(subscription):
    gateway = factories.a_gateway()
    factories.settled(factories.a_call(KEY, ago=timedelta(seconds=-30)), gateway=gateway)
    gateway.refresh_from_db()
    before = gateway.clock_ahead
    gateway.last_seen_at -= timedelta(minutes=1)
    gateway.save()
    factories.settled(factories.a_call(KEY, ago=timedelta(days=1)), gateway=gateway)
    gateway.refresh_from_db()

    assert before > timedelta(seconds=25)
    assert gateway.clock_ahead == before


def test_rejections_and_conflicts_are_told_apart_in_the_hours_figures(subscription):
    gateway = factories.a_gateway()
    factories.settled(factories.a_call(KEY, transaction_id="t"), gateway=gateway)
    factories.settled(factories.a_call(KEY, transaction_id="t", status=500), gateway=gateway)

    assert IntakeStats.objects.get().conflicting == 1
