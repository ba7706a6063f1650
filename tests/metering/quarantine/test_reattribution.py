import time
from threading import Thread
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import dedup_key_of_id
from metering.inbox.intake import accept_calls
from metering.models import Claim, Quarantined, QuarantineReason, Transaction, Usage
from metering.quarantine import actions, reattribution
from revcred.actions import credentials, subscriptions
from revcred.actions.credentials import NewKey
from revcred.models import AuditEvent, Source, Subscription
from tests import factories
from tests.metering.attribution.test_processing import DAY, HOUR, no_differences

pytestmark = pytest.mark.django_db

KEY = "the-key-nobody-knows-yet"


@pytest.fixture
def customer():
    return factories.a_customer()


@pytest.fixture
def subscription(customer):
    return factories.a_subscription(customer)


def issue(customer, *fed, **fields):
    return credentials.issue_credential(
        customer=customer,
        name=f"for {KEY}",
        by=None,
        new_key=NewKey(key=KEY),
        subscriptions=fed,
        **fields,
    )


def reasons():
    return list(Quarantined.objects.order_by("occurred_at").values_list("reason", flat=True))


def usage():
    rows = Usage.objects.exclude(count=0, quantity=0).order_by("subscription_id")
    return [(row.subscription_id, row.count) for row in rows.all()]


def test_a_credential_that_is_issued_claims_what_waits_under_its_key(customer, subscription):
    factories.settled(factories.a_call(KEY, ago=DAY), factories.a_call(KEY))

    issue(customer, subscription)
    reattribution.work_through_claims()

    assert reasons() == []
    assert [row.subscription for row in Transaction.objects.all()] == [subscription] * 2
    claimed = Transaction.objects.first()
    assert claimed.quarantine_reason == QuarantineReason.UNKNOWN_KEY
    assert claimed.claim.attributed == 2
    assert no_differences()


def test_an_alias_claims_too(customer, subscription):
    factories.settled(factories.a_call(KEY))
    credential = factories.a_credential(customer, subscriptions=[subscription])

    credentials.add_alias(credential=credential, alias=KEY, by=None)
    reattribution.work_through_claims()

    assert [row.matched_by for row in Transaction.objects.all()] == ["alias"]


def test_what_is_from_before_the_key_stays(customer, subscription):
    factories.settled(factories.a_call(KEY, ago=3 * DAY), factories.a_call(KEY))

    credentials.issue_credential(
        customer=customer,
        name="later",
        by=None,
        new_key=NewKey(key=KEY, active_from=timezone.now() - DAY),
        subscriptions=[subscription],
    )
    reattribution.work_through_claims()

    assert reasons() == [QuarantineReason.KEY_NOT_VALID]
    assert Transaction.objects.count() == 1


def test_an_assignment_claims_what_had_no_subscription(customer, subscription):
    credential = issue(customer)
    factories.settled(factories.a_call(KEY))
    assert reasons() == [QuarantineReason.NO_SUBSCRIPTION]

    at = timezone.now() - HOUR
    credentials.assign_subscription(
        credential=credential, subscription=subscription, by=None, at=at
    )
    reattribution.work_through_claims()

    assert reasons() == []


def test_a_subscription_that_starts_earlier_claims(customer):
    late = factories.a_subscription(customer, active_from=timezone.now() - HOUR)
    issue(customer, late)
    factories.settled(factories.a_call(KEY, ago=DAY))
    assert reasons() == [QuarantineReason.NO_SUBSCRIPTION]

    late.active_from = timezone.now() - 2 * DAY
    subscriptions.change_subscription(subscription=late, by=None)
    reattribution.work_through_claims()

    assert reasons() == []


def test_a_new_subscription_claims_what_named_it():
    factories.settled(factories.a_call(subscription_named="acme-maps"))
    assert reasons() == [QuarantineReason.NO_SUBSCRIPTION]

    new = Subscription(
        customer=factories.a_customer(),
        product=factories.a_product(),
        external_key="acme-maps",
        active_from=timezone.now() - DAY,
    )
    subscriptions.start_subscription(subscription=new, by=None)
    reattribution.work_through_claims()

    assert Transaction.objects.get().matched_by == "subscription"


def test_ambiguous_calls_are_attributed_once_an_admin_unassigns_one(customer, subscription):
    other = factories.a_subscription(customer)
    credential = issue(customer, subscription, other)
    factories.settled(factories.a_call(KEY))
    assert reasons() == [QuarantineReason.AMBIGUOUS]

    at = credential.assignments.first().active_from
    credentials.unassign_subscription(credential=credential, subscription=other, by=None, at=at)
    reattribution.work_through_claims()

    assert usage() == [(subscription.pk, 1)]


def test_what_was_ambiguous_follows_the_sources_of_a_product(customer, subscription):
    other = factories.a_subscription(customer)
    issue(customer, subscription, other)
    factories.settled(factories.a_call(KEY, source_named="maps"))

    other.product.sources.add(Source.objects.create(name="Tiles", external_key="tiles"))
    subscriptions.announce_sources_changed(product=other.product, by=None)
    reattribution.work_through_claims()

    assert usage() == [(subscription.pk, 1)]


