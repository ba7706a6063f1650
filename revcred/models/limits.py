"""Counters of limits, in a table of their own: a cache forgets them when it is full."""

from django.db import models


class RateCounter(models.Model):
    """How often something was tried lately, and until when it may not be tried again."""

    # A fingerprint of what is counted: an address that was typed may be a password.
    key = models.UUIDField(primary_key=True)
    used = models.PositiveIntegerField()
    waits_until = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.used} until {self.expires_at}"
