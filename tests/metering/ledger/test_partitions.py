from datetime import UTC, date, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from metering.inbox.intake import accept_calls
from metering.ledger import partitions
from metering.management.commands.clock import (
    RETENTION_STEPS,
    do_chores,
    forget_old_transactions,
    run_step_safely,
    sweep_waiting_work,
)
from metering.models import Delivery, SeenTransaction, Usage
from tests import factories

pytestmark = pytest.mark.django_db


def today():
    return datetime.now(UTC).date()


def test_every_day_a_transaction_may_fall_on_has_its_partition():
    days = set(partitions.partitioned_days())

    assert {today() + timedelta(days=n) for n in range(-32, 8)} <= days


def test_partitions_are_created_ahead_once():
    later = today() + timedelta(days=3)

    assert partitions.ensure_partitions(later) == 3
    assert partitions.ensure_partitions(later) == 0


@pytest.mark.django_db(transaction=True)
def test_days_past_retention_are_dropped():
    old = date(2020, 1, 31)
    partitions.ensure_partitions(old)

    dropped = partitions.drop_partitions(before=date(2020, 2, 8))

    assert dropped == 40
    assert min(partitions.partitioned_days()) > date(2020, 2, 8)


def test_retention_keeps_whole_days(settings):
    settings.LEDGER_DAYS = 3
    late = datetime(2026, 1, 10, 23, 59, tzinfo=UTC)

    assert partitions.first_kept_day(late) == date(2026, 1, 7)
    in_the_east = late.astimezone(timezone.get_fixed_timezone(120))
    assert partitions.first_kept_day(in_the_east) == date(2026, 1, 7)


def test_all_days_that_the_ledger_keeps_are_verified(settings):
    settings.LEDGER_DAYS = 3
    partitions.ensure_partitions()
    customer = factories.a_customer()
    factories.a_credential(
        customer, "the-key-of-old-calls", subscriptions=[factories.a_subscription(customer)]
    )
    factories.settled(factories.a_call("the-key-of-old-calls", ago=timedelta(days=3)))
    Usage.objects.update(count=7)

    with pytest.raises(CommandError, match="differences"):
        call_command("verify_usage", stdout=StringIO())


def test_what_is_too_old_to_be_accepted_is_forgotten():
    factories.settled(factories.a_call(), factories.a_call())

    forget_old_transactions(before=timezone.now() - timedelta(days=1))
    assert SeenTransaction.objects.count() == 2
    forget_old_transactions(before=timezone.now() + timedelta(days=1))
    assert SeenTransaction.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_the_chores_can_be_done():
    do_chores()
    assert all(run_step_safely(step) for step in RETENTION_STEPS)


def test_the_clock_sweeps_what_no_bell_announced():
    accept_calls(factories.a_gateway(), [factories.a_call()])
    sweep_waiting_work()
    assert Delivery.objects.exists()  # a bell still has a second

    Delivery.objects.update(next_try_at=timezone.now() - timedelta(seconds=2))
    sweep_waiting_work()
    assert not Delivery.objects.exists()


def test_the_ledger_is_only_ever_added_to():
    customer = factories.a_customer()
    factories.a_credential(
        customer, "a-key-for-the-ledger", subscriptions=[factories.a_subscription(customer)]
    )
    factories.settled(factories.a_call("a-key-for-the-ledger"))

    with pytest.raises(Exception, match="is only ever added to"), connection.cursor() as cursor:
        cursor.execute("UPDATE metering_transaction SET path = 'x'")


def test_ids_follow_the_time():
    factories.settled(*[factories.a_call() for _ in range(3)])
    with connection.cursor() as cursor:
        cursor.execute("SELECT time_ordered_id(), pg_sleep(0.002), time_ordered_id()")
        earlier, _, later = cursor.fetchone()

    assert earlier < later
    assert (earlier.version, later.version) == (7, 7)
