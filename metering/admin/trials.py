"""Pages that answer what would become of a call: one typed in, or one posted with a test token."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from django import forms
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache

from metering import trial_calls
from metering.attribution.explanation import explain_verdict
from metering.attribution.hypothetical import HypotheticalCall, judge_calls
from metering.inbox.calls import ONE_CALL, strip_url_to_path
from metering.inbox.quantities import (
    MAX_ELEMENT_NAME_CHARACTERS,
    MAX_ELEMENTS_PER_CALL,
    UncountableQuantity,
    parse_raw_quantity,
)
from metering.models import Transaction, TrialCall
from revcred.admin_toolkit import pickers
from revcred.admin_toolkit.action_pages import ConcealedField
from revcred.admin_toolkit.datetime_field import MomentField
from revcred.external_keys import KeyTooLong, trim_key
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExternalKey, Gateway, Subscription

MAX_TRIALS_SHOWN = 10
MAX_ELEMENTS_CHARACTERS = 10_000
POST_PATH = "/v1/transactions"


class ElementsField(forms.CharField):
    """Takes what a call counts as JSON, by the rules of the door."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            max_length=MAX_ELEMENTS_CHARACTERS,
            help_text='What is counted, such as {"calls": 1, "bytes": 512}. Empty: one call.',
        )

    def clean(self, value: Any) -> dict[str, int | Decimal]:
        text = super().clean(value)
        if not text:
            return ONE_CALL
        try:
            found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        except msgspec.MsgspecError as error:
            message = "Enter an object of JSON, with names and numbers."
            raise forms.ValidationError(message) from error
        if not 1 <= len(found) <= MAX_ELEMENTS_PER_CALL or not all(
            1 <= len(name) <= MAX_ELEMENT_NAME_CHARACTERS for name in found
        ):
            message = (
                f"A call has at most {MAX_ELEMENTS_PER_CALL} elements, with names of at most"
                f" {MAX_ELEMENT_NAME_CHARACTERS} characters."
            )
            raise forms.ValidationError(message)
        return {name: _quantity_of(name, raw) for name, raw in found.items()}


def _quantity_of(name: str, raw: msgspec.Raw) -> int | Decimal:
    try:
        return parse_raw_quantity(bytes(raw).strip())
    except UncountableQuantity as error:
        message = f"{name}: {error}"
        raise forms.ValidationError(message) from error


class WhatIfForm(forms.Form):
    """Asks for the facts of a call that attribution looks at."""

    gateway = pickers.gateway_picker()
    key = ConcealedField(
        label="Key", help_text="As the caller sends it. It is not kept, and not shown again."
    )
    credential = pickers.credential_picker(required=False)
    subscription = pickers.subscription_picker(required=False)
    occurred_at = MomentField(
        required=False, label="Moment", help_text="When the call is made. Empty: now."
    )
    path = forms.CharField(
        required=False, max_length=2_000, help_text="Such as /v1/tiles/7. It may find the source."
    )
    source = forms.CharField(
        required=False, max_length=200, help_text="A source's external key, if calls name one."
    )
    elements = ElementsField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["gateway"].required = True
        self.fields["gateway"].help_text = "The gateway that reports the call."
        self.fields["credential"].help_text = "Instead of a key: its key at that moment is used."
        self.fields["subscription"].help_text = "If calls name one, beside a key or without."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("key") and cleaned.get("credential"):
            self.add_error("credential", "Give a key or a credential, not both.")
        try:
            text = trim_key(cleaned.get("key") or "")
        except KeyTooLong as error:
            self.add_error("key", str(error))
            return cleaned
        credential: Credential | None = cleaned.get("credential")
        if not (text or credential or cleaned.get("subscription")) and not self.errors:
            self.add_error("key", "Give a key, a credential or a subscription.")
        self.fingerprint = fingerprint(text) if text else None
        if credential and cleaned.get("gateway") and not self.errors:
            key = _key_of(credential, cleaned["gateway"], cleaned.get("occurred_at"))
            if key is None:
                self.add_error("credential", "It has no key that counts at this gateway.")
            else:
                self.fingerprint = key.fingerprint
        return cleaned

    def call(self) -> HypotheticalCall:
        """Return the call that was described."""
        data = self.cleaned_data
        subscription: Subscription | None = data["subscription"]
        return HypotheticalCall(
            gateway_id=data["gateway"].pk,
            occurred_at=data["occurred_at"] or timezone.now(),
            fingerprint=self.fingerprint,
            subscription_named=subscription.external_key if subscription else None,
            source_named=data["source"] or None,
            path=strip_url_to_path(data["path"]) if data["path"] else None,
        )


