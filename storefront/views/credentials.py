"""Pages of a subscriber's credentials, and the reveal of their keys."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_noop, ngettext
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_safe

from metering.key_calls import TooManyCalls, count_calls_of_keys
from metering.verification import figures
from revcred.accounts.second_factor import was_confirmed_lately
from revcred.actions import credentials, teams
from revcred.actions.credential_requests import offered_subscriptions
from revcred.actions.own_credentials import RESTORABLE_PERIOD
from revcred.actions.permitted_actions import REVEAL, permitted_actions
from revcred.models import Credential, CredentialRequest, ExternalKey, Gateway
from storefront.access import (
    SignedInRequest,
    check_may_manage,
    confirm_password,
    never_cached,
    own_credentials,
    own_ledger_scope,
    own_transactions,
    own_uncounted_calls,
    sign_in_required,
)
from storefront.forms import ConfirmPasswordForm, CredentialListForm, CredentialSearchForm
from storefront.history import history_of
from storefront.listings import (
    ORDER_COLUMNS,
    CredentialsOrder,
    CredentialsShown,
    attach_uncounted,
    count_credentials,
    narrow_credentials,
    with_listing_columns,
)
from storefront.refused_calls import RECEIPT_PARAMETER, find_own_receipt
from storefront.uncounted import group_uncounted, waiting_calls
from storefront.views.first_call import first_call_context
from storefront.views.usage import render_page_or_section, usage_context, wants_section

KEY_IN_STOREFRONT_URL_MESSAGE = gettext_noop(
    "The address of that page contained a key, which would be kept in histories"
    " and logs. Use the search below instead: it keeps keys out of the address."
)
CREDENTIALS_PER_PAGE = 25
MAX_REQUESTS = 50
REJECTED_REQUEST_AGE = timedelta(days=30)
MAX_LATEST_ROWS = 10
LATEST_TRANSACTIONS_AGE = timedelta(days=31)

CONFIRM_MESSAGE = gettext_noop("Enter your password to confirm that it is you.")
# For each error of a reveal, the title and text of the answer.
NOT_REVEALED: Mapping[type[Exception], tuple[str, str]] = {
    credentials.RevealsPaused: (
        gettext_noop("Confirm that it is you"),
        (
            gettext_noop(
                "Your sign-in address was changed. To reveal keys and secrets again, confirm"
                " the change with your password."
            )
        ),
    ),
    credentials.TooManyReveals: (
        gettext_noop("Too many keys in a short time"),
        (
            gettext_noop(
                "You have revealed many different keys within a few minutes. Wait {wait}, then"
                " reveal the next one. The owners have been told."
            )
        ),
    ),
    credentials.CredentialRevoked: (
        gettext_noop("This credential is revoked"),
        gettext_noop("Its keys no longer work, so they cannot be revealed."),
    ),
    credentials.NothingToReveal: (
        gettext_noop("There is no {what} to reveal"),
        gettext_noop(
            "Either none is stored, or {customer} is suspended. Ask whoever provides your API."
        ),
    ),
    credentials.RevealNotPermitted: (
        gettext_noop("Your provider does not show this {what}"),
        gettext_noop(
            "Keys and secrets of this product are not revealed. Ask whoever provides your API."
        ),
    ),
    credentials.SealedValueDamaged: (
        gettext_noop("The {what} could not be decrypted"),
        gettext_noop(
            "The stored value is damaged. This has been recorded. Tell whoever provides your API."
        ),
    ),
}

logger = logging.getLogger(__name__)


@require_http_methods(["GET", "HEAD", "POST"])
@sign_in_required
def credentials_page(request: SignedInRequest) -> HttpResponse:
    """List the user's credentials, or answer a posted search with its URL."""
    now = timezone.now()
    mine = own_credentials(request.user)
    if request.method == "POST":
        return _redirect_to_listing(CredentialSearchForm(request.POST).address_of(mine))
    search = CredentialSearchForm(request.GET)
    # A key came with the URL, perhaps from a bookmark: get rid of it.
    if search.has_a_key(mine):
        messages.warning(request, gettext(KEY_IN_STOREFRONT_URL_MESSAGE))
        return _redirect_to_listing({})
    found, chosen = search.narrow(mine), CredentialListForm(request.GET)
    rows = with_listing_columns(narrow_credentials(found, chosen.shown, now), now)
    pages = Paginator(rows.order_by(*ORDER_COLUMNS[chosen.ordered]), CREDENTIALS_PER_PAGE)
    page = pages.get_page(request.GET.get("page"))
    waiting = waiting_calls(own_uncounted_calls(request.user), now)
    attach_uncounted(page, group_uncounted(waiting.made_with([row.pk for row in page])))
    requests = CredentialRequest.objects.visible_to(request.user).filter(
        Q(decided_at=None)
        | Q(state=CredentialRequest.State.REJECTED, decided_at__gt=now - REJECTED_REQUEST_AGE)
    )
    context = {
        "page": page,
        "search": search,
        "chosen": chosen,
        "chips": _chips(count_credentials(found, now), chosen.shown),
        "orders": CredentialsOrder,
        "now": now,
        "is_offered": offered_subscriptions(request.user).exists(),
        "requests": requests.select_related("subscription", "subscriber")[:MAX_REQUESTS],
    }
    return render(request, "storefront/credentials.html", context)