def test_a_claim_continues_where_it_was_interrupted(customer, subscription, monkeypatch):
    monkeypatch.setattr(reattribution, "MAX_TRANSACTIONS_PER_CLAIM_STEP", 2)
    factories.settled(*[factories.a_call(KEY) for _ in range(5)])
    issue(customer, subscription)

    reattribution._judge_step(Claim.objects.get().pk)
    assert Quarantined.objects.count() == 3
    reattribution.work_through_claims()

    assert Transaction.objects.count() == 5
    claim = Claim.objects.get()
    assert (claim.looked_at, claim.attributed) == (5, 5)
    assert claim.finished_at is not None


def test_a_reason_that_changes_is_told(customer):
    factories.settled(factories.a_call(KEY))

    issue(customer)
    reattribution.work_through_claims()

    assert reasons() == [QuarantineReason.NO_SUBSCRIPTION]


# --- Corrections --------------------------------------------------------------------------------


def test_a_move_into_the_past_is_a_visible_correction(customer, subscription):
    credential = issue(customer, subscription)
    factories.settled(factories.a_call(KEY, ago=3 * DAY), factories.a_call(KEY, ago=DAY))
    other = factories.a_subscription(customer)

    at = timezone.now() - 2 * DAY
    credentials.move_credential(
        credential=credential, subscription=subscription, to=other, by=None, at=at
    )
    reattribution.work_through_claims()

    assert usage() == [(subscription.pk, 1), (other.pk, 1)]
    rows = Transaction.objects.filter(occurred_at__gt=at).order_by("pk")
    original, *correction = rows
    assert sorted((row.sign, row.subscription_id, row.corrects) for row in correction) == [
        (-1, subscription.pk, original.pk),
        (1, other.pk, original.pk),
    ]
    assert [row.subscription_id for row in rows.standing()] == [other.pk]
    assert no_differences()


def test_a_correction_can_be_corrected_again(customer, subscription):
    credential = issue(customer, subscription)
    factories.settled(factories.a_call(KEY, ago=DAY))
    other = factories.a_subscription(customer)
    at = timezone.now() - 2 * DAY

    credentials.move_credential(
        credential=credential, subscription=subscription, to=other, by=None, at=at
    )
    reattribution.work_through_claims()
    credentials.move_credential(
        credential=credential, subscription=other, to=subscription, by=None, at=at
    )
    reattribution.work_through_claims()

    assert usage() == [(subscription.pk, 1)]
    assert Transaction.objects.standing().get().subscription == subscription
    assert Transaction.objects.count() == 5
    assert no_differences()


def test_calls_that_lose_their_owner_go_to_quarantine_and_come_back(customer, subscription):
    issue(customer, subscription)
    factories.settled(factories.a_call(KEY, ago=DAY))

    subscription.active_until = timezone.now() - 2 * DAY
    subscriptions.change_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()
    assert usage() == []
    assert reasons() == [QuarantineReason.NO_SUBSCRIPTION]

    subscription.active_until = None
    subscriptions.change_subscription(subscription=subscription, by=None)
    reattribution.work_through_claims()
    assert usage() == [(subscription.pk, 1)]
    assert reasons() == []
    assert no_differences()


# --- Release ------------------------------------------------------------------------------------


def test_what_is_released_is_still_claimed(customer, subscription):
    admin = factories.a_user()
    factories.settled(factories.a_call(KEY))

    assert actions.mark_reviewed(Quarantined.objects.all(), by=admin, note="a scanner") == 1
    released = Quarantined.objects.get()
    assert (released.released_by, released.release_note) == (admin.email, "a scanner")
    assert AuditEvent.objects.first().verb == AuditEvent.Verb.RELEASED

    issue(customer, subscription)
    reattribution.work_through_claims()
    assert Transaction.objects.count() == 1


def test_what_was_released_can_be_put_back():
    admin = factories.a_user()
    factories.settled(factories.a_call(KEY))
    actions.mark_reviewed(Quarantined.objects.all(), by=admin, note="a mistake")

    assert actions.put_back_transactions(Quarantined.objects.all(), by=admin) == 1
    assert Quarantined.objects.get().released_at is None


# --- Races --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_attribution_that_began_before_the_change_is_waited_for():
    """It judges by what it saw at its beginning. The claim waits for it, and finds what it left."""
    customer = factories.a_customer()
    subscription = factories.a_subscription(customer)
    gateway, call = factories.a_gateway(), factories.a_call(KEY)
    accept_calls(gateway, [call])
    holding = connection.copy()
    holding.set_autocommit(False)
    with holding.cursor() as cursor:  # the settlement will wait for this to be decided
        cursor.execute(
            "INSERT INTO metering_seentransaction VALUES (%s, %s, %s, now(), now())",
            [dedup_key_of_id(gateway.pk, call.transaction_id), uuid4(), uuid4()],
        )

    settling = in_thread(process_waiting_deliveries)
    wait_until(lambda: blocked_by(holding))
    issue(customer, subscription)
    claiming = in_thread(reattribution.work_through_claims)
    claiming.join(timeout=0.3)
    assert claiming.is_alive()
    holding.rollback()
    settling.join(timeout=10)
    claiming.join(timeout=10)
    holding.close()

    claimed = Transaction.objects.get()
    assert claimed.quarantine_reason == QuarantineReason.UNKNOWN_KEY
    assert not Quarantined.objects.exists()


def in_thread(step):
    def run():
        step()
        connection.close()

    thread = Thread(target=run)
    thread.start()
    return thread


def blocked_by(other):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            [other.connection.info.backend_pid],
        )
        return cursor.fetchone()[0]


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
