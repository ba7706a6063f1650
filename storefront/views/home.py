"""The storefront's start page."""

from datetime import timedelta

from django.db.models import F, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from revcred.actions.credential_requests import offered_subscriptions
from revcred.models import Membership
from storefront.access import (
    MAX_OWNERS_NAMED,
    SignedInRequest,
    own_credentials,
    own_ledger_scope,
    own_subscriptions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.listings import (
    attach_uncounted,
    ending_keys,
    subscription_rows,
    with_listing_columns,
)
from storefront.uncounted import group_uncounted, name_credentials, waiting_calls

MAX_HOME_ROWS = 5
# Credentials that were never used come last, not first.
LAST_USED_FIRST = F("last_used_at").desc(nulls_last=True)
ENDING_SOON_PERIOD = timedelta(days=30)


def _names_of_owners(memberships: QuerySet[Membership]) -> list[str]:
    """Return the names of the owners of these customers, at most MAX_OWNERS_NAMED."""
    owners = Membership.objects.filter(
        customer__in=memberships.values("customer"), role=Membership.Role.OWNER
    )
    people = owners.select_related("subscriber").order_by("pk")[:MAX_OWNERS_NAMED]
    return [each.subscriber.name or each.subscriber.email for each in people]


@require_safe
@sign_in_required
def home_page(request: SignedInRequest) -> HttpResponse:
    """Show what ends soon, credentials used last, and running subscriptions."""
    user, now = request.user, timezone.now()
    memberships = Membership.objects.filter(subscriber__user=user).select_related("customer")
    # Staff without a customer end up here as well: the page leads on to the administration.
    if not memberships:
        return render(request, "storefront/nothing_here.html")
    credentials = own_credentials(user)
    running = own_subscriptions(user).at(now).select_related("customer", "product")
    shown = list(
        with_listing_columns(credentials, now).order_by(LAST_USED_FIRST, "pk")[:MAX_HOME_ROWS]
    )
    groups = group_uncounted(waiting_calls(own_uncounted_calls(user), now))
    attach_uncounted(shown, groups)
    context = {
        "now": now,
        "uncounted": name_credentials(groups[:MAX_HOME_ROWS]),
        "uncounted_others": sum(group.calls for group in groups[MAX_HOME_ROWS:]),
        "memberships": memberships,
        "ending": ending_keys(credentials, now, before=now + ENDING_SOON_PERIOD)[:MAX_HOME_ROWS],
        "expiring": credentials.filter(
            revoked_at=None, expires_at__gt=now, expires_at__lte=now + ENDING_SOON_PERIOD
        ).order_by("expires_at")[:MAX_HOME_ROWS],
        "credentials": shown,
        # For who has none yet.
        "is_offered": not shown and offered_subscriptions(user).exists(),
        "owner_names": [] if shown else _names_of_owners(memberships),
        "is_owner": any(each.role == Membership.Role.OWNER for each in memberships),
        "rows": subscription_rows(
            running.order_by("customer__name", "name")[:MAX_HOME_ROWS], own_ledger_scope(user), now
        ),
    }
    return render(request, "storefront/home.html", context)
