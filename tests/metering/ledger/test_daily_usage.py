from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from metering.ledger import daily_usage
from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.models import DailyUsage, StaleUsageDay
from metering.quarantine import reattribution
from revcred.actions import credentials
from tests import factories

KEY, OTHER_KEY = "a-key-of-one-credential", "a-key-of-another-one"


@pytest.fixture
def maps(db):
    return factories.a_subscription()


@pytest.fixture
def credential(maps):
    return factories.a_credential(maps.customer, key=KEY, subscriptions=[maps])


def noon(days_ago):
    """Noon in UTC, so that a few hours more or less are on the same day."""
    day = timezone.now().astimezone(UTC).date() - timedelta(days=days_ago)
    return datetime.combine(day, time(12), UTC)


def counted(*days_ago, key=KEY, **fields):
    factories.settled(*(factories.a_call(key, occurred_at=noon(n), **fields) for n in days_ago))


def summed_up():
    daily_usage.sum_up_days(timezone.now())
    daily_usage.sum_up_stale_days()


def used(subscription, days=10, step="day", **options):
    """Calls by start, as a page reads them."""
    scope = LedgerScope(
        customers=[subscription.customer_id], credentials=[], subscriptions=[subscription.pk]
    )
    usage = ScopedUsage(
        scope,
        start=noon(days).replace(hour=0),
        end=noon(-1).replace(hour=0),
        step=step,
        **options,
    )
    rows = usage.over_time("credential", element="calls", told_apart=[])
    found = {}
    for start, _, amount in rows:
        found[start] = found.get(start, 0) + amount
    return found


def calls_by_days_ago(subscription, **options):
    today = noon(0).date()
    return {
        (today - start.date()).days: int(amount)
        for start, amount in used(subscription, **options).items()
    }


def test_days_say_the_same_summed_up_or_not(maps, credential):
    counted(5, 5, 3, 2, 1, 0)
    before = used(maps)

    summed_up()

    assert used(maps) == before
    assert {(noon(0).date() - row.day).days for row in DailyUsage.objects.all()} >= {5, 3, 2}
    assert not DailyUsage.objects.filter(day=noon(0).date()).exists()


def test_what_comes_late_is_read_at_once_and_summed_up_again(maps, credential):
    counted(5, 3)
    summed_up()
    counted(5, 4, elements={"calls": 1, "tokens": 7})

    # Read from the hours, while the sums say something else.
    assert DailyUsage.objects.get(day=noon(5).date()).quantity == 1
    assert calls_by_days_ago(maps) == {5: 2, 4: 1, 3: 1}
    summed_up()

    assert not StaleUsageDay.objects.exists()
    assert calls_by_days_ago(maps) == {5: 2, 4: 1, 3: 1}
    assert DailyUsage.objects.get(day=noon(5).date(), element="tokens").quantity == 7
    assert daily_usage.daily_differences() == []


def test_a_correction_moves_the_sums(maps, credential):
    tiles = factories.a_subscription(maps.customer)
    counted(5, 3)
    summed_up()
    credentials.move_credential(
        credential=credential, subscription=maps, to=tiles, by=None, at=noon(4)
    )
    reattribution.work_through_claims()

    for _ in range(2):  # noted, and summed up again
        assert calls_by_days_ago(maps).get(3, 0) == 0
        assert (calls_by_days_ago(maps)[5], calls_by_days_ago(tiles)) == (1, {3: 1})
        summed_up()
    assert daily_usage.daily_differences() == []


def test_calls_of_today_note_nothing(maps, credential):
    counted(0, 0)

    assert not StaleUsageDay.objects.exists()


def test_a_day_is_summed_up_an_hour_after_its_end(maps, credential):
    counted(2)
    day = noon(2).date()
    midnight = datetime.combine(day + timedelta(days=1), time(), UTC)

    for minutes, expected in ((59, False), (60, True)):
        daily_usage.sum_up_days(midnight + timedelta(minutes=minutes))
        assert DailyUsage.objects.filter(day=day).exists() is expected


def test_a_scope_holds_what_is_in_it(maps, credential):
    other = factories.a_credential(maps.customer, key=OTHER_KEY, subscriptions=[maps])
    counted(3, 0)
    counted(3, 3, 0, key=OTHER_KEY)
    summed_up()
    counted(3, key=OTHER_KEY)
    start, end = noon(9).replace(hour=0), noon(-1).replace(hour=0)

    def total(customers=(), held=(), subscriptions=(maps.pk,), **options):
        scope = LedgerScope(
            customers=customers, credentials=held, subscriptions=list(subscriptions)
        )
        usage = ScopedUsage(scope, start=start, end=end, **options)
        return sum(
            (amount for _, _, amount in usage.by_subscription_and_start("calls")), Decimal(0)
        )

    assert total([maps.customer_id]) == 6
    assert total(held=[other.pk]) == 4
    assert total([maps.customer_id], credential=credential.pk) == 2
    assert total([maps.customer_id], subscriptions=[]) == 0
    assert total() == 0


def test_months_add_up(maps, credential):
    counted(20, 9, 1, 0)
    summed_up()

    months = used(maps, days=70, step="month")

    assert sum(months.values()) == 4
    assert all(start.day == 1 for start in months)


def test_verify_usage_finds_sums_that_are_wrong(maps, credential):
    counted(3)
    summed_up()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_dailyusage SET quantity = quantity + 1")

    with pytest.raises(CommandError, match="1 differences"):
        call_command("verify_usage")
