from typing import Any

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone

from revcred.models import Subscription
from storefront.access import (
    SignedInRequest,
    own_subscriptions,
    own_transactions,
    own_usage,
    owns,
    signed_in,
)
from storefront.listings import with_calls
from storefront.views.usage import answer, usage_section, wants_section
from storefront.windows import Span, Window

PER_PAGE = 25
LATEST = 10


@signed_in
def listing(request: SignedInRequest) -> HttpResponse:
    now = timezone.now()
    mine = own_subscriptions(request.user).select_related("customer", "product")
    pages = Paginator(mine.order_by("customer__name", "name", "pk"), PER_PAGE)
    page = pages.get_page(request.GET.get("page"))
    context = {"page": page, "rows": with_calls(page, request.user, now), "now": now}
    return render(request, "storefront/subscriptions.html", context)


@signed_in
def page(request: SignedInRequest, subscription: int) -> HttpResponse:
    mine = own_subscriptions(request.user).select_related("customer", "product")
    found = get_object_or_404(mine, pk=subscription)
    now = timezone.now()
    usage = own_usage(request.user).filter(subscription=found)
    context = usage_section(request, usage, party="credential", now=now)
    if not wants_section(request):
        context |= _around(request, found)
    return answer(request, "storefront/subscription.html", context)


def _around(request: SignedInRequest, subscription: Subscription) -> dict[str, Any]:
    """What stands on the page beside its usage."""
    month = Window.holding(timezone.now().date(), Span.MONTH)
    usage = own_usage(request.user).filter(subscription=subscription)
    latest = own_transactions(request.user).of(subscription).standing()
    return {
        "subscription": subscription,
        "owned": owns(request.user, subscription.customer),
        "calls_this_month": usage.between(month.start, month.end).of_calls(),
        "transactions": latest.select_related("credential")[:LATEST],
    }
