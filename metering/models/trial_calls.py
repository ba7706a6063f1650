from uuid import uuid4

from django.db import models

from metering.models.gateways import GatewayToken
from revcred.models import Gateway
from revcred.texts import gettext_lazy


class TrialCall(models.Model):
    """A call that came with a test token: its verdict, and nothing that is ever counted.

    People call it a test call. `call` is the call without key and secrets, `verdict` the fields of
    a `JudgedCall`; a rejected call has `rejection` with code, field and message instead.
    """

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="trial_calls")
    token = models.ForeignKey(GatewayToken, models.CASCADE, related_name="trial_calls")
    transaction_id = models.CharField(max_length=200, blank=True)
    received_at = models.DateTimeField()
    call = models.JSONField(null=True)
    verdict = models.JSONField(null=True)
    rejection = models.JSONField(null=True)

    class Meta:
        verbose_name = gettext_lazy("test call")
        ordering = ("-received_at", "-pk")
        indexes = (
            models.Index(fields=["gateway", "received_at"], name="trial_call_by_gateway"),
            models.Index(fields=["received_at"], name="trial_call_by_arrival"),
        )

    def __str__(self) -> str:
        return self.transaction_id or "a call without an id"
