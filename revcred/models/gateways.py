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
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
