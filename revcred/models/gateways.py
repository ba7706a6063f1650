from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone


class Gateway(models.Model):
    """Who reports transactions."""

    class Kind(models.TextChoices):
        OTHER = "other", "Other"
        NGINX = "nginx", "nginx"
        ENVOY = "envoy", "Envoy"
        KONG = "kong", "Kong"
        TRAEFIK = "traefik", "Traefik"
        APISIX = "apisix", "APISIX"
        TYK = "tyk", "Tyk"
        GRAVITEE = "gravitee", "Gravitee"
        AWS = "aws", "AWS API Gateway"
        AZURE = "azure", "Azure API Management"
        APIGEE = "apigee", "Apigee"

    class EventSubject(models.TextChoices):
        KEY = "key", "The key of the caller"
        SUBSCRIPTION = "subscription", "The external key of the subscription"

    # Their request ids are the caller's own, if the caller sends one.
    KINDS_WITH_IDS_FROM_CALLERS = frozenset({Kind.ENVOY, Kind.APISIX, Kind.AWS})

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.OTHER)
    suspended_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on its tokens are refused."
    )
    last_seen_at = models.DateTimeField(null=True, editable=False)
    clock_ahead = models.DurationField(
        null=True,
        editable=False,
        help_text="How far its newest transaction was ahead of our clock when it arrived; "
        "negative for the usual delay.",
    )
    event_subject = models.CharField(
        max_length=12,
        choices=EventSubject,
        default=EventSubject.KEY,
        help_text="What the subject of its CloudEvents names.",
    )
    event_elements = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="Which members of its CloudEvents' data are counted, such as tokens or "
        "usage.output_tokens. Empty: all that are numbers.",
    )
    ids_from_callers = models.BooleanField(
        "ids may come from callers",
        choices=[(None, "As usual for its kind"), (True, "Yes"), (False, "No")],
        null=True,
        blank=True,
        help_text="Yes: a caller may choose the id that this gateway reports, as with X-Request-Id "
        "behind Envoy. Calls of one id are then told apart by moment, method, path and status, so "
        "that nobody's later calls are free. No: one id is one call.",
    )
    counted_records = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="OpenTelemetry only: the names of further records that are calls, such as "
        "http.access. * stands for every record. Empty: records that carry usage, an id of a "
        "transaction or a credential.",
    )
    kept_attributes = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text="OpenTelemetry and calls of AI: the names of further attributes that are kept "
        "as metadata and shown to the customer. Never name one that holds a prompt or a key.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Choose for a new gateway, where nobody has, if its ids may come from callers."""
        if self._state.adding and self.ids_from_callers is None:
            self.ids_from_callers = self.kind in self.KINDS_WITH_IDS_FROM_CALLERS
        super().save(*args, **kwargs)
