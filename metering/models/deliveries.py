from django.db import models
from django.db.models.functions import Now

from metering.models.functions import TimeOrderedId
from revcred.models import Gateway
from revcred.texts import gettext_lazy


class Delivery(models.Model):
    """The transactions of one POST in the inbox, until all of them are processed.

    Small POSTs that a gateway sent at the same moment are one delivery. `body` is a JSON array of
    calls without keys: see `metering.inbox.calls`.
    """

    id = models.UUIDField(primary_key=True, db_default=TimeOrderedId(), editable=False)
    gateway = models.ForeignKey(
        Gateway, models.PROTECT, related_name="+", db_constraint=False, db_index=False
    )
    received_at = models.DateTimeField(db_default=Now())
    transactions = models.PositiveIntegerField()
    rejected = models.PositiveIntegerField(default=0)
    passed_over = models.PositiveIntegerField(db_default=0)
    body = models.TextField()
    attempts = models.PositiveIntegerField(db_default=0)
    next_try_at = models.DateTimeField(db_default=Now())
    last_error = models.CharField(max_length=200, db_default="")

    class Meta:
        verbose_name, verbose_name_plural = (
            gettext_lazy("waiting batch"),
            gettext_lazy("waiting batches"),
        )
        ordering = ("next_try_at",)
        # The only index besides the primary key: every delivery is inserted and deleted once.
        indexes = (models.Index(fields=["next_try_at"], name="delivery_by_next_try"),)

    def __str__(self) -> str:
        return f"{self.transactions} from {self.gateway}"
