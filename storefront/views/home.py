from datetime import timedelta

from django.db.models import F
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from revcred.models import Membership
from storefront.access import SignedInRequest, own_credentials, own_subscriptions, signed_in
from storefront.listings import ending_keys, listed, with_calls

FIRST_FEW = 5
LATEST_FIRST = F("last_used_at").desc(nulls_last=True)
SOON = timedelta(days=30)


@signed_in
def home(request: SignedInRequest) -> HttpResponse:
    user, now = request.user, timezone.now()
    memberships = Membership.objects.filter(subscriber__user=user).select_related("customer")
    if not memberships:
        return render(request, "storefront/nothing_here.html")
    credentials = own_credentials(user)
    running = own_subscriptions(user).at(now).select_related("customer", "product")
    context = {
        "now": now,
        "memberships": memberships,
        "ending": ending_keys(credentials, now, before=now + SOON)[:FIRST_FEW],
        "expiring": credentials.filter(
            revoked_at=None, expires_at__gt=now, expires_at__lte=now + SOON
        ).order_by("expires_at")[:FIRST_FEW],
        "credentials": listed(credentials, now).order_by(LATEST_FIRST, "pk")[:FIRST_FEW],
        "rows": with_calls(running.order_by("customer__name", "name")[:FIRST_FEW], user, now),
    }
    return render(request, "storefront/home.html", context)
