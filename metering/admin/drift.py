"""The page of a gateway's drift: how the keys that it lets in differ from the register."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.admin.sites import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from metering.admin import groups
from metering.admin.groups import QuarantineGroup
from metering.inventories.drift import DriftedKey, DriftKind, count_drift, list_drift
from metering.inventories.receiving import latest_inventory
from metering.models import InventoriedKey, QuarantineReason
from revcred.admin_toolkit.lists import parse_id
from revcred.models import Gateway

ROWS_PER_PAGE = 100
# An inventory is sent by a timer, mostly each hour.
OLD_INVENTORY_AFTER = timedelta(days=1)
# A gateway that has sent nothing for so long is shown as quiet: most send every few seconds.
QUIET_AFTER = timedelta(minutes=15)
# A call cannot have been made after it arrived. The usual delay is that of a log's agent.
CLOCK_AHEAD_AFTER = timedelta(seconds=5)
CLOCK_BEHIND_AFTER = timedelta(minutes=2)
EXPLANATIONS = {
    DriftKind.WORKS_THERE: "The gateway lets these keys in, and here they are not valid now. Their"
    " calls wait in quarantine. Take the keys out of the gateway.",
    DriftKind.UNKNOWN_HERE: "The gateway lets these keys in, and no credential has them. Assign"
    " each to a credential, or take it out of the gateway.",
    DriftKind.MISSING_THERE: "These keys are valid here, and the gateway does not let them in,"
    " neither by key nor by id. Add them to the gateway, or end them.",
    DriftKind.SHARED: "Other gateways let these keys in, too. Whoever gets at one of the gateways"
    " has the keys of the others. It is usual if a customer calls through several.",
}


@dataclass(frozen=True, kw_only=True)
class DriftRow:
    """A row of the page. `group`: what waits in quarantine under the key, counted."""

    key: DriftedKey
    group: QuarantineGroup | None = None

    @property
    def may_be_assigned(self) -> bool:
        """True if no credential has the key, and revcred knows its fingerprint."""
        return self.key.credential is None and self.key.kind != InventoriedKey.Kind.DIGEST


def drift_page(request: HttpRequest, site: AdminSite, gateway: Gateway) -> HttpResponse:
    """Answer the page of a gateway's drift, with the worst kind first unless another is chosen."""
    inventory = latest_inventory(gateway.pk)
    context = site.each_context(request) | {
        "title": "Keys that it lets in",
        "subtitle": None,
        "opts": Gateway._meta,
        "original": gateway,
        "inventory": inventory,
        "warnings": list(warnings_of(gateway)),
    }
    if inventory and inventory.ended_at:
        counts = count_drift(inventory)
        chosen = _chosen_kind(request.GET.get("show", ""), counts)
        page = max(1, parse_id(request.GET.get("p", "")) or 1)
        found = list_drift(inventory, chosen, rows=ROWS_PER_PAGE, offset=(page - 1) * ROWS_PER_PAGE)
        context |= {
            "is_old": inventory.ended_at < timezone.now() - OLD_INVENTORY_AFTER,
            "counts": [(kind, counts[kind]) for kind in DriftKind],
            "chosen": chosen,
            "explanation": EXPLANATIONS[chosen],
            "rows": _rows_of(found, gateway, chosen, request.user),
            "page": page,
            "has_more": counts[chosen] > page * ROWS_PER_PAGE,
        }
    return TemplateResponse(request, "admin/metering/drift.html", context)


def warnings_of(gateway: Gateway) -> Iterator[str]:
    """Yield a sentence if the gateway is silent, and one if its clock is off."""
    now = timezone.now()
    if gateway.last_seen_at is None:
        yield "It has sent no calls yet."
    elif gateway.last_seen_at < now - QUIET_AFTER:
        yield (
            f"It has sent nothing since {gateway.last_seen_at:%Y-%m-%d %H:%M} UTC. See whether the"
            " gateway and its agent run."
        )
    by_median = "by the median of its latest live calls. Near a revocation or an expiry, calls are"
    ahead = gateway.clock_ahead
    if ahead and ahead > CLOCK_AHEAD_AFTER:
        seconds = ahead.total_seconds()
        yield f"Its clock is {seconds:,.0f} seconds ahead of revcred's, {by_median} misjudged."
    elif ahead and ahead < -CLOCK_BEHIND_AFTER:
        seconds = -ahead.total_seconds()
        yield (
            f"Its clock is {seconds:,.0f} seconds behind revcred's, or its calls arrive late,"
            f" {by_median} misjudged if it is the clock."
        )


def _chosen_kind(name: str, counts: dict[DriftKind, int]) -> DriftKind:
    if name in DriftKind.values:
        return DriftKind(name)
    return next((kind for kind in DriftKind if counts[kind]), DriftKind.WORKS_THERE)


def _rows_of(
    found: Sequence[DriftedKey], gateway: Gateway, kind: DriftKind, user: Any
) -> list[DriftRow]:
    """Return the rows, each with what waits under its key if the user may see the quarantine."""
    if not user.has_perm("metering.view_quarantined") or kind == DriftKind.MISSING_THERE:
        return [DriftRow(key=key) for key in found]
    reasons = {
        True: QuarantineReason.UNKNOWN_KEY,
        False: QuarantineReason.KEY_NOT_VALID,
    }
    measured = groups.measure_groups(
        [
            QuarantineGroup(
                reason=reasons[key.credential is None],
                fingerprint=key.fingerprint,
                gateway_id=gateway.pk,
                hint=key.hint,
            )
            for key in found
        ]
    )
    return [DriftRow(key=key, group=group) for key, group in zip(found, measured, strict=True)]
