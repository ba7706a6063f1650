from django.db import models
from django.db.models.functions import Now

from revcred.models import Gateway


class Rejection(models.Model):
    """An item that was rejected, with the reason: for whoever runs the gateway.

    The latest of each gateway are kept. Of the item nothing is stored that may be a key.
    """

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="+", db_index=False)
    rejected_at = models.DateTimeField(db_default=Now())
    door = models.CharField(max_length=200, help_text="The address it was posted to.")
    place = models.IntegerField(null=True, help_text="In the body, from 0. Empty: all of it.")
    transaction_id = models.TextField(blank=True, default="", db_default="")
    field = models.CharField(max_length=200, blank=True, default="", db_default="")
    code = models.CharField(max_length=50)
    message = models.CharField(max_length=500)
    item = models.TextField(  # noqa: DJ001 - NULL: nothing to try again
        null=True,
        help_text="What was rejected, without keys. Empty: too long, or not kept.",
    )

    class Meta:
        ordering = ("-pk",)
        default_permissions = ("view",)
        indexes = (models.Index(fields=["gateway", "-id"], name="rejection_by_gateway"),)

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{where}{self.message}"
