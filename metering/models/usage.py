from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, Self

from django.db import models
from django.db.models import Case, F, Func, Sum, Value, When
from django.db.models.functions import Coalesce

from revcred.models import Credential, Customer, Gateway, Product, Subscription

UsageParty = Literal["credential", "subscription"]

# What a transaction without elements is counted as.
CALLS_ELEMENT = "calls"

# Who used something where no credential was named, and all who are not told apart.
NOBODY, OTHERS = 0, -1

USAGE_PARTY_MODELS: dict[UsageParty, type[Credential] | type[Subscription]] = {
    "credential": Credential,
    "subscription": Subscription,
}


def usage_party_names(party: UsageParty, numbers: Iterable[int]) -> dict[int, str]:
    """Of those that there are. To join them would ask for the name of every hour's row."""
    return {
        number: str(each)
        for number, each in USAGE_PARTY_MODELS[party].objects.in_bulk(numbers).items()
    }


def _start_of_bin(step: timedelta) -> Func:
    """Where the hours or days in UTC begin: date_trunc, which knows of time zones, takes longer."""
    origin = Value(datetime(2001, 1, 1, tzinfo=UTC))
    return Func(
        Value(step), F("hour"), origin, function="date_bin", output_field=models.DateTimeField()
    )


class UsageQuerySet(models.QuerySet["Usage"]):
    def between(self, start: datetime, end: datetime) -> Self:
        return self.filter(hour__gte=start, hour__lt=end)

    def by_day(self) -> Iterable[tuple[int, datetime, Decimal]]:
        """Subscription, day in UTC, and how much. For one element, or the sum means nothing."""
        days = self.annotate(day=_start_of_bin(timedelta(days=1))).order_by()
        return days.values_list("subscription", "day").annotate(Sum("quantity"))

    def of_calls(self) -> Decimal:
        """How many there were."""
        return self.filter(element=CALLS_ELEMENT).aggregate(of=Sum("quantity"))["of"] or Decimal(0)

    def shares(self, party: UsageParty) -> dict[str, dict[int, Decimal]]:
        """Of each element that was counted, who used how much."""
        sums = (
            self.annotate(number=Coalesce(f"{party}_id", NOBODY))
            .order_by("element")
            .values_list("element", "number")
            .annotate(Sum("quantity"))
        )
        shares: dict[str, dict[int, Decimal]] = {}
        for element, number, quantity in sums:
            shares.setdefault(element, {})[number] = quantity
        return shares

    def over_time(
        self, step: timedelta, party: UsageParty, *, told_apart: Collection[int]
    ) -> Iterable[tuple[datetime, int, Decimal]]:
        """Hour by hour or day by day in UTC, who used how much. The rest are OTHERS."""
        number = Coalesce(f"{party}_id", NOBODY)
        return (
            self.annotate(number=number, start=_start_of_bin(step))
            .annotate(
                party=Case(When(number__in=told_apart, then=F("number")), default=Value(OTHERS))
            )
            .order_by()
            .values_list("start", "party")
            .annotate(Sum("quantity"))
        )


class Usage(models.Model):
    """What was used in an hour: a cache of the ledger that always equals it."""

    hour = models.DateTimeField()
    # Written as often as the ledger, and from it: nobody needs to check again that they exist.
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="usage", db_constraint=False, db_index=False
    )
    credential = models.ForeignKey(
        Credential, models.PROTECT, null=True, related_name="usage", db_constraint=False
    )
    customer = models.ForeignKey(
        Customer, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    product = models.ForeignKey(
        Product, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    element = models.TextField()
    count = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=38, decimal_places=9)

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "usage"
        ordering = ("-hour",)
        constraints = (
            models.UniqueConstraint(
                "subscription",
                "hour",
                "element",
                "credential",
                name="usage_once_an_hour",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.element} of {self.subscription} in {self.hour:%Y-%m-%d %H}h"


class Tally(models.Model):
    """What one gateway's deliveries came to, by the hour they were received in."""

    hour = models.DateTimeField()
    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="tallies")
    accepted = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    passed_over = models.BigIntegerField(
        db_default=0, help_text="Records that are no calls, such as a program's other logs."
    )
    repeated = models.BigIntegerField(default=0)
    conflicting = models.BigIntegerField(default=0)
    attributed = models.BigIntegerField(default=0)
    quarantined = models.BigIntegerField(default=0)
    lag = models.FloatField("seconds from received to settled, summed", default=0)

    class Meta:
        verbose_name_plural = "tallies"
        ordering = ("-hour",)
        constraints = (models.UniqueConstraint("hour", "gateway", name="tally_once_an_hour"),)

    def __str__(self) -> str:
        return f"{self.gateway} in {self.hour:%Y-%m-%d %H}h"