def _chips(counts: dict[str, int], shown: str) -> list[tuple[str, str, int, bool]]:
    """Return value, label and number of each choice that shows something, and if it is chosen."""
    return [
        (choice.value, str(choice.label), counts[choice], choice == shown)
        for choice in CredentialsShown
        if counts[choice] or choice in {CredentialsShown.ALL, shown}
    ]


def _redirect_to_listing(query: dict[str, str]) -> HttpResponse:
    address = reverse("storefront:credentials")
    return HttpResponseRedirect(f"{address}?{urlencode(query)}" if query else address)


@require_safe
@sign_in_required
def credential_page(request: SignedInRequest, credential: int) -> HttpResponse:
    """Show one credential with its usage."""
    now = timezone.now()
    mine = own_credentials(request.user).with_suspended(now).with_charged(now)
    found = get_object_or_404(mine.select_related("customer"), pk=credential)
    scope = own_ledger_scope(request.user)
    uncounted = own_uncounted_calls(request.user).made_with([found.pk])
    context = usage_context(
        request, scope, uncounted, party="subscription", now=now, credential=found.pk
    )
    if not wants_section(request):
        context |= _credential_context(request, found, now)
        context["uncounted"] = group_uncounted(waiting_calls(uncounted, now))
        context["may_change_holders"] = (
            found.customer_id in scope.customers
            and found.revoked_at is None
            and teams.ACTION in settings.SUBSCRIBER_ACTIONS
        )
    return render_page_or_section(request, "storefront/credential.html", context)


def _credential_context(
    request: SignedInRequest, credential: Credential, now: datetime
) -> dict[str, Any]:
    """Return what the page shows besides usage."""
    permitted = permitted_actions(credential)
    may_manage = credential.may_be_managed_by(request.user) and not credential.revoked_at
    keys = list(credential.keys.select_related("gateway", "use").with_sealed())
    assignments = list(credential.assignments.select_related("subscription__product"))
    new_key = _new_key(request, keys)
    callable_keys = [
        key for key in keys if key.kind == ExternalKey.Kind.KEY and not _is_ended_key(key, now)
    ]
    # Nothing is to be called with a credential that ended.
    is_over = credential.state_at(now, suspended=False) is not Credential.State.ACTIVE
    latest = (
        own_transactions(request.user)
        .standing()
        .filter(
            credential=credential,
            # The ledger's index begins with the subscription, so naming them makes this quick.
            subscription__in={assignment.subscription_id for assignment in assignments},
            occurred_at__gt=now - LATEST_TRANSACTIONS_AGE,
        )
    )
    receipt = find_own_receipt(
        request.GET.get(RECEIPT_PARAMETER, ""), Credential.objects.filter(pk=credential.pk)
    )
    return {
        "credential": credential,
        "holders": credential.holders.all(),
        "keys": [key for key in keys if not _is_ended_key(key, now)],
        "ended_keys": [key for key in keys if _is_ended_key(key, now)],
        "may_manage": may_manage,
        "may_reveal": may_manage and REVEAL in permitted,
        "permitted": permitted,
        "suspension": credential.suspensions.at(now).first(),
        "rotation": _rotation(keys, now),
        "new_key": new_key,
        "first_call": first_call_context(
            request,
            None if is_over else new_key or next(iter(callable_keys), None),
            now,
            is_new=new_key is not None,
        ),
        "password": None
        if was_confirmed_lately(request)
        else ConfirmPasswordForm(user=request.user),
        "assignments": assignments,
        "refused": [
            figure
            for figure in figures.refused_of(credential.pk, MAX_LATEST_ROWS)
            if not figure.observed
        ],
        "latest_refused": figures.latest_refused_of(credential.pk),
        "receipt": receipt,
        "receipt_advice": gettext(figures.advice_on(receipt.code)) if receipt else "",
        "history": history_of(credential),
        "transactions": latest.select_related("subscription")[:MAX_LATEST_ROWS],
    }


def _rotation(keys: list[ExternalKey], now: datetime) -> dict[str, Any] | None:
    """Return the keys of a rotation that is under way or was lately, with their calls."""
    of_rotation = [
        key
        for key in keys
        if key.kind == ExternalKey.Kind.KEY
        and key.active_from <= now
        and key.outlasts(now - RESTORABLE_PERIOD)
    ]
    old = [key for key in of_rotation if key.active_until]
    if not old:
        return None
    try:
        calls = count_calls_of_keys(of_rotation, now)
    except TooManyCalls:
        calls = {}
    gateways = Gateway.objects.in_bulk({pk for each in calls.values() for pk in each.gateways})
    return {
        "rows": [
            {
                "key": key,
                "calls": calls.get(key.pk),
                "gateways": [gateways[pk] for pk in calls[key.pk].gateways] if calls else [],
                "has_ended": _is_ended_key(key, now),
            }
            for key in of_rotation
        ],
        "is_counted": bool(calls),
        "most": max((amount for each in calls.values() for amount in each.amounts), default=0),
        "in_use": [
            key for key in old if calls and calls[key.pk].last_hours and not _is_ended_key(key, now)
        ],
    }


