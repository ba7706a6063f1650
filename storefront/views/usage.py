"""The usage section of a page, which htmx fetches alone when another window is chosen."""

from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from metering.models.usage import Party, UsageQuerySet
from storefront.access import SignedInRequest
from storefront.figures import Figures, figures
from storefront.forms import WindowForm
from storefront.windows import Span


def usage_section(
    request: SignedInRequest, usage: UsageQuerySet, *, party: Party, now: datetime
) -> dict[str, Any]:
    today = now.astimezone(UTC).date()
    form = WindowForm(request.GET, today=today)
    shown = figures(usage, form.window, party=party, element=form.chosen, now=now)
    return {"now": now, "party": party, "figures": shown} | _ways_on(shown, today)


def wants_section(request: SignedInRequest) -> bool:
    """A page that the browser's history asks for again is asked for whole."""
    headers = request.headers
    return "HX-Request" in headers and "HX-History-Restore-Request" not in headers


def answer(request: SignedInRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """The page, or its section if that is all that was asked for."""
    if wants_section(request):
        template = "storefront/_usage.html"
    response = render(request, template, context)
    patch_vary_headers(response, ["HX-Request"])
    return response


def _ways_on(shown: Figures, today: date) -> dict[str, Any]:
    """Where the section's links lead: other lengths of time, and the time before and after."""
    window = shown.window
    day = today if window.holds(today) else window.first

    def to(span: Span, day: date) -> str:
        return "?" + urlencode({"span": span.value, "day": day, "element": shown.element})

    return {
        "spans": [(span.label, to(span, day), span is window.span) for span in Span],
        "previous": to(window.span, window.previous),
        "following": to(window.span, window.following) if window.following <= today else None,
    }
