from django.db import models

from metering.models.transactions import unconstrained_reference
from revcred.models import Gateway


class DiscoveredSource(models.Model):
    """A name that transactions give as their source, or a beginning of their paths, without one."""

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
