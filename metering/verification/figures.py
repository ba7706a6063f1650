"""Figures of refused calls: of a gateway, and of a credential."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, Min, QuerySet, Sum
from django.utils import timezone

from metering.models import RefusedCount
from metering.models.check_codes import CheckCode
from revcred.models import Credential, Gateway

FIGURES_PERIOD = timedelta(days=7)


@dataclass(frozen=True)
class ObservedCalls:
    """Calls that a gateway would have refused in the last days, had it not only observed."""

    calls: int
    customers: int

    def __str__(self) -> str:
        calls = f"{self.calls:,} {'call' if self.calls == 1 else 'calls'}"
        customers = f"{self.customers:,} {'customer' if self.customers == 1 else 'customers'}"
        return f"{calls} of {customers} in the last {FIGURES_PERIOD.days} days"


@dataclass(frozen=True, kw_only=True)
class RefusedFigure:
    """Refused calls of one credential with one code at one gateway."""

    gateway: Gateway | None
    credential: Credential | None
    code: CheckCode
    observed: bool
    calls: int
    first_at: datetime
    last_at: datetime


def observed_lately(gateway: int) -> ObservedCalls:
    """Return how many calls a gateway would have refused in the last days, and of how many."""
    counts = _lately().filter(gateway=gateway, observed=True)
    found = counts.aggregate(calls=Sum("calls", default=0))
    credentials = counts.exclude(credential=None).values("credential")
    customers = Credential.objects.filter(pk__in=credentials).values("customer").distinct()
    return ObservedCalls(found["calls"], customers.count())


def refused_at(gateway: int, most: int) -> Sequence[RefusedFigure]:
    """Return the figures of a gateway in the last days, the largest first."""
    return _figures(_lately().filter(gateway=gateway))[:most]


def refused_of(credential: int, most: int) -> Sequence[RefusedFigure]:
    """Return the figures of a credential in the last days, the largest first."""
    return _figures(_lately().filter(credential=credential))[:most]


def _lately() -> QuerySet[RefusedCount]:
    since = (timezone.now() - FIGURES_PERIOD).replace(minute=0, second=0, microsecond=0)
    return RefusedCount.objects.filter(hour__gte=since)


def _figures(counts: QuerySet[RefusedCount]) -> list[RefusedFigure]:
    rows: list[Any] = list(
        counts.order_by()
        .values("gateway", "credential", "code", "observed")
        .annotate(total=Sum("calls"), first=Min("first_at"), last=Max("last_at"))
        .order_by("-total")
    )
    gateways = Gateway.objects.in_bulk({row["gateway"] for row in rows})
    credentials = Credential.objects.select_related("customer").in_bulk(
        {row["credential"] for row in rows if row["credential"]}
    )
    return [
        RefusedFigure(
            gateway=gateways.get(row["gateway"]),
            credential=credentials.get(row["credential"]),
            code=CheckCode(row["code"]),
            observed=row["observed"],
            calls=row["total"],
            first_at=row["first"],
            last_at=row["last"],
        )
        for row in rows
    ]
