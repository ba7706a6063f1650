from django.db import models

from metering.models.transactions import QuarantineReason, unconstrained_reference
from revcred.models import Gateway


class QuarantineDrop(models.Model):
    """Number of calls of one day that were dropped from quarantine, which belonged to nobody."""

    class Cause(models.TextChoices):
        AGE = "age", "Unattributed for too long"
        LIMIT = "limit", "Over the limit of unknown keys"

    day = models.DateField(help_text="In UTC, on which they arrived.")
    gateway = unconstrained_reference(Gateway)
    reason = models.CharField(max_length=21, choices=QuarantineReason)
    cause = models.CharField(max_length=5, choices=Cause)
    calls = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        ordering = ("-day",)
        constraints = (
            models.UniqueConstraint(
                fields=["day", "gateway", "reason", "cause"], name="quarantinedrop_once_a_day"
            ),
        )

    def __str__(self) -> str:
        return f"{self.calls:,} of {self.day}"
