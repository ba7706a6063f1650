"""Figures of refused calls: of a gateway, and of a credential."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Max, Min, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext_noop

from metering.models import RefusedCall, RefusedCount
from metering.models.check_codes import CheckCode
from revcred.models import Credential, Gateway

FIGURES_PERIOD = timedelta(days=7)
MAX_SAMPLES = 10
# What the people who hold the credential can do.
ADVICE = {
    CheckCode.REVOKED: gettext_noop("Use another credential, or ask for a new one."),
    CheckCode.SUSPENDED: gettext_noop(
        "Resume it, or ask whoever provides your API if they suspended it."
    ),
    CheckCode.EXPIRED: gettext_noop(
        "Use the present key of this credential, or ask for a later expiry."
    ),
    CheckCode.NOT_BEGUN: gettext_noop("Wait until the key begins to count."),
    CheckCode.NO_SUBSCRIPTION: gettext_noop("Ask whoever provides your API for a subscription."),
    CheckCode.SUBSCRIPTION_MISMATCH: gettext_noop(
        "Name a subscription that this credential is assigned to."
    ),
    CheckCode.WRONG_SOURCE: gettext_noop("Ask for a subscription that covers this API."),
    CheckCode.CUSTOMER_SUSPENDED: gettext_noop("Ask whoever provides your API why."),
    CheckCode.QUOTA_EXHAUSTED: gettext_noop("Wait for the next month, or ask for more calls."),
    CheckCode.AMBIGUOUS: gettext_noop(
        "Ask whoever provides your API to which subscription calls belong."
    ),
}


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

    @property
    def advice(self) -> str:
        return advice_on(self.code)


def advice_on(code: str) -> str:
    """Return what the people who hold the credential can do about a code; empty: nothing."""
    return ADVICE.get(CheckCode(code), "")


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


def refused_among(credentials: "QuerySet[Credential]", most: int) -> Sequence[RefusedFigure]:
    """Return the figures of some credentials in the last days, the largest first.

    Calls that were only observed are in none.
    """
    counts = _lately().filter(credential__in=credentials.order_by().values("pk"), observed=False)
    return _figures(counts)[:most]


def latest_refused_at(gateway: int) -> QuerySet[RefusedCall]:
    """Return the last receipts of a gateway."""
    return RefusedCall.objects.filter(gateway=gateway).select_related("credential")[:MAX_SAMPLES]


def latest_refused_of(credential: int) -> QuerySet[RefusedCall]:
    """Return the last receipts of a credential."""
    calls = RefusedCall.objects.filter(credential=credential, observed=False)
    return calls.select_related("gateway")[:MAX_SAMPLES]


def find_receipt(text: str) -> RefusedCall | None:
    """Return the receipt of a refused call by its id, alone or as a line of a header, or None."""
    try:
        number = UUID(text.rpartition(":")[2].strip())
    except ValueError:
        return None
    return RefusedCall.objects.select_related("gateway", "credential").filter(pk=number).first()


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
