from django.db import models

from metering.models.transactions import unconstrained_reference
from revcred.models import Gateway


class DiscoveredSource(models.Model):
    """What transactions say they called, or the beginning of their paths, and no source is."""

    class Kind(models.TextChoices):
        NAMED = "named", "Named"
        PATH = "path", "Beginning of a path"

    name = models.TextField()
    kind = models.CharField(max_length=5, choices=Kind)
    gateway = unconstrained_reference(Gateway)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()

    class Meta:
        ordering = ("-last_seen_at",)
        constraints = (
            models.UniqueConstraint(fields=["name", "kind"], name="discoveredsource_once"),
        )

    def __str__(self) -> str:
        return self.name
