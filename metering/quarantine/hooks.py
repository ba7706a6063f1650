"""Receivers of the core's signals, by which it informs and asks metering: see `revcred.hooks`."""

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max, Sum
from django.db.transaction import on_commit
from django.utils import timezone

from metering.bells import claim_bell
from metering.models import Claim, Transaction, Usage
from metering.quarantine.statements import COUNT_WAITING_FOR, FIND_ROWS_WITH_USAGE
from revcred.hooks import RecentCalls
from revcred.models import Credential, Product, Subscription, Upload, User
from revcred.models.periods import start_of_second

MAX_TRANSACTIONS_SEARCHED = 10_000  # for one name
MAX_CUSTOMERS_LISTED = 10  # in the preview of an upload


def open_claim(
    *,
    cause: str,
    by: User | None,
    since: datetime | None = None,
    credential: Credential | None = None,
    subscription: Subscription | None = None,
    product: Product | None = None,
    upload: Upload | None = None,
    with_sources: bool = False,
    **_: Any,
) -> Claim:
    """Open a claim in the transaction of the change itself, so that none is ever forgotten.

    Without a credential, subscription, product or upload, all of the quarantine is judged again.
    `since`: how far the change reaches back. It is moved to the beginning of its second, because
    a moment in whole seconds stands for any moment of its second.
    """
    claim = Claim.objects.create(
        cause=cause[:200],
        by=by.email if by else "",
        since=start_of_second(since) if since else None,
        credential=credential,
        subscription=subscription,
        product=product,
        upload=upload,
        with_sources=with_sources,
    )
    on_commit(claim_bell.ring)
    return claim


def preview_upload_claim(*, rows: str, **_: Any) -> dict[str, Any]:
    """Count the waiting transactions that an upload would attribute; see `revcred.hooks`."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_WAITING_FOR.format(rows=rows))
        found = cursor.fetchall()
    since = min((oldest for _, _, oldest in found), default=None)
    return {
        "transactions": sum(count for _, count, _ in found),
        "since": since and since.isoformat(),
        "customers": [(customer, count) for customer, count, _ in found[:MAX_CUSTOMERS_LISTED]],
    }


def rows_with_usage(*, rows: str, most: int, **_: Any) -> list[int]:
    """Return the numbers of the rows that have usage; see `revcred.hooks`."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_ROWS_WITH_USAGE.format(rows=rows, most=most))
        return [number for (number,) in cursor.fetchall()]


def recent_calls(
    *,
    credential: Credential | None,
    subscription: Subscription | None,
    named: str | None,
    days: int,
    **_: Any,
) -> RecentCalls:
    """Return the number of calls of the last days, and the last hour with any.

    See `revcred.hooks`. `named`: count only calls that name the subscription so.
    """
    if named is not None:
        return _recent_calls_by_name(subscription, named, days)
    usage = Usage.objects.filter(hour__gte=timezone.now() - timedelta(days=days), count__gt=0)
    if credential:
        usage = usage.filter(credential=credential)
    if subscription:
        usage = usage.filter(subscription=subscription)
    # Usage has a row for each element, and a call counts in each of its own. The element with the
    # most calls is the number of calls, wherever all calls have one element in common.
    by_element = usage.order_by().values_list("element").annotate(Sum("count"), Max("hour"))
    found = list(by_element)
    calls = max((count for _, count, _ in found), default=0)
    return RecentCalls(calls, max((hour for _, _, hour in found), default=None))


def _recent_calls_by_name(subscription: Subscription | None, named: str, days: int) -> RecentCalls:
    """Count calls that name the subscription so, among the latest MAX_TRANSACTIONS_SEARCHED."""
    since = timezone.now() - timedelta(days=days)
    latest = Transaction.objects.standing().filter(subscription=subscription)
    moments = [
        at
        for name, at in latest.filter(occurred_at__gte=since)
        .order_by("-occurred_at")
        .values_list("subscription_named", "occurred_at")[:MAX_TRANSACTIONS_SEARCHED]
        if name == named
    ]
    last = max(moments, default=None)
    return RecentCalls(len(moments), last and last.replace(minute=0, second=0, microsecond=0))