def _new_key(request: SignedInRequest, keys: list[ExternalKey]) -> ExternalKey | None:
    """Return the key that the person has just made, which the page's address names."""
    number = request.GET.get("new", "")
    return next((key for key in keys if str(key.pk) == number), None)


def _is_ended_key(key: ExternalKey, now: datetime) -> bool:
    return key.active_until is not None and key.active_until <= now


@never_cached
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
@sign_in_required
def reveal_page(
    request: SignedInRequest, credential: int, key: int, field: credentials.RevealableField
) -> HttpResponse:
    """On GET tell what will happen; on POST confirm who asks, unless done lately, and reveal.

    `field`: value or secret. Raises PermissionDenied for viewers.
    """
    mine = own_credentials(request.user).select_related("customer")
    found = get_object_or_404(mine, pk=credential)
    # A key that ended opens nothing any more, so there is no reason to show it.
    its_key = get_object_or_404(found.keys.not_ended_at(timezone.now()), pk=key)
    check_may_manage(request.user, found)
    context = {"credential": found, "key": its_key, "what": "key" if field == "value" else "secret"}
    if request.method == "POST":
        return _confirm_and_reveal(request, its_key, field, context)
    form = None if was_confirmed_lately(request) else ConfirmPasswordForm(user=request.user)
    return render(request, "storefront/reveal.html", context | {"form": form})


def _confirm_and_reveal(
    request: SignedInRequest,
    key: ExternalKey,
    field: credentials.RevealableField,
    context: dict[str, Any],
) -> HttpResponse:
    """Reveal if the password is right, or was confirmed lately."""
    is_asked = not was_confirmed_lately(request)
    form = ConfirmPasswordForm(request.POST, user=request.user) if is_asked else None
    if confirm_password(request, form):
        return _reveal(request, key, field, context)
    if _wants_json(request):
        problems = form.errors.get("password") if form else None
        problem = (
            problems[0] if problems and request.POST.get("password") else gettext(CONFIRM_MESSAGE)
        )
        return JsonResponse({"problem": problem, "password": True}, status=403)
    return render(request, "storefront/reveal.html", context | {"form": form}, status=403)


def _wants_json(request: SignedInRequest) -> bool:
    """Return True if reveal.js asks, which shows the answer in place."""
    return request.headers.get("Accept") == "application/json"


@sensitive_variables("text")
def _reveal(
    request: SignedInRequest,
    key: ExternalKey,
    field: credentials.RevealableField,
    context: dict[str, Any],
) -> HttpResponse:
    """Reveal the key or secret, or tell why it cannot be."""
    address = get_adapter().get_client_ip(request)
    try:
        text = credentials.reveal_key(key=key, field=field, by=request.user, address=address)
    except credentials.RevealsPaused as error:
        response = _not_revealed(request, error, context)
    except credentials.TooManyReveals as error:
        response = _not_revealed(request, error, context, status=429)
        response["Retry-After"] = str(error.wait_seconds)
    except (
        credentials.CredentialRevoked,
        credentials.NothingToReveal,
        credentials.RevealNotPermitted,
    ) as error:
        response = _not_revealed(request, error, context)
    except credentials.SealedValueDamaged as error:
        # Without a traceback, whose frames hold what was being opened.
        logger.error("The %s of key %s cannot be unsealed", context["what"], key.pk)  # noqa: TRY400
        response = _not_revealed(request, error, context)
    else:
        if _wants_json(request):
            return JsonResponse({"text": text})
        return render(request, "storefront/revealed.html", context | {"text": text})
    return response


def _not_revealed(
    request: SignedInRequest, error: Exception, context: dict[str, Any], *, status: int = 409
) -> HttpResponse:
    """Tell why nothing is revealed."""
    title, sentence = map(gettext, NOT_REVEALED[type(error)])
    what = gettext("key") if context["what"] == "key" else gettext("secret")
    minutes = -(-getattr(error, "wait_seconds", 0) // 60)
    problem = sentence.format(
        what=what,
        customer=context["credential"].customer,
        wait=ngettext("%(number)s minute", "%(number)s minutes", minutes) % {"number": minutes},
    )
    if _wants_json(request):
        return JsonResponse({"problem": problem}, status=status)
    link = reverse("account_resume_reveals") if isinstance(error, credentials.RevealsPaused) else ""
    told = {"title": title.format(what=what), "problem": problem, "link": link}
    return render(request, "storefront/not_revealed.html", context | told, status=status)
