"""The part of a credential's page that waits for the first call with a key."""

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from revcred.models import ExternalKey
from storefront.access import (
    SignedInRequest,
    own_credentials,
    own_ledger_scope,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.first_call import code_samples, gateway_of_first_call, latest_call_with
from storefront.views.calls import call_rows

MAX_WAIT = timedelta(minutes=15)
STOP_POLLING_STATUS = 286  # htmx puts the answer in place, and asks no more


@require_safe
@sign_in_required
def arrival_section(request: SignedInRequest, credential: int, key: int) -> HttpResponse:
    """Answer the page that waits: nothing yet, the call, or that it waits no longer."""
    mine = own_credentials(request.user)
    keys = ExternalKey.objects.filter(kind=ExternalKey.Kind.KEY, credential__in=mine)
    found = get_object_or_404(keys.select_related("gateway"), credential=credential, pk=key)
    now = timezone.now()
    row = arrival_of(request, found, now)
    if row is None and now - _moment(request.GET.get("since", ""), now) < MAX_WAIT:
        return HttpResponse(status=204)
    context = {"arrival": row, "key": found, "has_given_up": row is None}
    return render(request, "storefront/_arrival.html", context, status=STOP_POLLING_STATUS)


def first_call_context(
    request: SignedInRequest, key: ExternalKey | None, now: datetime, *, is_new: bool
) -> dict[str, Any] | None:
    """Return what shows how to make a call with the key, and waits for the first one.

    `is_new`: the key was made just now. None: there is no key to make it with.
    """
    if key is None:
        return None
    gateway = gateway_of_first_call(key)
    is_waiting = is_new or key.last_used_at is None
    return {
        "key": key,
        "gateway": gateway if gateway and gateway.public_url else None,
        "samples": code_samples(gateway),
        "is_waiting": is_waiting,
        "arrival": arrival_of(request, key, now) if is_waiting else None,
        "since": int(now.timestamp()),
    }


def arrival_of(request: SignedInRequest, key: ExternalKey, now: datetime) -> dict[str, Any] | None:
    """Return the latest call with the key as a row of the list of calls, or None."""
    user = request.user
    uncounted = own_uncounted_calls(user).made_with([key.credential_id])
    call = latest_call_with(key, own_ledger_scope(user), uncounted, now)
    return call_rows([call])[0] if call else None


def _moment(seconds: str, now: datetime) -> datetime:
    """Return the moment of so many seconds since 1970; of anything else, `now`."""
    if not seconds.isdecimal() or len(seconds) > len(str(int(now.timestamp()))):
        return now
    return datetime.fromtimestamp(int(seconds), UTC)
