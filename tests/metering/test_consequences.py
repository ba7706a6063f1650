"""The calls that an action is predicted to move are those that it moves."""

from datetime import timedelta

import pytest
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from metering import consequences
from metering.models import Claim, Quarantined, QuarantineReason, Transaction, Usage
from metering.quarantine import reattribution
from revcred import hooks
from revcred.actions import credentials, subscriptions
from revcred.models import AuditEvent, PathRule, Source
from tests import factories
from tests.confirming import consequences_of
from tests.metering.attribution.test_processing import DAY, HOUR, no_differences

pytestmark = pytest.mark.django_db


KEY = "key-of-the-consequences"


@pytest.fixture
def customer():
    return factories.a_customer()


@pytest.fixture
def subscription(customer):
    return factories.a_subscription(customer)


@pytest.fixture
def credential(customer, subscription):
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


def said(found):
    return [(each.calls, str(each.before), str(each.after)) for each in found.movements]


def test_a_move_into_the_past_says_how_many_calls_go_from_where_to_where(
    customer, subscription, credential
):
    factories.settled(*[factories.a_call(KEY, ago=ago * DAY) for ago in (1, 2, 3, 5)])
    other = factories.a_subscription(customer)
    at = timezone.now() - 4 * DAY

    found = consequences_of(
        lambda: credentials.move_credential(
            credential=credential, subscription=subscription, to=other, by=None, at=at
        )
    )

    (moved,) = found.movements
    assert said(found) == [(3, f"“{subscription}” of {customer}", f"“{other}” of {customer}")]
    assert (moved.first, moved.last) == tuple(
        Transaction.objects.order_by(order).values_list("occurred_at", flat=True)[index]
        for order, index in (("occurred_at", 1), ("-occurred_at", 0))
    )
    assert (found.since, found.is_complete) == (at.replace(microsecond=0), True)


def test_nothing_of_a_trial_stays(customer, subscription, credential):
    factories.settled(factories.a_call(KEY, ago=DAY))
    events, open_claims = AuditEvent.objects.count(), Claim.objects.count()

    found = consequences_of(
        lambda: credentials.revoke_credential(credential=credential, reason="lost", by=None)
    )

    credential.refresh_from_db()
    assert found.movements == ()
    assert credential.revoked_at is None
    assert (AuditEvent.objects.count(), Claim.objects.count()) == (events, open_claims)


def test_calls_that_become_nobodys_or_somebodys_are_told_by_their_reason(
    customer, subscription, credential
):
    factories.settled(factories.a_call(KEY, ago=DAY), factories.a_call("another", ago=DAY))
    subscription.active_until = timezone.now() - 2 * DAY
    other = factories.a_credential(customer, subscriptions=[factories.a_subscription(customer)])

    ended = consequences_of(
        lambda: subscriptions.change_subscription(subscription=subscription, by=None)
    )
    claimed = consequences_of(
        lambda: credentials.add_alias(credential=other, alias="another", by=None)
    )

    assert [each.after.reason for each in ended.movements] == [
        QuarantineReason.NO_SUBSCRIPTION.label
    ]
    assert [each.before.reason for each in claimed.movements] == [
        QuarantineReason.UNKNOWN_KEY.label
    ]


def test_what_is_kept_is_worked_through_and_followed(customer, subscription, credential):
    factories.settled(factories.a_call(KEY, ago=DAY), factories.a_call(KEY, ago=DAY))
    Claim.objects.all().delete()
    other = factories.a_subscription(customer)

    tried = hooks.try_out(
        lambda: credentials.move_credential(
            credential=credential,
            subscription=subscription,
            to=other,
            by=None,
            at=timezone.now() - 2 * DAY,
        ),
        keep=lambda _, found: found.calls == 2,
    )

    claim = Claim.objects.get()
    assert tried.is_kept
    assert tried.progress_urls == (claim.get_absolute_url(),)
    assert claim.expected == 2
    assert AuditEvent.objects.first().verb == AuditEvent.Verb.MOVED
    reattribution.work_through_claims()
    assert Usage.objects.get(subscription=other, count__gt=0).count == 2


def test_a_refusal_is_the_actions_own(customer, subscription, credential):
    other = factories.a_subscription()

    with pytest.raises(credentials.SubscriptionOfOtherCustomer):
        consequences_of(
            lambda: credentials.assign_subscription(
                credential=credential, subscription=other, by=None
            )
        )


def test_an_incomplete_count_says_so(customer, subscription, credential, monkeypatch):
    factories.settled(factories.a_call(KEY, ago=DAY))
    monkeypatch.setattr(consequences, "COUNT_LIMIT_SECONDS", 0.0)
    subscription.active_until = timezone.now() - 2 * DAY

    found = consequences_of(
        lambda: subscriptions.change_subscription(subscription=subscription, by=None)
    )

    assert not found.is_complete
    assert found.moves_calls


def test_a_statement_is_stopped_at_the_limit_and_limits_stay_as_they_were():
    def limits():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
            )
            return cursor.fetchone()

    before = limits()
    with atomic(), pytest.raises(consequences._CountTookTooLong):
        consequences._run_until_deadline("SELECT pg_sleep(5)", consequences.monotonic() + 0.05, {})
    assert consequences._run_until_deadline("SELECT 1", consequences.monotonic() + 5, {}) == [(1,)]
    consequences_of(lambda: None)
    hooks.try_out(lambda: None, keep=lambda _, __: True)

    assert limits() == before


