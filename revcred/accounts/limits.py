"""Limits of signing in, and of whatever else asks for a password or a code, or sends a link.

Failures count for an account and the network that they come from, so that a stranger elsewhere
does not lock the owner out. A browser in which the owner has signed in before has a limit of its
own, and a mail with a link makes another browser one of these. The pauses between further attempts
grow.
"""

from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from allauth.account.internal.userkit import filter_users_by_email
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from revcred.accounts.devices import device_link, known_device
from revcred.accounts.hashers import HashersBusy
from revcred.actions import second_factors, sign_ins
from revcred.client_address import current_address
from revcred.limits import CountedAttempt, Limit, LimitReached, count_attempt
from revcred.models import AuditVerb, User
from revcred.outbox import queue_mail
from revcred.runtime.middleware import GetResponse

# Pages that ask for a password or a code, or send a link. Signing out is none of them.
LIMITED_URL_NAMES = ("account_", "mfa_")
UNLIMITED_URL_NAMES = {"account_logout"}
# Whose GET writes a row, too: the challenge for a passkey is kept in a session.
URL_NAMES_LIMITED_ON_GET = {"mfa_login_webauthn"}
LIMITED_VERBS = {
    "account_reset_password": AuditVerb.RESET_LIMITED,
    "account_request_login_code": AuditVerb.CODE_LIMITED,
}
MINUTE_SECONDS = 60
HOUR_SECONDS = 3600
BUSY_WAIT_SECONDS = 2


class TooManyAttempts(Exception):
    """Too many attempts were made at a login, or by one client."""

    def __init__(
        self,
        verb: AuditVerb,
        wait_seconds: int,
        user: User | None = None,
        *,
        offers_link: bool = False,
    ) -> None:
        super().__init__("Too many attempts were made.")
        self.verb, self.wait_seconds, self.user = verb, wait_seconds, user
        self.offers_link = offers_link


class LimitsMiddleware:
    """Limits how often one client may post to these pages, and answers 429 beyond any limit."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        name = request.resolver_match.url_name if request.resolver_match else None
        if name is None or name in UNLIMITED_URL_NAMES:
            return None
        if request.method != "POST" and name not in URL_NAMES_LIMITED_ON_GET:
            return None
        if not name.startswith(LIMITED_URL_NAMES):
            return None
        limit = Limit("client", settings.SIGN_IN_ATTEMPTS_PER_ADDRESS, MINUTE_SECONDS)
        try:
            count_attempt(limit, _client())
        except LimitReached as reached:
            verb = LIMITED_VERBS.get(name, AuditVerb.SIGN_IN_LIMITED)
            user = request.user if isinstance(request.user, User) else None
            return too_many_attempts_page(
                request, TooManyAttempts(verb, reached.wait_seconds, user)
            )
        return None

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if isinstance(exception, TooManyAttempts):
            return too_many_attempts_page(request, exception)
        if isinstance(exception, HashersBusy):
            return _limit_page(request, {"is_busy": True}, BUSY_WAIT_SECONDS)
        return None


def count_sign_in(request: HttpRequest, email: str) -> CountedAttempt:
    """Count a password that is about to be checked. Raises TooManyAttempts."""
    user = _user_with_address(email)
    if user and (device := known_device(request, user)):
        return _count_on_device("sign-in", user, device, AuditVerb.SIGN_IN_LIMITED)
    return _count_at_account("sign-in", email, user, AuditVerb.SIGN_IN_LIMITED)


def count_reset(email: str) -> None:
    """Count a request for a link to set a new password. Raises TooManyAttempts."""
    _count_at_account("reset", email, _user_with_address(email), AuditVerb.RESET_LIMITED)


def count_mailed_code(email: str) -> None:
    """Count a request for a sign-in code by mail. Raises TooManyAttempts."""
    _count_at_account("mailed code", email, _user_with_address(email), AuditVerb.CODE_LIMITED)


def count_code(request: HttpRequest, user: User) -> CountedAttempt:
    """Count a code of a second factor that is about to be checked. Raises TooManyAttempts."""
    if device := known_device(request, user):
        return _count_on_device("code", user, device, AuditVerb.FACTOR_LIMITED)
    # Whoever gets here knows the password, so all networks share one counter.
    try:
        return count_attempt(_failures("code"), user.pk)
    except LimitReached as reached:
        raise TooManyAttempts(
            AuditVerb.FACTOR_LIMITED, reached.wait_seconds, user, offers_link=True
        ) from None


def _count_on_device(what: str, user: User, device: str, verb: AuditVerb) -> CountedAttempt:
    try:
        return count_attempt(_failures(f"{what} on a device"), user.pk, device)
    except LimitReached as reached:
        raise TooManyAttempts(verb, reached.wait_seconds, user) from None


def _count_at_account(what: str, email: str, user: User | None, verb: AuditVerb) -> CountedAttempt:
    account = email.lower()
    of_all_networks = Limit(
        f"{what} from anywhere", settings.SIGN_IN_FAILURES_PER_ACCOUNT, HOUR_SECONDS
    )
    try:
        attempt = count_attempt(_failures(what), account, _network())
        return attempt + count_attempt(of_all_networks, account)
    except LimitReached as reached:
        is_sign_in = verb == AuditVerb.SIGN_IN_LIMITED
        raise TooManyAttempts(verb, reached.wait_seconds, user, offers_link=is_sign_in) from None


def _user_with_address(email: str) -> User | None:
    # allauth matches addresses in any case of letters; so do limits and the record.
    users = filter_users_by_email(email, prefer_verified=True) if email else []
    return users[0] if users else None


def _failures(what: str) -> Limit:
    """Return the limit of failures, after which pauses grow."""
    return Limit(
        what,
        settings.SIGN_IN_FAILURES,
        settings.SIGN_IN_FAILURE_SECONDS,
        settings.SIGN_IN_MAX_PAUSE_SECONDS,
    )


def _client() -> str:
    """Return the client's IPv4 address, or its IPv6 network: there, one client has many."""
    address = current_address()
    return address if address and ":" not in address else _network()


