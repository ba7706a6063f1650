from django.db import models
from django.db.models.functions import Now

from metering.models.transactions import unconstrained_reference
from revcred.models import Gateway
from revcred.texts import gettext_lazy


class PartialTransaction(models.Model):
    """One part of a transaction, its request or its response, that waits for the other part.

    `call` is JSON of a `metering.inbox.calls.Call`. Of a part sent twice the first is kept.

    Where callers may choose ids, parts with one id may be of several calls. There each part has an
    `dedup_key` of its own; `shared_id` is the dedup key of the id. A part that has been processed
    stays for a while with its `state` and `content_hash`, so that a repeat can be recognised.
    """

    class Side(models.TextChoices):
        REQUEST = "request"
        RESPONSE = "response"

    class State(models.TextChoices):
        WAITING = "waiting"
        ALONE = "alone", "Accepted without its other part"
        PAIRED = "paired", "Accepted with its other part"

    pk = models.CompositePrimaryKey("dedup_key", "side")
    dedup_key = models.UUIDField()
    side = models.CharField(max_length=8, choices=Side)
    gateway = unconstrained_reference(Gateway)
    received_at = models.DateTimeField(db_default=Now())
    next_look_at = models.DateTimeField(db_default=Now())
    call = models.TextField()
    shared_id = models.UUIDField(null=True)
    content_hash = models.UUIDField(null=True)
    state = models.CharField(max_length=8, choices=State, db_default=State.WAITING)

    class Meta:
        default_permissions = ()
        verbose_name_plural = gettext_lazy("partial transactions")
        indexes = (
            models.Index(fields=["next_look_at"], name="partial_by_next_look"),
            models.Index(
                fields=["shared_id"],
                condition=models.Q(shared_id__isnull=False),
                name="partial_by_shared_id",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_side_display()} of {self.dedup_key}"
