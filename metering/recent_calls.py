"""Calls of the last days, day by day: an action that ends something shows them before."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db import OperationalError, connection
from django.db.models import QuerySet, Sum
from django.db.transaction import atomic
from django.utils import timezone

from metering import failures
from metering.models import IntakeStats, Transaction, Usage
from revcred.metering_port import RECENT_CALLS_DAYS, RecentCalls, RecentCallsQuestion
from revcred.models import ExternalKey, Gateway, Subscription
from revcred.postgresql.statement_timeouts import statement_timeout

MAX_TRANSACTIONS_SEARCHED = 10_000  # for one name
KEY_COUNT_LIMIT_SECONDS = 3  # to search the ledger for one of a credential's keys

# The ledger has no index of keys. The one of subscriptions leaves few rows to look at: those of
# subscriptions that the key's credential was charged to.
COUNT_CALLS_OF_KEY = """
SELECT date_trunc('hour', t.occurred_at, 'UTC'), count(*)
FROM metering_transaction t
WHERE t.subscription_id IN (
        SELECT subscription_id FROM metering_usage
        WHERE credential_id = %(credential)s AND hour >= date_trunc('hour', %(since)s, 'UTC')
    )
    AND t.occurred_at >= %(since)s AND t.external_key_id = %(key)s AND t.sign = 1
    -- Corrected calls were taken back: they count where they were written anew.
    AND NOT EXISTS (SELECT FROM metering_transaction c WHERE c.corrects = t.id)
    AND NOT EXISTS (SELECT FROM metering_quarantined c WHERE c.corrects = t.id)
GROUP BY 1
"""


def count_recent_calls(question: RecentCallsQuestion) -> RecentCalls:
    """Count the calls of the last days."""
    credential, subscription = question.credential, question.subscription
    customer, product = question.customer, question.product
    key, named = question.key, question.named
    since = timezone.now() - timedelta(days=RECENT_CALLS_DAYS)
    if named is not None:
        return _recent_calls_by_name(subscription, named, since)
    # Usage does not say which key a call came with.
    if key is not None and not _is_only_key_since(key, since):
        return _recent_calls_by_key(key, since)
    usage = Usage.objects.filter(hour__gte=since, count__gt=0)
    if key is not None:
        usage = usage.filter(credential=key.credential_id)
    if credential:
        usage = usage.filter(credential=credential)
    if subscription:
        usage = usage.filter(subscription=subscription)
    # Numbers, and no subquery: so the planner knows how many subscriptions there are.
    if customer:
        usage = usage.filter(subscription__in=_subscription_ids(customer.subscriptions.all()))
    if product:
        usage = usage.filter(subscription__in=_subscription_ids(product.subscriptions.all()))
    return _recent_calls_of_usage(usage)


def calls_reported_lately(gateway: Gateway) -> RecentCalls:
    """Count the calls that the gateway reported in the last days, by the hour of their arrival."""
    since = timezone.now() - timedelta(days=RECENT_CALLS_DAYS)
    stats = IntakeStats.objects.filter(gateway=gateway.pk, hour__gte=since, accepted__gt=0)
    return _sum_hours(stats.values_list("hour", "accepted"))


def _subscription_ids(subscriptions: QuerySet[Subscription]) -> list[int]:
    return list(subscriptions.order_by().values_list("pk", flat=True))


def _recent_calls_of_usage(usage: QuerySet[Usage]) -> RecentCalls:
    sums = usage.order_by().values_list("hour", "element").annotate(Sum("count"))
    # Usage has a row for each element, and a call counts in each of its own. The element with the
    # most calls is the number of calls, wherever all calls have one element in common.
    hours: dict[datetime, int] = {}
    for hour, _, count in sums:
        hours[hour] = max(hours.get(hour, 0), count)
    return _sum_hours(hours.items())


def _is_only_key_since(key: ExternalKey, since: datetime) -> bool:
    """Return True if all calls of its credential came with it, so that usage counts its calls."""
    others = ExternalKey.objects.filter(credential=key.credential_id).exclude(pk=key.pk)
    return not others.not_ended_at(since).exists()


def _recent_calls_by_key(key: ExternalKey, since: datetime) -> RecentCalls:
    """Count calls with this key in the ledger, or say that there are too many to count in time."""
    arguments: dict[str, Any] = {"credential": key.credential_id, "key": key.pk, "since": since}
    milliseconds = KEY_COUNT_LIMIT_SECONDS * 1_000
    try:
        with atomic(), connection.cursor() as cursor, statement_timeout(cursor, milliseconds):
            cursor.execute(COUNT_CALLS_OF_KEY, arguments)
            hours = cursor.fetchall()
    except OperationalError as error:
        if failures.took_too_long(error):
            return RecentCalls(is_complete=False)
        raise
    return _sum_hours(hours)


def _recent_calls_by_name(
    subscription: Subscription | None, named: str, since: datetime
) -> RecentCalls:
    """Count calls that name the subscription so, among the latest MAX_TRANSACTIONS_SEARCHED."""
    latest = Transaction.objects.standing().filter(subscription=subscription)
    rows = list(
        latest.filter(occurred_at__gte=since)
        .order_by("-occurred_at")
        .values_list("subscription_named", "occurred_at")[:MAX_TRANSACTIONS_SEARCHED]
    )
    # By the hour, as usage is counted.
    hours = [at.replace(minute=0, second=0, microsecond=0) for name, at in rows if name == named]
    is_complete = len(rows) < MAX_TRANSACTIONS_SEARCHED
    return _sum_hours([(hour, 1) for hour in hours], is_complete=is_complete)


def _sum_hours(hours: Iterable[tuple[datetime, int]], *, is_complete: bool = True) -> RecentCalls:
    """Sum up pairs of an hour and its number of calls. An hour may come several times."""
    now = timezone.now()
    today = now.astimezone(UTC).date()
    # Days without calls are shown as well.
    days: dict[date, int] = {
        today - timedelta(days=ago): 0 for ago in reversed(range(RECENT_CALLS_DAYS + 1))
    }
    calls, last_day, last_hour = 0, 0, None
    last_day_since = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
    for hour, count in hours:
        # A call may be a few minutes ahead of this clock.
        day = min(hour.astimezone(UTC).date(), today)
        days[day] = days.get(day, 0) + count
        calls += count
        if hour >= last_day_since:
            last_day += count
        last_hour = max(filter(None, (last_hour, hour)), default=None)
    return RecentCalls(
        calls, last_hour, last_day, last_day_since, tuple(sorted(days.items())), is_complete
    )
