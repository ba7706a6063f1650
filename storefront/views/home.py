"""The storefront's start page."""

from datetime import datetime

from django.db.models import F, QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from metering.verification import figures
from revcred.actions.credential_requests import offered_subscriptions
from revcred.models import Credential, Membership
from storefront.access import (
    MAX_OWNERS_NAMED,
    SignedInRequest,
    own_credentials,
    own_ledger_scope,
    own_subscriptions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.listings import attach_uncounted, subscription_rows, with_listing_columns
from storefront.needs import needs_of_credentials, needs_of_subscriptions, worst_first
from storefront.uncounted import group_uncounted, name_credentials, waiting_calls

MAX_HOME_ROWS = 5
# Credentials that were never used come last, not first.
LAST_USED_FIRST = F("last_used_at").desc(nulls_last=True)
MAX_QUOTAS_JUDGED = 100


def _names_of_owners(memberships: QuerySet[Membership]) -> list[str]:
    """Return the names of the owners of these customers, at most MAX_OWNERS_NAMED."""
    owners = Membership.objects.filter(
        customer__in=memberships.values("customer"), role=Membership.Role.OWNER
    )
    people = owners.select_related("subscriber").order_by("pk")[:MAX_OWNERS_NAMED]
    return [each.subscriber.name or each.subscriber.email for each in people]


def _last_use(credential: Credential) -> datetime | None:
    """Return when a listed credential was used last."""
    moment: datetime | None = credential.last_used_at  # type: ignore[attr-defined]
    return moment


@require_safe
@sign_in_required
def home_page(request: SignedInRequest) -> HttpResponse:
    """Show what needs the user, this month's calls, and the credentials used last."""
    user, now = request.user, timezone.now()
    memberships = Membership.objects.filter(subscriber__user=user).select_related("customer")
    # Staff without a customer end up here as well: the page leads on to the administration.
    if not memberships:
        return render(request, "storefront/nothing_here.html")
    credentials = own_credentials(user)
    running = own_subscriptions(user).at(now).select_related("customer", "product")
    rows = subscription_rows(
        running.order_by("customer__name", "name")[:MAX_QUOTAS_JUDGED], own_ledger_scope(user), now
    )
    shown = list(
        with_listing_columns(credentials, now).order_by(LAST_USED_FIRST, "pk")[:MAX_HOME_ROWS]
    )
    groups = group_uncounted(waiting_calls(own_uncounted_calls(user), now))
    attach_uncounted(shown, groups)
    is_new = not groups and not any(_last_use(each) for each in shown)
    needs = worst_first(
        [
            *needs_of_subscriptions(rows),
            *needs_of_credentials(
                credentials,
                now,
                uncounted=name_credentials(groups[:MAX_HOME_ROWS]),
                refused=figures.refused_among(credentials, MAX_HOME_ROWS),
                managed={
                    each.customer_id for each in memberships if each.role != Membership.Role.VIEWER
                },
            ),
        ]
    )
    context = {
        "now": now,
        "needs": needs,
        "uncounted_others": sum(group.calls for group in groups[MAX_HOME_ROWS:]),
        "memberships": memberships,
        "credentials": shown,
        # For who has made no call yet.
        "is_new": is_new,
        "is_offered": is_new and offered_subscriptions(user).exists(),
        "owner_names": [] if shown else _names_of_owners(memberships),
        "is_owner": any(each.role == Membership.Role.OWNER for each in memberships),
        "rows": rows[:MAX_HOME_ROWS],
    }
    return render(request, "storefront/home.html", context)
