"""Second factor at sign-in: who needs one, how it is sealed, and the record of every change.

allauth.mfa does the work: codes of an authenticator app, passkeys, recovery codes. Its sign-in asks
for the factor of whoever has one. A passkey that has checked a fingerprint, a face or a PIN is both
factors at once, so it signs in without a password. This module adds that staff need one, that a
session without the factor opens nothing, and that every change is recorded and told by mail.
"""

import time
from typing import Any, ClassVar

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from allauth.mfa import signals
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt, encrypt
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.contrib import messages
from django.db.models.signals import post_delete, post_save
from django.db.transaction import atomic
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, resolve_url
from django.utils.http import urlencode
from django.utils.translation import gettext, gettext_noop

from revcred.actions import second_factors
from revcred.crypto import seal_text, unseal_text
from revcred.models import User
from revcred.runtime.middleware import GetResponse
from revcred.texts import gettext_lazy

AUTHENTICATOR_PLACE = "mfa.authenticator"  # the place that sealed texts name
FACTOR_TYPES = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
# Pages on which a factor is shown, and signing out. Guarding them would lock everybody out.
UNGUARDED_URL_NAMES = {
    "mfa_authenticate",
    "mfa_reauthenticate",
    "mfa_reauthenticate_webauthn",
    "logout",
}
# Pages of one's login besides those about factors that ask for a fresh confirmation.
CONFIRMED_URL_NAMES = {"account_sessions", "account_set_password"}
NOTHING_CONFIRMS_MESSAGE = gettext_noop(
    "You need a password to confirm that it is you. Choose one by mail."
)


class SealingMfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Seals the secrets that codes are made from under FERNET_KEYS, like all other secrets."""

    error_messages: ClassVar[dict[str, Any]] = DefaultMFAAdapter.error_messages | {
        "passkey_not_accepted": gettext_lazy("This passkey was not accepted. Try again.")
    }

    def encrypt(self, text: str) -> str:
        return seal_text(text, to=AUTHENTICATOR_PLACE)

    def decrypt(self, encrypted_text: str) -> str:
        return unseal_text(encrypted_text, to=AUTHENTICATOR_PLACE)

    def generate_authenticator_name(self, user: Any, type: Any) -> str:  # noqa: A002 - allauth's name
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return gettext("Passkey %(number)s") % {"number": count + 1}


@atomic
def reseal_authenticator(authenticator: Authenticator) -> None:
    """Seal an authenticator's secret under the newest of FERNET_KEYS. Raises CannotUnseal."""
    row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
    # allauth keeps the app's key as "secret", and the seed of recovery codes as "seed".
    name = "secret" if row.type == Authenticator.Type.TOTP else "seed"
    row.data[name] = encrypt(decrypt(row.data[name]))
    row.save(update_fields=["data"])


def is_factor_required(user: User) -> bool:
    """Return True if this user may not open the administration without a second factor."""
    return user.is_staff and settings.STAFF_SECOND_FACTOR != "optional"


def has_factor(user: User) -> bool:
    """Return True if the user has an app or a passkey. Recovery codes alone do not count."""
    return bool(Authenticator.objects.filter(user=user, type__in=FACTOR_TYPES).exists())


def was_factor_passed(request: HttpRequest) -> bool:
    """Return True if this session has shown a second factor of the signed-in user."""
    records = get_authentication_records(request, request.user)
    return any(record.get("method") == "mfa" for record in records)


def was_factor_passed_lately(request: HttpRequest) -> bool:
    """Return True if the factor was shown within ACCOUNT_REAUTHENTICATION_TIMEOUT seconds."""
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, request.user)
    return any(record.get("method") == "mfa" and record.get("at", 0) > since for record in records)


def was_confirmed_lately(request: HttpRequest) -> bool:
    """Return True if this session was asked lately who is there: by password, passkey or code.

    Within ACCOUNT_REAUTHENTICATION_TIMEOUT seconds. allauth's own check lets people pass who have
    nothing to confirm with; this one does not. Signing in is no confirmation.
    """
    since = time.time() - settings.ACCOUNT_REAUTHENTICATION_TIMEOUT
    records = get_authentication_records(request, request.user)
    return any(record.get("reauthenticated") and record["at"] > since for record in records)