@pytest.mark.django_db(transaction=True)
def test_who_holds_the_same_thing_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(hooks, "TRIAL_LOCK_TIMEOUT_SECONDS", 1)
    credential = factories.a_credential()
    holding = connection.copy()
    holding.set_autocommit(False)
    with holding.cursor() as cursor:
        cursor.execute("SELECT FROM revcred_credential WHERE id = %s FOR UPDATE", [credential.pk])

    with pytest.raises(hooks.ConcurrentChange):
        consequences_of(lambda: credentials.suspend_credential(credential=credential, by=None))

    holding.rollback()
    holding.close()


@pytest.mark.django_db(transaction=True)
def test_the_audits_end_is_free_while_an_action_is_tried_out():
    credential, other = factories.a_credential(), factories.a_customer()
    elsewhere = connection.copy()
    elsewhere.set_autocommit(False)

    def act():
        credentials.suspend_credential(credential=credential, by=None)
        with elsewhere.cursor() as cursor:  # where the lock is held, it is not had
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [0x5EA1ED])
            return cursor.fetchone()[0]

    assert hooks.try_out(act, keep=lambda _, __: False).result is True
    elsewhere.rollback()
    assert hooks.try_out(lambda: _change(other), keep=lambda _, __: True).is_kept
    elsewhere.close()

    assert AuditEvent.objects.first().verb == AuditEvent.Verb.CHANGED
    assert AuditEvent.objects.first_broken() is None


def _change(customer):
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=customer, by=None)


# --- Sources and paths reach back -----------------------------------------------------------------


def a_choice(customer, *names):
    """Create a credential with a subscription to a product of each of these sources."""
    fed = []
    for name in names:
        source, _ = Source.objects.get_or_create(name=name, defaults={"external_key": name})
        subscription = factories.a_subscription(customer)
        subscription.product.sources.add(source)
        fed.append(subscription)
    factories.a_credential(customer, KEY, subscriptions=fed)
    return fed


def moves(action):
    """Do the action, work through its claims, and return what it was predicted to move."""
    tried = hooks.try_out(action, keep=lambda _, __: True)
    reattribution.work_through_claims()
    assert no_differences()
    return said(tried.consequences)


def standing():
    rows = Transaction.objects.standing().order_by("occurred_at")
    return list(rows.values_list("subscription", flat=True))


def test_the_sources_of_a_product_reach_back(customer):
    maps, tiles = a_choice(customer, "maps", "tiles")
    factories.settled(factories.a_call(KEY, source_named="maps", ago=DAY))
    assert standing() == [maps.pk]

    def exchange():
        one, other = maps.product.sources.get(), tiles.product.sources.get()
        maps.product.sources.set([other])
        tiles.product.sources.set([one])
        for product in (maps.product, tiles.product):
            subscriptions.announce_sources_changed(product=product, by=None)

    assert moves(exchange) == [
        (1, f"“{maps}” of {customer}", f"“{tiles}” of {customer}"),
    ]
    assert standing() == [tiles.pk]


def test_path_rules_reach_back_and_take_from_others(customer):
    maps, tiles = a_choice(customer, "maps", "tiles")
    Source.objects.get(name="maps").path_rules.create(text="/v1/")
    factories.settled(factories.a_call(KEY, path="/v1/tiles/7", ago=HOUR))
    assert standing() == [maps.pk]
    source = Source.objects.get(name="tiles")

    def add():
        source.path_rules.create(text="/v1/tiles/")
        subscriptions.announce_paths_changed(source=source, by=None)

    def remove():
        PathRule.objects.filter(source=source).delete()
        subscriptions.announce_paths_changed(source=source, by=None)

    there = (1, f"“{maps}” of {customer}", f"“{tiles}” of {customer}")
    assert moves(add) == [there]
    assert moves(remove) == [(1, there[2], there[1])]


def test_deleting_a_source_says_what_becomes_of_its_calls(customer):
    maps, tiles = a_choice(customer, "maps", "tiles")
    extra = Source.objects.create(name="extra", external_key="extra")
    maps.product.sources.add(extra)
    factories.settled(
        factories.a_call(KEY, source_named="extra", ago=HOUR),
        factories.a_call(KEY, source_named="tiles", ago=HOUR),
    )

    found = moves(lambda: subscriptions.delete_source(source=extra, by=None))

    assert found == [
        (1, f"“{maps}” of {customer}", f"quarantine ({QuarantineReason.NO_SUBSCRIPTION.label})")
    ]
    assert Quarantined.objects.get().source_named == "extra"
    assert standing() == [tiles.pk]


@pytest.mark.parametrize("opens", [True, False])
def test_a_product_that_loses_its_last_source_is_judged_too(customer, opens):
    a_choice(customer, "maps")
    factories.settled(factories.a_call(KEY, source_named="tiles", ago=timedelta(hours=2)))
    assert standing() == []

    before = consequences_of(
        lambda: subscriptions.delete_source(source=Source.objects.get(), by=None, opens=opens)
    )
    moved = moves(
        lambda: subscriptions.delete_source(source=Source.objects.get(), by=None, opens=opens)
    )

    assert said(before) == moved
    assert len(standing()) == len(moved) == opens
