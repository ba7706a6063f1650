"""What pages of the core's administration say of metering, which the core knows nothing of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django import template
from django.db.models import Sum
from django.utils import timezone

from metering.admin import groups
from metering.ledger.quantities import format_field_value, format_quantity
from metering.models import Claim, Delivery, Quarantined, QuarantineReason, Tally

register = template.Library()

MAX_WAITING_COUNTED = 1_000
TODAY_FIELDS = ("accepted", "attributed", "quarantined", "rejected", "conflicting")


@dataclass(frozen=True, kw_only=True)
class TodayCounts:
    """What is going on. None of it is found by reading a big table."""

    accepted: int
    attributed: int
    quarantined: int
    rejected: int
    conflicting: int
    oldest_waiting: datetime | None
    open_groups: int
    unfinished_claims: int

    @property
    def are_groups_cut(self) -> bool:
        return self.open_groups >= groups.MAX_GROUPS


@register.simple_tag
def figures() -> TodayCounts:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    today = Tally.objects.filter(hour__gte=midnight).aggregate(
        **{name: Sum(name, default=0) for name in TODAY_FIELDS}
    )
    oldest = Delivery.objects.order_by("pk").values_list("received_at", flat=True).first()
    return TodayCounts(
        **today,
        oldest_waiting=oldest,
        open_groups=len(groups.find_groups()),
        unfinished_claims=Claim.objects.open().count(),
    )


@register.simple_tag
def waiting_under(mark: UUID) -> int:
    """How many transactions wait under this key in quarantine, as far as it is worth counting."""
    return (
        Quarantined.objects.filter(fingerprint=mark).values("pk")[: MAX_WAITING_COUNTED + 1].count()
    )


@register.simple_tag
def groups_under(mark: UUID) -> list[groups.QuarantineGroup]:
    """The groups in quarantine that a key leads to."""
    which = Quarantined.objects.filter(fingerprint=mark).values_list("reason", "gateway")
    return [
        groups.QuarantineGroup(
            reason=QuarantineReason(reason), fingerprint=mark, gateway_id=gateway
        )
        for reason, gateway in sorted(set(which.order_by()[:MAX_WAITING_COUNTED]))
    ]


register.filter("plain", format_quantity)
register.filter("as_json", format_field_value)


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"