def ask_unless_confirmed_lately(request: HttpRequest) -> HttpResponse | None:
    """Return a redirect to a page that asks who is there, or None if that was confirmed lately.

    For pages that create what outlives the session. Whoever has or needs a second factor is asked
    for it, everybody else for the password.
    """
    user: Any = request.user
    if is_factor_required(user) or has_factor(user):
        return None if was_factor_passed_lately(request) else _ask_for_factor(request)
    if user.has_usable_password() and did_recently_reauthenticate(request):
        return None
    return _ask_at("account_reauthenticate", request)


class SecondFactorMiddleware:
    """Keeps sessions without the factor out of the administration and the pages about factors.

    A session may be older than its user's factor, or may have been made in another way than by
    allauth's sign-in. So the session itself is asked, not the page that made it.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        match = request.resolver_match
        if match is None or match.url_name in UNGUARDED_URL_NAMES:
            return None
        if (
            match.url_name in CONFIRMED_URL_NAMES or str(match.url_name).startswith("mfa_")
        ) and isinstance(request.user, User):
            asked = _ask_without_password(request)
            if asked is not None:
                return asked
        is_admin = "admin" in match.app_names
        is_about_factors = str(match.url_name).startswith("mfa_")
        if not (is_admin or is_about_factors) or not isinstance(request.user, User):
            return None
        required = is_factor_required(request.user)
        request.second_factor_required = required  # type: ignore[attr-defined] # for templates
        passed = was_factor_passed(request)
        if passed and not (required and is_admin):
            return None
        # Staff without a factor may open nothing but the page on which to set one up.
        if not has_factor(request.user):
            return redirect("mfa_index") if required and is_admin else None
        return None if passed else _ask_for_factor(request)


def _ask_without_password(request: HttpRequest) -> HttpResponse | None:
    """Return a redirect to the company's sign-in, or to the mail with which to choose a password.

    For people with neither password nor factor, whom allauth would let pass. A passkey or password
    that is added by whoever finds the session open would be enough for reveals.
    """
    user: Any = request.user
    if user.has_usable_password() or has_factor(user) or was_confirmed_lately(request):
        return None
    if SocialAccount.objects.filter(user=user).exists():
        return _ask_at("account_confirm_at_company", request)
    messages.warning(request, gettext(NOTHING_CONFIRMS_MESSAGE))
    return redirect("account_reset_password")


def _ask_for_factor(request: HttpRequest) -> HttpResponse:
    """Redirect to the page that asks for the factor, and back to this one afterwards."""
    # Whoever has an app is asked for a code; that page offers the passkey as well.
    by_code = Authenticator.objects.filter(user=request.user, type=Authenticator.Type.TOTP)
    page = "mfa_reauthenticate" if by_code.exists() else "mfa_reauthenticate_webauthn"
    return _ask_at(page, request)


def _ask_at(page: str, request: HttpRequest) -> HttpResponse:
    # What was posted is not kept: after the factor the person sees the page and decides again.
    wanted = request.get_full_path() if request.method == "GET" else request.path
    return redirect(f"{resolve_url(page)}?{urlencode({'next': wanted})}")


def connect_factor_signals() -> None:
    """Listen to every way in which an authenticator is added, removed, used or guessed."""
    post_save.connect(_on_authenticator_saved, sender=Authenticator)
    post_delete.connect(_on_authenticator_deleted, sender=Authenticator)
    signals.authenticator_added.connect(_on_authenticator_added)
    signals.authenticator_used.connect(_on_authenticator_used)


def _on_authenticator_saved(instance: Authenticator, *, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        second_factors.record_factor_added(authenticator=instance)


def _on_authenticator_deleted(instance: Authenticator, **_: Any) -> None:
    second_factors.record_factor_removed(authenticator=instance)


def _on_authenticator_added(
    request: HttpRequest, user: User, authenticator: Authenticator, **_: Any
) -> None:
    """Count the session as passed: adding a factor takes a code or a touch of it."""
    if authenticator.type in FACTOR_TYPES:
        record_authentication(request, user, "mfa", id=authenticator.pk, type=authenticator.type)


def _on_authenticator_used(authenticator: Authenticator, **_: Any) -> None:
    if authenticator.type == Authenticator.Type.RECOVERY_CODES:
        second_factors.record_recovery_code_used(authenticator=authenticator)
