"""Gateways and what each of them is allowed to report."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext

from revcred.texts import gettext_lazy, grouped

KEY_NAME = r"^[A-Za-z0-9_-]+\Z"
# Without quotes, spaces or a query: it stands in samples of code.
PUBLIC_ADDRESS = r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~%/-]*)?\Z"


def max_accepted_days() -> int:
    """Return the days that both the ledger and the memory of seen transactions surely reach back.

    An older call could be counted twice, or have no partition in the ledger.
    """
    # One day less, since the last day is dropped in its course.
    kept: int = min(settings.LEDGER_DAYS, settings.SEEN_TRANSACTION_DAYS)
    return max(1, kept - 1)


def check_accepted_days(days: int) -> None:
    """Validate an accepted age in days. Raises ValidationError."""
    most = max_accepted_days()
    if not 1 <= days <= most:
        message = gettext(
            "Enter 1 to %(most)s days: the ledger and the memory of repeats reach no further."
        ) % {"most": grouped(most)}
        raise ValidationError(message, code="accepted_days")


class GatewayQuerySet(models.QuerySet["Gateway"]):
    def oldest_accepted_moment(self, now: datetime) -> datetime:
        """Return the oldest moment that a call of any gateway may have if it arrives now."""
        # The setting may have been lowered after a gateway's own value was saved.
        longest = self.aggregate(days=Max("accepted_days"))["days"] or 0
        days = max(settings.OLDEST_TRANSACTION_DAYS, min(longest, max_accepted_days()))
        return now - timedelta(days=days)


class Gateway(models.Model):
    """A system that reports transactions."""

    class Kind(models.TextChoices):
        OTHER = "other", gettext_lazy("Other")
        NGINX = "nginx", "nginx"
        APACHE = "apache", "Apache"
        HAPROXY = "haproxy", "HAProxy"
        CADDY = "caddy", "Caddy"
        ENVOY = "envoy", "Envoy"
        ISTIO = "istio", "Istio"
        KONG = "kong", "Kong"
        TRAEFIK = "traefik", "Traefik"
        APISIX = "apisix", "APISIX"
        TYK = "tyk", "Tyk"
        GRAVITEE = "gravitee", "Gravitee"
        AWS = "aws", "AWS API Gateway"
        AZURE = "azure", "Azure API Management"
        APIGEE = "apigee", "Apigee"
        MULESOFT = "mulesoft", "MuleSoft"
        IBM = "ibm", "IBM API Connect"
        SNOWFLAKE = "snowflake", "Snowflake"

    class EventSubject(models.TextChoices):
        KEY = "key", gettext_lazy("The key of the caller")
        SUBSCRIPTION = "subscription", gettext_lazy("The external key of the subscription")
        CREDENTIAL = "credential", gettext_lazy("The public id of the credential, or an alias")

    class CheckMode(models.TextChoices):
        OFF = "off", gettext_lazy("Off: it does not ask")
        OBSERVE = (
            "observe",
            gettext_lazy("Observe: every call is let through, and counted if it would not be"),
        )
        ENFORCE = "enforce", gettext_lazy("Enforce: calls that are not valid are refused")

    class KeyPlace(models.TextChoices):
        HEADER = "header", gettext_lazy("A header")
        BEARER = "bearer", "Authorization: Bearer"
        BASIC = "basic", gettext_lazy("Authorization: Basic, the user")
        QUERY = "query", gettext_lazy("A parameter of the address")

    # These take over a request id that the caller sends, so callers could repeat one on purpose.
    KINDS_WITH_IDS_FROM_CALLERS = frozenset({Kind.ENVOY, Kind.ISTIO, Kind.APISIX, Kind.AWS})

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.OTHER)
    suspended_at = models.DateTimeField(
        null=True, blank=True, help_text=gettext_lazy("From then on its tokens are refused.")
    )
    last_seen_at = models.DateTimeField(null=True, editable=False)
    # Kept for people to look at; no rule depends on it.
    clock_ahead = models.DurationField(
        null=True,
        editable=False,
        help_text=gettext_lazy(
            "How far the median of its latest live calls was ahead of our clock when they"
            " arrived; negative for the usual delay."
        ),
    )
    line_format = models.CharField(
        gettext_lazy("format of its lines"),
        max_length=100,
        blank=True,
        default="",
        db_default="",
        help_text=gettext_lazy(
            "How what it posts to /v1/lines is read. Empty: as usual for its kind."
        ),
    )
    event_subject = models.CharField(
        max_length=12,
        choices=EventSubject,
        default=EventSubject.KEY,
        help_text=gettext_lazy("What the subject of its CloudEvents names."),
    )
    event_elements = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text=gettext_lazy(
            "Which members of its CloudEvents' data are counted, such as tokens or"
            " usage.output_tokens. Empty: all that are numbers."
        ),
    )
    accepted_days = models.PositiveSmallIntegerField(
        gettext_lazy("accepted age in days"),
        null=True,
        blank=True,
        validators=[check_accepted_days],
        help_text=gettext_lazy(
            "How old a call may be when it arrives, for gateways that bring what they metered"
            " long ago. Empty: as the installation has it."
        ),
    )
    # NULL means as usual for the kind, which `save` replaces by a value.
    ids_from_callers = models.BooleanField(
        gettext_lazy("ids may come from callers"),
        choices=[
            (None, gettext_lazy("As usual for its kind")),
            (True, gettext_lazy("Yes")),
            (False, gettext_lazy("No")),
        ],
        null=True,
        blank=True,
        help_text=gettext_lazy(
            "Yes: a caller may choose the id that this gateway reports, as with X-Request-Id"
            " behind Envoy. Calls of one id are then told apart by moment, method, path and"
            " status, so that nobody's later calls are free. No: one id is one call."
        ),
    )
    counted_records = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text=gettext_lazy(
            "OpenTelemetry only: the names of further records that are calls, such as"
            " http.access. * stands for every record. Empty: records that carry usage, an id"
            " of a transaction or a credential."
        ),
    )
    kept_attributes = ArrayField(
        models.CharField(max_length=100),
        default=list,
        blank=True,
        help_text=gettext_lazy(
            "OpenTelemetry and calls of AI: the names of further attributes that are kept as"
            " metadata and shown to the customer. Never name one that holds a prompt or a key."
        ),
    )
    check_mode = models.CharField(
        gettext_lazy("check of calls"),
        max_length=8,
        choices=CheckMode,
        default=CheckMode.OFF,
        db_default=CheckMode.OFF,
        help_text=gettext_lazy(
            "What revcred answers when this gateway asks whether it may let a call through."
        ),
    )
    check_fails_open = models.BooleanField(
        gettext_lazy("let calls through when revcred cannot be asked"),
        default=False,
        db_default=False,
        help_text=gettext_lazy(
            "A note for whoever configures the gateway, which has to do so by itself."
        ),
    )
    check_refuses_over_quota = models.BooleanField(
        gettext_lazy("refuse calls over the quota"),
        default=False,
        db_default=False,
        help_text=gettext_lazy(
            "A subscription's calls of a month, in UTC. Usage is a second or two behind."
        ),
    )
    key_place = models.CharField(
        gettext_lazy("where the caller's key is"),
        max_length=6,
        choices=KeyPlace,
        default=KeyPlace.HEADER,
        db_default=KeyPlace.HEADER,
        help_text=gettext_lazy("In what the gateway passes to /v1/auth."),
    )
    key_name = models.CharField(
        gettext_lazy("name of that header or parameter"),
        max_length=100,
        default="X-Api-Key",
        db_default="X-Api-Key",
        validators=[RegexValidator(KEY_NAME, gettext_lazy("Enter letters, digits, - and _ only."))],
    )
    signs_claims = models.BooleanField(
        gettext_lazy("send backends a signed claim"),
        default=False,
        db_default=False,
        help_text=gettext_lazy(
            "Answers then have X-Revcred-Claim: whose the call is, signed, good for a minute."
        ),
    )
    public_url = models.CharField(
        gettext_lazy("public address"),
        max_length=300,
        blank=True,
        default="",
        db_default="",
        validators=[
            RegexValidator(
                PUBLIC_ADDRESS,
                gettext_lazy(
                    "Enter an address such as https://api.example.com/v2/, without a query."
                ),
            )
        ],
        help_text=gettext_lazy(
            "Where callers reach your API through it, such as https://api.example.com/."
            " Subscribers see it beside a new key."
        ),
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = GatewayQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def accepted_age(self) -> timedelta:
        """Return the age that a call from this gateway may have on arrival."""
        if self.accepted_days is None:
            return timedelta(days=settings.OLDEST_TRANSACTION_DAYS)
        return timedelta(days=min(self.accepted_days, max_accepted_days()))

    def accepted_period(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the oldest and newest moment that a call may have which arrives now."""
        # The limit ahead is the same for all: a moment in the future is always a mistake.
        ahead = timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES)
        return now - self.accepted_age, now + ahead

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Decide for a new gateway by its kind whether ids may come from callers, unless chosen."""
        if self._state.adding and self.ids_from_callers is None:
            self.ids_from_callers = self.kind in self.KINDS_WITH_IDS_FROM_CALLERS
        super().save(*args, **kwargs)
