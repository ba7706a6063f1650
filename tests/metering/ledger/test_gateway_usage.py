from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from psycopg import sql

from metering.ledger import gateway_usage
from metering.ledger.gateway_days import gateway_differences
from metering.ledger.gateway_usage import TooMuchUsage, sum_by_gateway
from metering.ledger.scope import LedgerScope
from metering.management.commands.clock import sum_up_usage
from metering.models import DailyGatewayUsage, StaleUsageDay, Transaction
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


def midnight(days_ago):
    day = timezone.now().astimezone(UTC).date() - timedelta(days=days_ago)
    return datetime.combine(day, time(), UTC)


def sums(subscription, step="day", **options):
    scope = LedgerScope(
        customers=[subscription.customer_id], credentials=[], subscriptions=[subscription.pk]
    )
    return sorted(sum_by_gateway(scope, start=midnight(3), end=midnight(-1), step=step, **options))


def test_usage_is_told_by_gateway_and_element(maps, credential):
    east, west = factories.a_gateway("east"), factories.a_gateway("west")
    noon = midnight(1) + timedelta(hours=12)
    elements = {"calls": 1, "tiles": Decimal("2.5")}
    factories.settled(
        *(factories.a_call(KEY, occurred_at=noon, elements=elements) for _ in range(2)),
        gateway=east,
    )
    factories.settled(factories.a_call(KEY, occurred_at=noon), gateway=west)

    assert sums(maps) == [
        (midnight(1), east.pk, "calls", 2),
        (midnight(1), east.pk, "tiles", 5),
        (midnight(1), west.pk, "calls", 1),
    ]
    assert sums(maps, step="hour")[0][0] == noon
    assert sums(maps, step="month")[0][0] == midnight(1).replace(day=1)


def test_one_credential_is_told_alone(maps, credential):
    other = factories.a_credential(maps.customer, key=OTHER_KEY, subscriptions=[maps])
    factories.settled(factories.a_call(KEY), factories.a_call(KEY), factories.a_call(OTHER_KEY))

    [(*_, amount)] = sums(maps, credential=other.pk)

    assert amount == 1


def test_what_was_taken_back_is_in_no_sum(maps, credential):
    other = factories.a_subscription(maps.customer)
    factories.settled(factories.a_call(KEY))
    credentials.move_credential(
        credential=credential, subscription=maps, to=other, by=None, at=midnight(2)
    )
    reattribution.work_through_claims()

    assert [amount for *_, amount in sums(maps) if amount] == []


def test_sums_that_take_too_long_are_given_up(maps, credential, monkeypatch):
    factories.settled(factories.a_call(KEY))
    assert Transaction.objects.exists()
    monkeypatch.setattr(gateway_usage, "SUM_LIMIT_MILLISECONDS", 1)
    slow = sql.SQL("SELECT pg_sleep(1) FROM metering_transaction t WHERE {conditions}")
    monkeypatch.setattr(gateway_usage, "_statement", lambda _, c: slow.format(conditions=c))

    with pytest.raises(TooMuchUsage):
        sums(maps)


def test_days_say_the_same_summed_up_stale_and_summed_up_again(maps, credential):
    east, west = factories.a_gateway("east"), factories.a_gateway("west")

    def count(days_ago, gateway):
        noon = midnight(days_ago) + timedelta(hours=12)
        elements = {"calls": 1, "tiles": Decimal("2.5")}
        call = factories.a_call(KEY, occurred_at=noon, elements=elements)
        factories.settled(call, gateway=gateway)

    def total():
        return sum(amount for _, _, element, amount in sums(maps) if element == "calls")

    for days_ago, gateway in ((3, east), (2, east), (2, west), (0, east)):
        count(days_ago, gateway)
    before = sums(maps)
    sum_up_usage()

    assert sums(maps) == before
    count(2, east)
    assert total() == 5  # the stale day is read from the ledger
    late = sums(maps)
    sum_up_usage()
    assert sums(maps) == late
    assert gateway_differences(midnight(9).date()) == []
    call_command("verify_usage")


def test_sums_outlive_the_ledger_of_their_day(maps, credential, settings):
    factories.settled(factories.a_call(KEY, occurred_at=midnight(2) + timedelta(hours=12)))
    sum_up_usage()
    settings.LEDGER_DAYS = 1
    StaleUsageDay.objects.create(subscription=maps, day=midnight(2).date())
    sum_up_usage()

    [(day, *_, amount)] = sums(maps)

    assert (day, amount) == (midnight(2), 1)


def test_verify_usage_finds_sums_by_gateway_that_are_wrong(maps, credential):
    factories.settled(factories.a_call(KEY, occurred_at=midnight(2) + timedelta(hours=12)))
    sum_up_usage()
    DailyGatewayUsage.objects.update(quantity=7)

    with pytest.raises(CommandError, match="1 differences"):
        call_command("verify_usage")
