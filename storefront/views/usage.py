"""The usage section of a page, which htmx fetches alone when another date range is chosen."""

from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.models.transactions import QuarantinedQuerySet
from metering.models.usage import UsageParty
from storefront.access import SignedInRequest
from storefront.figures import UsageChart, build_usage_chart
from storefront.forms import DateRangeForm
from storefront.windows import CalendarSpan


def usage_context(
    request: SignedInRequest,
    scope: LedgerScope,
    uncounted: QuarantinedQuerySet,
    *,
    party: UsageParty,
    now: datetime,
    credential: int | None = None,
) -> dict[str, Any]:
    """Return the context of the usage section. `uncounted`: calls to show beside the usage.

    `credential`: only this one's usage.
    """
    today = now.astimezone(UTC).date()
    form = DateRangeForm(request.GET, today=today)
    window = form.window
    usage = ScopedUsage(
        scope,
        start=window.start,
        end=window.end,
        step="hour" if window.span is CalendarSpan.DAY else "day",
        credential=credential,
    )
    shown = build_usage_chart(usage, uncounted, window, party=party, element=form.chosen, now=now)
    return {"now": now, "party": party, "figures": shown} | _navigation_links(shown, today)


def wants_section(request: SignedInRequest) -> bool:
    """Return True if htmx asks for the section only. The browser's history asks for whole pages."""
    # When the browser goes back, htmx asks for the page with both headers.
    headers = request.headers
    return "HX-Request" in headers and "HX-History-Restore-Request" not in headers


def render_page_or_section(
    request: SignedInRequest, template: str, context: dict[str, Any]
) -> HttpResponse:
    """Render the page, or only its usage section if that was asked for."""
    if wants_section(request):
        template = "storefront/_usage.html"
    response = render(request, template, context)
    # One URL has two answers: without this, a cache could mix them up.
    patch_vary_headers(response, ["HX-Request"])
    return response


def _navigation_links(shown: UsageChart, today: date) -> dict[str, Any]:
    """Return links to other lengths of time, and to the range before and after."""
    window = shown.window
    # From a month to a day: today if it is in that month, else the month's first day.
    day = today if window.contains(today) else window.first

    def to(span: CalendarSpan, day: date) -> str:
        return "?" + urlencode({"span": span.value, "day": day, "element": shown.element})

    return {
        "spans": [(span.label, to(span, day), span is window.span) for span in CalendarSpan],
        "previous": to(window.span, window.previous),
        "following": to(window.span, window.following) if window.following <= today else None,
    }