def _network() -> str:
    """Return the network that the client's address belongs to."""
    address = current_address()
    if address is None:  # by a socket of this machine
        return "local"
    bits_v4, bits_v6 = settings.SIGN_IN_NETWORK_BITS
    bits = bits_v6 if ":" in address else bits_v4
    return str(ip_network(f"{address}/{bits}", strict=False))


def too_many_attempts_page(request: HttpRequest, error: TooManyAttempts) -> HttpResponse:
    """Answer 429 and record it: whoever was turned away may want to know why."""
    if error.verb == AuditVerb.FACTOR_LIMITED and error.user is not None:
        second_factors.record_factor_failure(user=error.user, is_limited=True)
    else:
        sign_ins.record_throttled_event(verb=error.verb, user=error.user, address=current_address())
    if error.offers_link and error.user is not None:
        _send_device_link(error.user)
    minutes = -(-error.wait_seconds // MINUTE_SECONDS)
    # The same for an address that nobody signs in with: nobody learns which ones there are.
    context = {
        "minutes": minutes,
        "until": timezone.now() + timedelta(seconds=error.wait_seconds),
        "address": request.get_full_path(),
        "offers_link": error.offers_link,
    }
    return _limit_page(request, context, error.wait_seconds)


def _limit_page(request: HttpRequest, context: dict[str, Any], wait_seconds: int) -> HttpResponse:
    response = render(request, "429.html", context, status=429)
    response["Retry-After"] = str(wait_seconds)
    return response


def _send_device_link(user: User) -> None:
    """Send the owner a link that lifts the limit in one browser, at most once an hour."""
    if not user.is_active:
        return
    try:
        count_attempt(Limit("device link", 1, HOUR_SECONDS), user.pk)
    except LimitReached:
        return
    context = {
        "user": user,
        "url": device_link(user),
    }
    queue_mail("emails/sign_in_limited", user.email, context)
