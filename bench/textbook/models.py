"""Three plain tables. They refer to the project's rows, and hold on to none of them."""

from typing import ClassVar

from django.db import models

from revcred.models import Credential, Gateway, Subscription


class Call(models.Model):
    """One row for each call, as it came in."""

    gateway = models.ForeignKey(Gateway, models.DO_NOTHING, db_constraint=False, related_name="+")
    gateway_id: int
    transaction_id = models.CharField(max_length=200)
    occurred_at = models.DateTimeField()
    fingerprint = models.UUIDField()
    method = models.CharField(max_length=20, blank=True)
    path = models.CharField(max_length=2_000, blank=True)
    status = models.PositiveSmallIntegerField(null=True)
    request_bytes = models.BigIntegerField(null=True)
    response_bytes = models.BigIntegerField(null=True)
    latency_ms = models.FloatField(null=True)
    elements = models.JSONField(default=dict)
    processed = models.BooleanField(default=False)

    objects: ClassVar[models.Manager["Call"]] = models.Manager()

    def __str__(self) -> str:
        return self.transaction_id


class Charge(models.Model):
    """Whose a call was, once for each id of a gateway. Nobody's has neither of the two."""

    gateway = models.ForeignKey(Gateway, models.DO_NOTHING, db_constraint=False, related_name="+")
    transaction_id = models.CharField(max_length=200)
    call = models.ForeignKey(Call, models.PROTECT)
    credential = models.ForeignKey(
        Credential, models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )
    subscription = models.ForeignKey(
        Subscription, models.DO_NOTHING, null=True, db_constraint=False, related_name="+"
    )

    objects: ClassVar[models.Manager["Charge"]] = models.Manager()

    class Meta:
        constraints = (
            models.UniqueConstraint("gateway", "transaction_id", name="textbook_counted_once"),
        )

    def __str__(self) -> str:
        return self.transaction_id


class Counter(models.Model):
    """How much of an element a subscription used in an hour."""

    subscription = models.ForeignKey(
        Subscription, models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    hour = models.DateTimeField()
    element = models.CharField(max_length=100)
    count = models.BigIntegerField(default=0)
    quantity = models.FloatField(default=0)

    objects: ClassVar[models.Manager["Counter"]] = models.Manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                "subscription", "hour", "element", name="textbook_once_an_hour"
            ),
        )

    def __str__(self) -> str:
        return f"{self.element} of {self.subscription}"
