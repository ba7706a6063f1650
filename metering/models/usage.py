from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, Self

from django.db import models
from django.db.models import Case, F, Func, Sum, Value, When
from django.db.models.functions import Coalesce

from revcred.models import Credential, Customer, Gateway, Product, Subscription

UsageParty = Literal["credential", "subscription"]

# The element of a transaction that has none.
CALLS_ELEMENT = "calls"

# In place of a party's id: usage without a credential, and the sum of all parties not told apart.
NOBODY, OTHERS = 0, -1

USAGE_PARTY_MODELS: dict[UsageParty, type[Credential] | type[Subscription]] = {
    "credential": Credential,
    "subscription": Subscription,
}


def usage_party_names(party: UsageParty, numbers: Iterable[int]) -> dict[int, str]:
    """Return the names by id, of the parties that still exist.

    A query of their own: joined to usage, a name would be read for every hour.
    """
    return {
        number: str(obj)
        for number, obj in USAGE_PARTY_MODELS[party].objects.in_bulk(numbers).items()
    }


def start_of_bin(step: timedelta, moment: str = "hour") -> Func:
    """Return the start of the step, hours or days in UTC, that a row's moment is in."""
    # date_bin instead of date_trunc, which takes longer because it knows time zones.
    origin = Value(datetime(2001, 1, 1, tzinfo=UTC))
    return Func(
        Value(step), F(moment), origin, function="date_bin", output_field=models.DateTimeField()
    )


class UsageQuerySet(models.QuerySet["Usage"]):
    def between(self, start: datetime, end: datetime) -> Self:
        return self.filter(hour__gte=start, hour__lt=end)

    def by_day(self) -> Iterable[tuple[int, datetime, Decimal]]:
        """Return rows of subscription, day in UTC, and quantity. Filter for one element before."""
        days = self.annotate(day=start_of_bin(timedelta(days=1))).order_by()
        return days.values_list("subscription", "day").annotate(Sum("quantity"))

    def of_calls(self) -> Decimal:
        """Return the number of calls."""
        return self.filter(element=CALLS_ELEMENT).aggregate(of=Sum("quantity"))["of"] or Decimal(0)

    def shares(self, party: UsageParty) -> dict[str, dict[int, Decimal]]:
        """Return the quantity of each party, by element and then by the party's id."""
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
        """Return rows of start, party's id, and quantity, for each hour or day in UTC.

        Parties that are not in `told_apart` are summed as OTHERS.
        """
        number = Coalesce(f"{party}_id", NOBODY)
        return (
            self.annotate(number=number, start=start_of_bin(step))
            .annotate(
                party=Case(When(number__in=told_apart, then=F("number")), default=Value(OTHERS))
            )
            .order_by()
            .values_list("start", "party")
            .annotate(Sum("quantity"))
        )


class Usage(models.Model):
    """Usage of one subscription, credential and element in one hour: sums that equal the ledger.

    Written in the same transaction as the ledger. `manage.py verify_usage` compares the two.
    """

    hour = models.DateTimeField()
    # Without constraints: it is written as often as the ledger, with ids that attribution has read.
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


class IntakeStats(models.Model):
    """Counts of one gateway's calls, by the hour in which they were received."""

    hour = models.DateTimeField()
    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="intake_stats")
    accepted = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    passed_over = models.BigIntegerField(
        db_default=0, help_text="Records that are no calls, such as a program's other logs."
    )
    repeated = models.BigIntegerField(default=0)
    conflicting = models.BigIntegerField(default=0)
    attributed = models.BigIntegerField(default=0)
    quarantined = models.BigIntegerField(default=0)
    lag = models.FloatField("seconds from received to attributed, summed", default=0)

    class Meta:
        verbose_name = verbose_name_plural = "traffic by gateway and hour"
        ordering = ("-hour",)
        constraints = (models.UniqueConstraint("hour", "gateway", name="intakestats_once_an_hour"),)

    def __str__(self) -> str:
        return f"{self.gateway} in {self.hour:%Y-%m-%d %H}h"
