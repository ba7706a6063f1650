from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from django.db import models
from django.db.models import F, Func, Q, Value

from revcred.models import Credential, Customer, Gateway, Product, Subscription
from revcred.texts import gettext_lazy

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


def start_of_bin(step: timedelta, moment: str) -> Func:
    """Return the start of the step, hours or days in UTC, that a row's moment is in."""
    # date_bin instead of date_trunc, which takes longer because it knows time zones.
    origin = Value(datetime(2001, 1, 1, tzinfo=UTC))
    return Func(
        Value(step), F(moment), origin, function="date_bin", output_field=models.DateTimeField()
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

    class Meta:
        verbose_name_plural = gettext_lazy("usage")
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


class DailyUsage(models.Model):
    """Usage of one subscription, credential and element on one day in UTC that is over.

    The clock sums it up from the hours. A day that is noted in StaleUsageDay is read from the
    hours until then, so that both always say the same.
    """

    day = models.DateField()
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    credential = models.ForeignKey(
        Credential,
        models.PROTECT,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    customer = models.ForeignKey(
        Customer, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    element = models.TextField()
    count = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=38, decimal_places=9)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                "subscription",
                "day",
                "element",
                "credential",
                name="dailyusage_once_a_day",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.element} of {self.subscription} on {self.day:%Y-%m-%d}"


class DailyGatewayUsage(models.Model):
    """Usage through one gateway on one day in UTC that is over, by subscription and credential.

    The clock sums it up from the ledger, which keeps its days for a shorter time.
    """

    day = models.DateField()
    subscription = models.ForeignKey(
        Subscription, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    credential = models.ForeignKey(
        Credential,
        models.PROTECT,
        null=True,
        related_name="+",
        db_constraint=False,
        db_index=False,
    )
    customer = models.ForeignKey(
        Customer, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    gateway = models.ForeignKey(
        Gateway, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    element = models.TextField()
    quantity = models.DecimalField(max_digits=38, decimal_places=9)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                "subscription",
                "day",
                "element",
                "gateway",
                "credential",
                name="dailygatewayusage_once_a_day",
                nulls_distinct=False,
            ),
        )

    def __str__(self) -> str:
        return f"{self.element} of {self.subscription} by {self.gateway} on {self.day:%Y-%m-%d}"


class StaleUsageDay(models.Model):
    """A note that usage of a subscription on a day that was over has changed.

    It is only added, so that no worker waits for another. The same day may be noted many times.
    """

    subscription = models.ForeignKey(
        Subscription, models.DO_NOTHING, related_name="+", db_constraint=False, db_index=False
    )
    day = models.DateField()

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=["subscription", "day"], name="staleusageday_by_day"),)

    def __str__(self) -> str:
        return f"{self.subscription_id} on {self.day:%Y-%m-%d}"


class SummedUpDays(models.Model):
    """The first day that has not been summed up yet. There is one row at most.

    `gateways_summed_up_before`: the same of usage by gateway, None before its first day.
    """

    summed_up_before = models.DateField()
    gateways_summed_up_before = models.DateField(null=True)

    class Meta:
        default_permissions = ()
        constraints = (models.CheckConstraint(name="summedupdays_only_one", condition=Q(pk=1)),)

    def __str__(self) -> str:
        return f"Summed up before {self.summed_up_before:%Y-%m-%d}"


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
        verbose_name = verbose_name_plural = gettext_lazy("traffic by gateway and hour")
        ordering = ("-hour",)
        constraints = (models.UniqueConstraint("hour", "gateway", name="intakestats_once_an_hour"),)

    def __str__(self) -> str:
        return f"{self.gateway} in {self.hour:%Y-%m-%d %H}h"
