"""Rows of the lists of credentials and subscriptions, at a fixed number of queries."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count, Exists, F, Max, OuterRef, Prefetch, Q, QuerySet, Subquery

from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.models.usage import CALLS_ELEMENT
from revcred.models import Assignment, Credential, ExternalKey, KeyUse, Subscription, Suspension
from revcred.texts import gettext_lazy
from storefront.uncounted import UncountedGroup
from storefront.windows import CalendarSpan, DateRange

if TYPE_CHECKING:
    from revcred.models.credentials import CredentialQuerySet

CHART_DAYS = 30
MIN_ELAPSED_TO_PROJECT = 1 / 31  # of a month: the first day says little


class CredentialsShown(models.TextChoices):
    """The credentials that the list shows."""

    ALL = "all", gettext_lazy("All")
    ACTIVE = "active", gettext_lazy("Active")
    ROTATING = "rotating", gettext_lazy("In rotation")
    UNUSED = "unused", gettext_lazy("Never used")
    SUSPENDED = "suspended", gettext_lazy("Suspended")
    OVER = "over", gettext_lazy("Revoked or expired")


class CredentialsOrder(models.TextChoices):
    """The order of the list."""

    NAME = "name", gettext_lazy("Name")
    USED = "used", gettext_lazy("Last used")
    CREATED = "created", gettext_lazy("Newest")


ORDER_COLUMNS: dict[str, tuple[Any, ...]] = {
    CredentialsOrder.NAME: ("customer__name", "name", "pk"),
    # Credentials that were never used come last, not first.
    CredentialsOrder.USED: (F("last_used_at").desc(nulls_last=True), "pk"),
    CredentialsOrder.CREATED: ("-created_at", "-pk"),
}


def _conditions(now: datetime) -> dict[str, Q]:
    """Return what is true of the credentials of each choice."""
    # No annotation: Django cannot count by a condition that names one.
    suspended = Q(Exists(Suspension.objects.at(now).filter(credential=OuterRef("pk")).order_by()))
    over = Q(revoked_at__isnull=False) | Q(expires_at__lte=now)
    rotating = ExternalKey.objects.current(now).filter(active_until__isnull=False)
    used = KeyUse.objects.filter(external_key__credential=OuterRef("pk"))
    return {
        CredentialsShown.ALL: Q(),
        CredentialsShown.ACTIVE: ~over & ~suspended,
        CredentialsShown.ROTATING: ~over
        & Q(Exists(rotating.filter(credential=OuterRef("pk")).order_by())),
        CredentialsShown.UNUSED: ~over & ~Q(Exists(used)),
        CredentialsShown.SUSPENDED: ~over & suspended,
        CredentialsShown.OVER: over,
    }


def narrow_credentials(
    credentials: "CredentialQuerySet", shown: str, now: datetime
) -> "CredentialQuerySet":
    """Return the credentials of the choice."""
    return credentials.filter(_conditions(now)[shown])


def count_credentials(credentials: "CredentialQuerySet", now: datetime) -> dict[str, int]:
    """Return how many credentials each choice shows, with one query."""
    counts = {
        name: Count("pk", filter=condition) if condition else Count("pk")
        for name, condition in _conditions(now).items()
    }
    found: dict[str, int] = credentials.order_by().aggregate(**counts)
    return found


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
    """A subscription with the calls that the user may see of it.

    `calls_of_days_over` and `calls_before`: of the days of this month that are over, and of as many
    days of the month before. `elapsed`: the part of this month that is over, from 0 to 1.
    """

    subscription: Subscription
    owned: bool
    calls_by_day: list[Decimal]
    calls_this_month: Decimal
    calls_of_days_over: Decimal
    calls_before: Decimal
    elapsed: float

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

    @property
    def change_percent(self) -> int | None:
        """Return by how many percent calls have grown; None if there were none before."""
        if not self.calls_before:
            return None
        return round(100 * (self.calls_of_days_over - self.calls_before) / self.calls_before)

    @property
    def projected(self) -> Decimal | None:
        """Return the calls of the whole month at this pace; None while it is too early to say."""
        if self.elapsed < MIN_ELAPSED_TO_PROJECT:
            return None
        return self.calls_this_month / Decimal(self.elapsed)


def subscription_rows(
    subscriptions: Iterable[Subscription], scope: LedgerScope, now: datetime
) -> list[SubscriptionRow]:
    """Return a row for each subscription, with calls of the last CHART_DAYS and of two months.

    The subscriptions are of the scope.
    """
    subscriptions = list(subscriptions)
    scope = replace(scope, subscriptions=[each.pk for each in subscriptions])
    month = DateRange.holding(now.astimezone(UTC).date(), CalendarSpan.MONTH)
    # The last 30 days and the two months overlap: one query covers all.
    usage = ScopedUsage(scope, start=month.before.start, end=month.end)
    calls: dict[int, dict[datetime, Decimal]] = defaultdict(dict)
    for subscription, day, amount in usage.by_subscription_and_start(CALLS_ELEMENT):
        calls[subscription][day] = amount
    owned = set(scope.customers)
    return [
        _subscription_row(each, calls[each.pk], month, now, is_owned=each.customer_id in owned)
        for each in subscriptions
    ]


def _subscription_row(
    subscription: Subscription,
    calls: dict[datetime, Decimal],
    month: DateRange,
    now: datetime,
    *,
    is_owned: bool,
) -> SubscriptionRow:
    days_over = (now - month.start).days

    def total(days: Iterable[datetime]) -> Decimal:
        return sum((calls.get(day, Decimal(0)) for day in days), Decimal(0))

    return SubscriptionRow(
        subscription=subscription,
        owned=is_owned,
        calls_by_day=[calls.get(day, Decimal(0)) for day in _last_days(now)],
        calls_this_month=total(month.starts),
        calls_of_days_over=total(month.starts[:days_over]),
        # A month before may be shorter: then all of it.
        calls_before=total(month.before.starts[:days_over]),
        elapsed=(now - month.start) / (month.end - month.start),
    )


def _last_days(now: datetime) -> list[datetime]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return [today - timedelta(days=ago) for ago in reversed(range(CHART_DAYS))]
