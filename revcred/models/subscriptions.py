"""Subscriptions: a customer's right to a product."""

from datetime import datetime
from typing import Self

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import RangeOperators
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from revcred.models.customers import Customer
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS, MAX_NAME_CHARACTERS, FormerName
from revcred.models.periods import ACTIVE_PERIOD, DatedModel, DatedQuerySet
from revcred.models.products import Product
from revcred.models.users import User
from revcred.texts import gettext_lazy


class SubscriptionQuerySet(DatedQuerySet["Subscription"]):
    def visible_to(self, user: User) -> Self:
        """Return subscriptions of customers the user owns, and those that the user's credentials
        feed.
        """
        of_owned = Customer.objects.owned_by(user).values("pk")
        held = self.model._base_manager.filter(
            assignments__credential__holders__user=user,
            assignments__credential__customer__memberships__subscriber__user=user,
        )
        return self.filter(models.Q(customer__in=of_owned) | models.Q(pk__in=held.values("pk")))

    def earliest_start(self) -> datetime | None:
        """Return the start of the subscription that began first; None if there is none."""
        at: datetime | None = self.aggregate(at=models.Min("active_from"))["at"]
        return at

    def named(self, external_key: str, moment: datetime) -> "Subscription | None":
        """Return the one with this external key at the moment, or else the one that begins last."""
        # Before its start a subscription may be named already, as in a gateway's configuration.
        having = self.filter(external_key=external_key)
        return having.at(moment).first() or having.order_by("-active_from").first()


class Subscription(DatedModel):
    """A customer's right to a product during a period."""

    customer = models.ForeignKey(Customer, models.PROTECT, related_name="subscriptions")
    product = models.ForeignKey(Product, models.PROTECT, related_name="subscriptions")
    external_key = models.CharField(
        max_length=MAX_EXTERNAL_KEY_CHARACTERS,
        help_text=gettext_lazy(
            "The name that gateways send as subscription. Calls under a former one still"
            " count. After its end another subscription may have it."
        ),
    )
    name = models.CharField(max_length=MAX_NAME_CHARACTERS, blank=True)
    quota = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "Calls a month that are included. More are refused only by gateways that are set to it."
        ),
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SubscriptionQuerySet.as_manager()

    class Meta(DatedModel.Meta):
        abstract = False
        ordering = ("-pk",)
        constraints = (
            *DatedModel.Meta.constraints,
            # Target of an assignment's foreign key over two columns: one customer on both sides.
            models.UniqueConstraint("id", "customer", name="subscription_of_customer"),
            ExclusionConstraint(
                name="subscription_external_key_once_at_a_time",
                expressions=[
                    ("external_key", RangeOperators.EQUAL),
                    (ACTIVE_PERIOD, RangeOperators.OVERLAPS),
                ],
                violation_error_message=gettext_lazy(
                    "Another subscription has this external key in that time."
                ),
            ),
        )
        indexes = (
            # Serves searches by the beginning, and attribution without a look at the table.
            models.Index(
                fields=["external_key"],
                opclasses=["varchar_pattern_ops"],
                include=["id", "active_from", "active_until"],
                name="subscription_by_external_key",
            ),
            models.Index(OpClass(Lower("name"), "text_pattern_ops"), name="subscription_by_name"),
        )

    def __str__(self) -> str:
        return self.name or self.external_key

    def former_names(self) -> models.QuerySet[FormerName]:
        """Return external keys it had before, under which calls may still arrive."""
        return FormerName.objects.filter(kind=FormerName.Kind.SUBSCRIPTION, target_id=self.pk)
