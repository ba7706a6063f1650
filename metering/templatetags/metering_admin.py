"""Template tags by which the core's admin pages show metering, which the core must not import."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django import template
from django.db.models import QuerySet, Sum
from django.utils import timezone

from metering.admin import groups, hubs
from metering.admin.explanations import link_to
from metering.ledger.quantities import format_field_value, format_quantity
from metering.models import Claim, Delivery, IntakeStats, Quarantined
from metering.verification import figures
from revcred.models import Credential, Upload
from revcred.time_zones import moment_text

register = template.Library()

MAX_WAITING_COUNTED = 1_000
MAX_OPEN_GROUPS_COUNTED = 100  # of the quarantine: each takes a look-up in every partition
MAX_REFUSED_FIGURES = 20  # on a page
MAX_CLAIMS_PER_UPLOAD = 3  # that its page shows
TODAY_FIELDS = ("accepted", "attributed", "quarantined", "rejected", "conflicting")


@dataclass(frozen=True, kw_only=True)
class TodayCounts:
    """Counts for the overview page, by UTC day. None of them reads a large table."""

    accepted: int
    attributed: int
    quarantined: int
    rejected: int
    conflicting: int
    oldest_waiting: datetime | None
    open_groups: int
    unfinished_claims: int

    @property
    def open_groups_shown(self) -> int:
        return min(self.open_groups, MAX_OPEN_GROUPS_COUNTED)

    @property
    def are_groups_cut(self) -> bool:
        return self.open_groups > MAX_OPEN_GROUPS_COUNTED


@register.simple_tag
def today_counts() -> TodayCounts:
    """Return the counts since midnight in UTC, and what is open now."""
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    today = IntakeStats.objects.filter(hour__gte=midnight).aggregate(
        **{name: Sum(name, default=0) for name in TODAY_FIELDS}
    )
    oldest = Delivery.objects.order_by("pk").values_list("received_at", flat=True).first()
    return TodayCounts(
        **today,
        oldest_waiting=oldest,
        open_groups=groups.count_groups(MAX_OPEN_GROUPS_COUNTED + 1),
        unfinished_claims=Claim.objects.open().count(),
    )


@register.inclusion_tag("admin/includes/refused.html")
def refused_calls_of(credential: Credential) -> dict[str, Any]:
    """Show the calls of a credential that gateways were told to refuse."""
    return {
        "of_credential": True,
        "refused": figures.refused_of(credential.pk, MAX_REFUSED_FIGURES),
        "latest_refused": figures.latest_refused_of(credential.pk),
    }


@register.simple_tag(takes_context=True)
def hub_of(context: Any, target: Any) -> hubs.Hub | None:
    """Return what belongs to a thing, as far as the user may see it."""
    return hubs.hub_of(target, context["request"].user)


@register.filter
def hub_cell(value: Any) -> Any:
    """Return a cell of a hub's table: a moment to the minute, and a dash for nothing."""
    if isinstance(value, datetime):
        return moment_text(value)
    return "\N{EN DASH}" if value in (None, "") else value


@register.simple_tag
def count_waiting_under_key(fingerprint: UUID) -> int:
    """Return how many transactions wait under this key; MAX_WAITING_COUNTED + 1 means more."""
    waiting = Quarantined.objects.filter(fingerprint=fingerprint).values("pk")
    return waiting[: MAX_WAITING_COUNTED + 1].count()


@register.simple_tag
def claims_of_upload(upload: Upload) -> QuerySet[Claim]:
    """Return the claims that applying and undoing the upload opened, the latest first."""
    return Claim.objects.filter(upload=upload)[:MAX_CLAIMS_PER_UPLOAD]


@register.simple_tag
def quarantine_groups_of_key(fingerprint: UUID) -> list[groups.QuarantineGroup]:
    """Return the groups of the quarantine that have transactions with this key."""
    return groups.groups_of_key(fingerprint)


register.filter("quantity", format_quantity)
register.filter("field_value", format_field_value)


register.filter("admin_link", link_to)


@register.filter
def compared_value(value: Any) -> str:
    """Return a field of a call as text; a moment as ISO 8601 in UTC."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(sep=" ").replace("+00:00", "")
    return format_field_value(value)


@register.filter
def setting(value: Any) -> str:
    """Return the value of a setting for people: a switch in words, a number with commas."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:,}" if isinstance(value, int) else str(value or "none")


@register.filter
def thousands(number: int) -> str:
    """Format 1234567 as 1,234,567."""
    return f"{number:,}"
