"""Rows of the lists of credentials and subscriptions, at a fixed number of queries."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db.models import Max, OuterRef, Prefetch, QuerySet, Subquery

from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.models.usage import CALLS_ELEMENT
from revcred.models import Assignment, Credential, ExternalKey, Subscription
from storefront.uncounted import UncountedGroup

if TYPE_CHECKING:
    from revcred.models.credentials import CredentialQuerySet

CHART_DAYS = 30


def with_listing_columns(credentials: "CredentialQuerySet", now: datetime) -> "CredentialQuerySet":
    """Add everything that a row of the list shows. The caller chooses the order."""
    # A subquery, not a join: it must not multiply the rows.
    last_used = (
        ExternalKey.objects.filter(credential=OuterRef("pk"))
        .order_by()
        .values("credential")
        .values_list(Max("use__last_used_at"))
    )
    keys = ExternalKey.objects.current(now)
    assignments = Assignment.objects.at(now).select_related("subscription")
    return (
        credentials.with_suspended(now)
        .with_charged(now)
        .annotate(last_used_at=Subquery(last_used))
        .select_related("customer")
        .prefetch_related("holders")
        .prefetch_related(Prefetch("keys", keys, to_attr="current_keys"))
        .prefetch_related(Prefetch("assignments", assignments, to_attr="current_assignments"))
    )


def attach_uncounted(credentials: Iterable[Credential], groups: Iterable[UncountedGroup]) -> None:
    """Set `uncounted_calls` of each credential: the number of its calls that are not counted."""
    calls: Counter[int] = Counter()
    for group in groups:
        calls[group.credential] += group.calls
    for credential in credentials:
        credential.uncounted_calls = calls[credential.pk]  # type: ignore[attr-defined]


def ending_keys(
    credentials: "CredentialQuerySet", now: datetime, *, before: datetime
) -> "QuerySet[ExternalKey]":
    """Return keys that end before the moment, such as the old ones of a rotation."""
    return (
        ExternalKey.objects.current(now)
        .filter(
            credential__in=credentials.filter(revoked_at=None).values("pk"),
            active_until__lt=before,
        )
        .select_related("credential", "use")
        .order_by("active_until")
    )


@dataclass(frozen=True)
class SubscriptionRow:
    """A subscription with the calls that the user may see of it."""

    subscription: Subscription
    owned: bool
    calls_by_day: list[Decimal]
    calls_this_month: Decimal

    @property
    def has_calls(self) -> bool:
        return any(self.calls_by_day)

    @property
    def bars(self) -> list[tuple[int, float, float]]:
        """Return a bar for each day in a box of 30 by 10, as left, top and height."""
        # Without calls all bars have height 0, and nothing is divided by 0.
        most = max(self.calls_by_day) or 1
        heights = [round(float(10 * calls / most), 2) for calls in self.calls_by_day]
        return [(left, 10 - height, height) for left, height in enumerate(heights)]


def subscription_rows(
    subscriptions: Iterable[Subscription], scope: LedgerScope, now: datetime
) -> list[SubscriptionRow]:
    """Return a row for each subscription, with calls of the last CHART_DAYS and this month.

    The subscriptions are of the scope.
    """
    subscriptions = list(subscriptions)
    scope = replace(scope, subscriptions=[each.pk for each in subscriptions])
    days = _last_days(now)
    # The last 30 days and this month overlap: one query covers both.
    first = min(days[0], days[-1].replace(day=1))
    usage = ScopedUsage(scope, start=first, end=days[-1] + timedelta(days=2))
    calls: dict[int, dict[datetime, Decimal]] = defaultdict(dict)
    for subscription, day, amount in usage.by_subscription_and_start(CALLS_ELEMENT):
        calls[subscription][day] = amount
    owned = set(scope.customers)
    return [_subscription_row(each, calls[each.pk], days, owned) for each in subscriptions]


def _subscription_row(
    subscription: Subscription,
    calls: dict[datetime, Decimal],
    days: list[datetime],
    owned: set[int],
) -> SubscriptionRow:
    month = (days[-1].year, days[-1].month)
    return SubscriptionRow(
        subscription=subscription,
        owned=subscription.customer_id in owned,
        calls_by_day=[calls.get(day, Decimal(0)) for day in days],
        calls_this_month=sum(
            (amount for day, amount in calls.items() if (day.year, day.month) == month), Decimal(0)
        ),
    )


def _last_days(now: datetime) -> list[datetime]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=ago) for ago in reversed(range(CHART_DAYS))]
