"""The list of calls, counted or not."""

from typing import Any

from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from metering.customer_calls import ListedCall, SearchTookTooLong, list_calls
from revcred.models import Credential, Gateway, Subscription
from storefront.access import (
    SignedInRequest,
    own_credentials,
    own_ledger_scope,
    own_subscriptions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.forms import CallFilterForm, CallSearchForm
from storefront.refused_calls import address_of_receipt
from storefront.uncounted import reason_text

CALLS_PER_PAGE = 50


@require_http_methods(["GET", "HEAD", "POST"])
@sign_in_required
def calls_page(request: SignedInRequest) -> HttpResponse:
    """List the user's calls, or answer a posted search with its URL."""
    mine = own_credentials(request.user)
    if request.method == "POST":
        search = CallSearchForm(request.POST)
        if refused := search.find_refused_call(mine):
            return HttpResponseRedirect(address_of_receipt(refused))
        query = search.address_of(mine, is_own_id=lambda term: _is_own_id(request, term))
        address = reverse("storefront:calls")
        return HttpResponseRedirect(f"{address}?{urlencode(query)}" if query else address)
    form = _filter_form(request, request.GET)
    context: dict[str, Any] = {"form": form, "search": CallSearchForm(), "rows": []}
    try:
        # One more than is shown tells that there are more.
        found = _own_calls(request, form, rows=CALLS_PER_PAGE + 1)
    except SearchTookTooLong:
        context["took_too_long"] = True
    else:
        shown = found[:CALLS_PER_PAGE]
        context["rows"] = call_rows(shown)
        if len(found) > CALLS_PER_PAGE:
            last = shown[-1].position
            context["before"] = f"{last.occurred_at.isoformat()}_{last.id}"
    return render(request, "storefront/calls.html", context)


def _filter_form(request: SignedInRequest, data: QueryDict) -> CallFilterForm:
    return CallFilterForm(
        data,
        credentials=own_credentials(request.user),
        subscriptions=own_subscriptions(request.user),
        today=timezone.now().date(),
    )


def _own_calls(request: SignedInRequest, form: CallFilterForm, *, rows: int) -> list[ListedCall]:
    """Return the user's calls that the form asks for. Raises SearchTookTooLong."""
    return list_calls(
        own_ledger_scope(request.user),
        own_uncounted_calls(request.user),
        form.chosen,
        after=form.position,
        rows=rows,
    )


def _is_own_id(request: SignedInRequest, term: str) -> bool:
    """Return True if a call of the user's was sent under this id."""
    data = QueryDict(mutable=True)
    data["id"] = term
    try:
        return bool(_own_calls(request, _filter_form(request, data), rows=1))
    except SearchTookTooLong:
        return False


def call_rows(calls: list[ListedCall]) -> list[dict[str, Any]]:
    """Return each call with its credential, subscription and gateway, and why it is not counted."""
    credentials = Credential.objects.in_bulk({call.credential_id for call in calls} - {None})
    subscriptions = Subscription.objects.in_bulk({call.subscription_id for call in calls} - {None})
    gateways = Gateway.objects.in_bulk({call.gateway_id for call in calls})
    return [
        {
            "call": call,
            "credential": credentials.get(call.credential_id or 0),
            "subscription": subscriptions.get(call.subscription_id or 0),
            "gateway": gateways.get(call.gateway_id),
            "because": reason_text(call.reason).because if call.reason else "",
        }
        for call in calls
    ]
