"""Pages of a subscriber's subscriptions."""

from decimal import Decimal
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from metering.ledger.daily_usage import ScopedUsage
from metering.ledger.scope import LedgerScope
from metering.models.usage import CALLS_ELEMENT
from revcred.models import Assignment, Subscription
from storefront.access import (
    SignedInRequest,
    own_ledger_scope,
    own_subscriptions,
    own_transactions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.listings import subscription_rows
from storefront.uncounted import group_uncounted, waiting_calls
from storefront.views.usage import render_page_or_section, usage_context, wants_section
from storefront.windows import CalendarSpan, DateRange

SUBSCRIPTIONS_PER_PAGE = 25
MAX_LATEST_TRANSACTIONS = 10


@require_safe
@sign_in_required
def subscriptions_page(request: SignedInRequest) -> HttpResponse:
    """List the user's subscriptions."""
    now = timezone.now()
    mine = own_subscriptions(request.user).select_related("customer", "product")
    pages = Paginator(mine.order_by("customer__name", "name", "pk"), SUBSCRIPTIONS_PER_PAGE)
    page = pages.get_page(request.GET.get("page"))
    rows = subscription_rows(page, own_ledger_scope(request.user), now)
    context = {"page": page, "rows": rows, "now": now}
    return render(request, "storefront/subscriptions.html", context)


@require_safe
@sign_in_required
def subscription_page(request: SignedInRequest, subscription: int) -> HttpResponse:
    """Show one subscription with its usage."""
    mine = own_subscriptions(request.user).select_related("customer", "product")
    found = get_object_or_404(mine, pk=subscription)
    now = timezone.now()
    scope = own_ledger_scope(request.user).of_subscription(found.pk)
    charged = Assignment.objects.filter(subscription=found).values("credential")
    uncounted = own_uncounted_calls(request.user).made_with(charged)
    context = usage_context(request, scope, uncounted, party="credential", now=now)
    # htmx asks for usage only: leave out the queries of the rest of the page.
    if not wants_section(request):
        context |= _subscription_context(request, found, scope)
        context["uncounted"] = group_uncounted(waiting_calls(uncounted, now))
    return render_page_or_section(request, "storefront/subscription.html", context)


def _subscription_context(
    request: SignedInRequest, subscription: Subscription, scope: LedgerScope
) -> dict[str, Any]:
    """Return what the page shows besides usage."""
    month = DateRange.holding(timezone.now().date(), CalendarSpan.MONTH)
    usage = ScopedUsage(scope, start=month.start, end=month.end)
    calls = usage.by_subscription_and_start(CALLS_ELEMENT)
    latest = own_transactions(request.user).of(subscription).standing()
    return {
        "subscription": subscription,
        "owned": subscription.customer_id in scope.customers,
        "calls_this_month": sum((amount for _, _, amount in calls), Decimal(0)),
        "transactions": latest.select_related("credential")[:MAX_LATEST_TRANSACTIONS],
    }
