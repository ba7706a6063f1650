"""The page of all usage, and the usage section of others.

htmx fetches the section alone when other days are chosen.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe

from metering.ledger.daily_usage import ScopedUsage, UsageStep
from metering.ledger.gateway_usage import TooMuchUsage, sum_by_gateway
from metering.ledger.scope import LedgerScope
from metering.models.transactions import QuarantinedQuerySet
from metering.models.usage import UsageParty
from revcred.models import Assignment
from storefront.access import (
    SignedInRequest,
    own_credentials,
    own_ledger_scope,
    own_subscriptions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.figures import (
    EARLIER_NAME,
    MAX_ELEMENTS_DRAWN,
    UNCOUNTED_NAME,
    PartyUsage,
    UsageByGateway,
    UsageByOwner,
    UsageChart,
    build_element_charts,
    build_usage_chart,
)
from storefront.forms import UsageForm, UsagePageForm
from storefront.windows import CalendarSpan, DateRange


@require_safe
@sign_in_required
def usage_page(request: SignedInRequest) -> HttpResponse:
    """Show usage of everything the user sees, by whatever was chosen."""
    user, now = request.user, timezone.now()
    form = UsagePageForm(
        request.GET,
        today=now.astimezone(UTC).date(),
        choices={"credential": own_credentials(user), "subscription": own_subscriptions(user)},
    )
    scope, uncounted = own_ledger_scope(user), own_uncounted_calls(user)
    subscription = form.cleaned_data.get("subscription")
    credential = form.cleaned_data.get("credential")
    if subscription:
        scope = scope.of_subscription(subscription.pk)
        charged = Assignment.objects.filter(subscription=subscription)
        uncounted = uncounted.made_with(charged.values("credential"))
    if credential:
        uncounted = uncounted.made_with([credential.pk])
    number = credential.pk if credential else None
    sums = partial(_scoped_usage, scope, number)
    context: dict[str, Any]
    match form.split:
        case form.Split.ELEMENT:
            charts = build_element_charts(
                lambda window: sums(window).by_element_and_start(),
                uncounted,
                form.window,
                choice=form.chosen,
                now=now,
            )
            context = _section_context(form, charts, "element", now)
        case form.Split.GATEWAY:
            context = _gateway_context(form, scope, number, uncounted, now)
        case form.Split.CREDENTIAL:
            context = _owner_context(form, sums, "credential", uncounted, now)
        case _:
            context = _owner_context(form, sums, "subscription", uncounted, now)
    return render_page_or_section(request, "storefront/usage.html", context)


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
    form = UsageForm(request.GET, today=now.astimezone(UTC).date())
    sums = partial(_scoped_usage, scope, credential)
    return _owner_context(form, sums, party, uncounted, now)


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


def _scoped_usage(scope: LedgerScope, credential: int | None, window: DateRange) -> ScopedUsage:
    return ScopedUsage(
        scope, start=window.start, end=window.end, step=_step(window), credential=credential
    )


def _step(window: DateRange) -> UsageStep:
    return cast("UsageStep", window.step.value)


def _owner_context(
    form: UsageForm,
    sums: Callable[[DateRange], ScopedUsage],
    party: UsageParty,
    uncounted: QuarantinedQuerySet,
    now: datetime,
) -> dict[str, Any]:
    """Return the context of a section with the usage of each credential or subscription."""

    def usage_in(window: DateRange) -> PartyUsage:
        return UsageByOwner(sums(window), party)

    chart = build_usage_chart(
        usage_in, uncounted, form.window, party=party, choice=form.chosen, now=now
    )
    return _section_context(form, [chart], party, now)


def _gateway_context(
    form: UsageForm,
    scope: LedgerScope,
    credential: int | None,
    uncounted: QuarantinedQuerySet,
    now: datetime,
) -> dict[str, Any]:
    """Return the context of a section with the usage of each gateway, unless it takes too long."""

    def usage_in(window: DateRange) -> PartyUsage:
        return UsageByGateway(
            sum_by_gateway(
                scope,
                start=window.start,
                end=window.end,
                step=_step(window),
                credential=credential,
            )
        )

    try:
        chart = build_usage_chart(
            usage_in, uncounted, form.window, party="gateway", choice=form.chosen, now=now
        )
    except TooMuchUsage:
        return _section_context(form, [], "gateway", now) | {"took_too_long": True}
    return _section_context(form, [chart], "gateway", now)


def _section_context(
    form: UsageForm, charts: list[UsageChart], party: str, now: datetime
) -> dict[str, Any]:
    """Return the charts, and links to other days and to the same days with a series on or off."""
    window = form.window
    element = {"element": charts[0].element} if charts and party != "element" else {}
    kept = form.kept | element
    off = set(kept.pop("off"))
    days = _days_of(window)

    def to(**fields: Any) -> str:
        return "?" + urlencode(kept | fields | {"off": sorted(off)}, doseq=True)

    def switched(key: str) -> str:
        return "?" + urlencode(kept | days | {"off": sorted(off ^ {key})}, doseq=True)

    # From a month to a day: today if it is in that month, else the month's first day.
    day = form.today if window.contains(form.today) else window.first
    elements = charts[0].elements if charts else {}
    return {
        "now": now,
        "form": form,
        "party": party,
        "charts": [
            {
                "figures": chart,
                "series": [(each, switched(each.key)) for each in chart.series],
                "switch_uncounted": switched(UNCOUNTED_NAME),
                "switch_earlier": switched(EARLIER_NAME),
            }
            for chart in charts
        ],
        "window": window,
        "elements": elements,
        "element": element.get("element"),
        "elements_not_drawn": len(elements) - MAX_ELEMENTS_DRAWN if party == "element" else 0,
        "all_shown": "?" + urlencode(kept | days, doseq=True),
        "spans": [(s.label, to(span=s.value, day=day), s is window.span) for s in CalendarSpan],
        "previous": to(**_days_of(window.before)),
        "following": to(**_days_of(window.after)) if window.following <= form.today else None,
    }


def _days_of(window: DateRange) -> dict[str, Any]:
    """Return the fields of an address that name these days."""
    if window.span:
        return {"span": window.span.value, "day": window.first}
    return {"since": window.first, "until": window.last}
