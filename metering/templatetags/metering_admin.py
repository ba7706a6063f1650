"""What pages of the core's administration say of metering, which the core knows nothing of."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django import template
from django.db.models import Sum
from django.utils import timezone

from metering.admin import groups
from metering.ledger.quantities import as_json, plain
from metering.models import Claim, Delivery, Quarantined, Reason, Tally

register = template.Library()

COUNTED = 1_000
TODAY = ("accepted", "attributed", "quarantined", "rejected", "conflicting")


@dataclass(frozen=True, kw_only=True)
class Figures:
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
        return self.open_groups >= groups.MOST


@register.simple_tag
def figures() -> Figures:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    today = Tally.objects.filter(hour__gte=midnight).aggregate(
        **{name: Sum(name, default=0) for name in TODAY}
    )
    oldest = Delivery.objects.order_by("pk").values_list("received_at", flat=True).first()
    return Figures(
        **today,
        oldest_waiting=oldest,
        open_groups=len(groups.find()),
        unfinished_claims=Claim.objects.open().count(),
    )


@register.simple_tag
def waiting_under(mark: UUID) -> int:
    """How many transactions wait under this key in quarantine, as far as it is worth counting."""
    return Quarantined.objects.filter(fingerprint=mark).values("pk")[: COUNTED + 1].count()


@register.simple_tag
def groups_under(mark: UUID) -> list[groups.Group]:
    """The groups in quarantine that a key leads to."""
    which = Quarantined.objects.filter(fingerprint=mark).values_list("reason", "gateway")
    return [
        groups.Group(reason=Reason(reason), fingerprint=mark, gateway_id=gateway)
        for reason, gateway in sorted(set(which.order_by()[:COUNTED]))
    ]


register.filter("plain", plain)
register.filter("as_json", as_json)


@register.filter
def thousands(number: int) -> str:
    return f"{number:,}"