def _key_of(credential: Credential, gateway: Gateway, at: Any) -> ExternalKey | None:
    """Return the credential's key of that moment at the gateway, or else its latest one there."""
    there = [key for key in credential.keys.all() if key.gateway_id in (None, gateway.pk)]
    moment = at or timezone.now()
    then = [key for key in there if key.is_active_at(moment)]
    return next(iter(then or there), None)


def what_if_page(request: HttpRequest, site: Any) -> HttpResponse:
    """Show the form, and after a POST what would become of the call. Nothing is written."""
    user: Any = request.user
    if not user.has_perms(["metering.view_transaction", "revcred.view_credential"]):
        raise PermissionDenied
    form = WhatIfForm(request.POST or None, initial=request.GET.dict())
    context = site.each_context(request) | {
        "title": "What would become of this call?",
        "subtitle": None,
        "opts": Transaction._meta,
        "form": form,
        "media": form.media,
    }
    if request.method == "POST" and form.is_valid():
        call = form.call()
        (judged,) = judge_calls([call])
        context["judged"] = judged
        context["elements"] = form.cleaned_data["elements"]
        context["hour"] = call.occurred_at.replace(minute=0, second=0, microsecond=0)
        context["steps"] = explain_verdict(call, judged, now=timezone.now())
        context["subscription"] = (
            Subscription.objects.select_related("customer").get(pk=judged.subscription_id)
            if judged.subscription_id and not judged.reason
            else None
        )
    return TemplateResponse(request, "admin/metering/what_if.html", context)


@never_cache
def try_page(request: HttpRequest, site: Any, gateway: Gateway) -> HttpResponse:
    """Show how to post a test call, and the latest ones with their receipts."""
    context = site.each_context(request) | {
        "title": "Try a call",
        "subtitle": None,
        "opts": Gateway._meta,
        "original": gateway,
        "curl": curl_for(request, "$TOKEN"),
        "has_test_token": gateway.tokens.filter(revoked_at=None, is_test=True).exists(),
        **latest_trials(gateway),
    }
    return TemplateResponse(request, "admin/metering/try.html", context)


@never_cache
def latest_trials_page(request: HttpRequest, gateway: Gateway) -> HttpResponse:
    """Answer the part of `try_page` that changes, which its script asks for every few seconds."""
    return TemplateResponse(request, "admin/metering/trials.html", latest_trials(gateway))


def trial_receipt_page(
    request: HttpRequest, site: Any, gateway: Gateway, trial_id: str
) -> HttpResponse:
    """Show the receipt of one test call, with each step of its verdict."""
    trial = _existing_trial(gateway, trial_id)
    context = site.each_context(request) | {
        "title": f"Test call {trial}",
        "subtitle": None,
        "opts": Gateway._meta,
        "original": gateway,
        "trial": trial,
    }
    if trial.call is not None:
        call, judged = trial_calls.hypothetical_call_of(trial), trial_calls.judged_call_of(trial)
        context["receipt"] = trial_calls.receipt_of_trial(trial)
        context["steps"] = explain_verdict(call, judged, now=trial.received_at)
    return TemplateResponse(request, "admin/metering/trial.html", context)


def latest_trials(gateway: Gateway) -> dict[str, Any]:
    """Return the latest test calls of a gateway, as the page shows them."""
    found = TrialCall.objects.filter(gateway=gateway).select_related("gateway")[:MAX_TRIALS_SHOWN]
    return {
        "trials": [
            (trial, trial_calls.receipt_of_trial(trial) if trial.call is not None else None)
            for trial in found
        ]
    }


def curl_for(request: HttpRequest, token: str) -> str:
    """Return a command that posts one call. The key is for the reader to fill in."""
    address = request.build_absolute_uri(POST_PATH)
    body = (
        '[{"transaction_id": "try-\'$(date +%s)\'",'
        ' "occurred_at": "\'$(date -u +%Y-%m-%dT%H:%M:%SZ)\'",'
        ' "key": "THE-KEY-OF-A-CREDENTIAL", "method": "GET", "path": "/"}]'
    )
    return (
        f"curl -sS {address} \\\n"
        f'  -H "Authorization: Bearer {token}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d '{body}'"
    )


def address_of_try(gateway: Gateway) -> str:
    """Return the address of a gateway's page for test calls."""
    return reverse("admin:revcred_gateway_try", args=[gateway.pk])


def _existing_trial(gateway: Gateway, trial_id: str) -> TrialCall:
    try:
        found = gateway.trial_calls.filter(pk=UUID(trial_id)).first()
    except ValueError:
        found = None
    if found is None:
        message = "This test call does not exist, or is older than a week."
        raise Http404(message)
    return found
