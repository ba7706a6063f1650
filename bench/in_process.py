"""What the benchmark asks the application's own code. Runs inside `manage.py shell`.

Each function prints one line of JSON.
"""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.utils import timezone

from bench.stack import say
from metering.inbox.calls import dedup_key_of_id
from metering.ledger import daily_usage, gateway_days, partitions
from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.management.commands.clock import forget_old_transactions
from metering.models import Quarantined, SeenTransaction, Transaction, Usage
from metering.models.functions import first_id_at
from storefront.figures import ChartChoice, UsageByOwner, build_usage_chart
from storefront.windows import DateRange, Step

YEAR = 365
TIMES = 5


def remember(most: int) -> None:
    """Some transactions of the month that was written get the dedup_key their ids really have."""
    past = Transaction.objects.filter(pk__lt=first_id_at(timezone.now() - timedelta(days=2)))
    some = list(past.order_by("-pk")[:most])
    SeenTransaction.objects.bulk_create(
        SeenTransaction(
            dedup_key=UUID(dedup_key_of_id(each.gateway_id, each.transaction_id)),
            transaction=each.pk,
            content_hash=each.pk,
            occurred_at=each.occurred_at,
            received_at=each.received_at,
        )
        for each in some
    )
    say(json.dumps([each.transaction_id for each in some]))


def year(subscription: int) -> None:
    """The figures of a subscription's year, day by day: seconds of each time, and rows of usage."""
    now = timezone.now()
    window = DateRange.between(now.date() - timedelta(days=YEAR - 1), now.date(), Step.DAY)
    (customer,) = Usage.objects.filter(subscription=subscription).values_list("customer")[0]
    scope = LedgerScope(customers=[customer], credentials=[], subscriptions=[subscription])

    def ask() -> None:
        nothing = Quarantined.objects.none()
        build_usage_chart(
            lambda days: UsageByOwner(
                ScopedUsage(scope, start=days.start, end=days.end), "credential"
            ),
            nothing,
            window,
            party="credential",
            choice=ChartChoice(),
            now=now,
        )

    rows = Usage.objects.filter(subscription=subscription, hour__gte=window.start).count()
    say(json.dumps({"rows": rows, "seconds": [_took(ask) for _ in range(TIMES)]}))


def sum_up_days() -> None:
    """As the clock does once an hour after midnight."""
    daily_usage.sum_up_days(timezone.now())
    gateway_days.sum_up_gateway_days()


def days_come_and_go(after: float) -> None:
    """Three days ahead are made and the two oldest dropped, a full one among them: seconds each."""
    time.sleep(after)
    today, oldest = timezone.now().date(), partitions.partitioned_days()[0]
    ensured = _took(lambda: partitions.ensure_partitions(today + timedelta(days=3)))
    dropped = [
        _took(lambda day=day: partitions.drop_partitions(before=oldest + timedelta(days=day)))  # type: ignore[misc]
        for day in (1, 2)
    ]
    say(json.dumps({"ensured": ensured, "dropped": dropped}))


def forgetting() -> None:
    """What the clock does now and then: look for what is too old to be remembered.

    Null if PostgreSQL is told to stop before it is done.
    """
    old = timezone.now() - timedelta(days=settings.SEEN_TRANSACTION_DAYS)
    try:
        say(json.dumps(_took(lambda: forget_old_transactions(before=old))))
    except OperationalError:
        say(json.dumps(None))


def _took(do: Callable[[], Any]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began
