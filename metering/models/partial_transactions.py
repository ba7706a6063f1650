from django.db import models
from django.db.models.functions import Now

from metering.models.transactions import unconstrained_reference
from revcred.models import Gateway


class Half(models.Model):
    """One part of a transaction, its request or its response, that waits for the other part.

    `call` is JSON of a `metering.inbox.calls.Call`. Of a part sent twice the first is kept.
    """

    class Side(models.TextChoices):
        REQUEST = "request"
        RESPONSE = "response"

    pk = models.CompositePrimaryKey("identity", "side")
    identity = models.UUIDField()
    side = models.CharField(max_length=8, choices=Side)
    gateway = unconstrained_reference(Gateway)
    received_at = models.DateTimeField(db_default=Now())
    next_look_at = models.DateTimeField(db_default=Now())
    call = models.TextField()

    class Meta:
        default_permissions = ()
        verbose_name_plural = "halves"
        indexes = (models.Index(fields=["next_look_at"], name="half_by_next_look"),)

    def __str__(self) -> str:
        return f"{self.get_side_display()} of {self.identity}"
