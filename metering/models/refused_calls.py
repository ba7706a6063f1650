"""Calls that a gateway was told not to let through."""

from django.db import models

from metering.models.check_codes import CheckCode
from metering.models.transactions import unconstrained_reference
from revcred.models import Credential, Gateway


class RefusedCall(models.Model):
    """The receipt of a refused call. The id begins with its moment. No key is in it.

    `observed`: it was let through all the same, since the gateway only observes.
    """

    id = models.UUIDField(primary_key=True)
    at = models.DateTimeField()
    gateway = unconstrained_reference(Gateway)
    credential = unconstrained_reference(Credential, null=True)
    code = models.CharField(max_length=21, choices=CheckCode)
    method = models.CharField(max_length=20)
    path = models.CharField(max_length=500, help_text="Without query.")
    observed = models.BooleanField()

    class Meta:
        default_permissions = ("view",)
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["credential", "-id"], name="refusedcall_by_credential"),
            models.Index(fields=["gateway", "-id"], name="refusedcall_by_gateway"),
        )

    def __str__(self) -> str:
        return f"{self.code} at {self.gateway} on {self.at:%Y-%m-%d %H:%M:%S}"


class RefusedCount(models.Model):
    """Refused calls of an hour, by gateway, credential and code."""

    hour = models.DateTimeField()
    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="+", db_index=False)
    credential = unconstrained_reference(Credential, null=True)
    code = models.CharField(max_length=21, choices=CheckCode)
    observed = models.BooleanField()
    calls = models.BigIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        default_permissions = ()
        ordering = ("-hour",)
        constraints = (
            models.UniqueConstraint(
                "gateway",
                "hour",
                "credential",
                "code",
                "observed",
                name="refusedcount_once_an_hour",
                nulls_distinct=False,
            ),
        )
        indexes = (models.Index(fields=["credential", "hour"], name="refusedcount_by_credential"),)

    def __str__(self) -> str:
        return f"{self.calls} {self.code} at {self.gateway} in {self.hour:%Y-%m-%d %H}h"
