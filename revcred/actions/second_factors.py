"""Actions on second factors, each recorded and told by mail in the transaction of the change."""

from datetime import timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from allauth.core import context
from allauth.mfa.models import Authenticator
from django.db.transaction import atomic
from django.utils import timezone
from django.utils.translation import gettext_noop

from revcred.actions import sign_ins, users
from revcred.actions.token_revocation import revoke_all_tokens
from revcred.models import AuditEvent, AuditVerb, User
from revcred.models.sessions import end_all_sessions
from revcred.outbox import queue_mail

AuthenticatorType = Authenticator.Type

FAILURE_MAIL_INTERVAL = timedelta(hours=1)
FACTOR_NAMES = {
    AuthenticatorType.TOTP: gettext_noop("authenticator app"),
    AuthenticatorType.WEBAUTHN: gettext_noop("passkey"),
    AuthenticatorType.RECOVERY_CODES: gettext_noop("recovery codes"),
}


class NoSecondFactor(Exception):
    """The user has no second factor that could be reset."""


def factor_names(*, user: User) -> list[str]:
    """Return the kinds of second factors the user has, in words."""
    types = Authenticator.objects.filter(user=user).values_list("type", flat=True)
    return sorted({FACTOR_NAMES[type_name] for type_name in types})


@atomic
def record_factor_added(*, authenticator: Authenticator) -> None:
    """Record and tell that an app, a passkey or a set of recovery codes was added."""
    factor = FACTOR_NAMES[authenticator.type]
    _record_factor_event(AuditVerb.FACTOR_ADDED, authenticator.user, factor=factor)
    signs_in_alone = authenticator.type == AuthenticatorType.WEBAUTHN
    _queue_factor_mail(authenticator.user, "added", factor=factor, signs_in_alone=signs_in_alone)


@atomic
def record_factor_removed(*, authenticator: Authenticator) -> None:
    """Record and tell that a second factor was removed, by whoever is signed in."""
    factor = FACTOR_NAMES[authenticator.type]
    _record_factor_event(AuditVerb.FACTOR_REMOVED, authenticator.user, factor=factor)
    if (
        authenticator.type != AuthenticatorType.RECOVERY_CODES
    ):  # these go with the others, or are replaced
        _queue_factor_mail(authenticator.user, "removed", factor=factor)


@atomic
def record_recovery_code_used(*, authenticator: Authenticator) -> None:
    """Record and tell that one of the recovery codes was used."""
    authenticator.refresh_from_db(fields=["data"])  # the code was marked as used in another copy
    left = len(authenticator.wrap().get_unused_codes())
    user = authenticator.user
    _record_factor_event(AuditVerb.RECOVERY_CODE_USED, user, by=user, left=left)
    _queue_factor_mail(user, "recovery_code_used", left=left)


@atomic
def record_factor_failure(*, user: User, is_limited: bool = False) -> None:
    """Record a wrong code or passkey, or one that the rate limit turned away.

    Whoever knows the password can repeat it: it is recorded at most once a minute, and told by mail
    at most once an hour.
    """
    since = timezone.now() - FAILURE_MAIL_INTERVAL
    verbs = (AuditVerb.FACTOR_FAILED, AuditVerb.FACTOR_LIMITED)
    # The audit is also the memory of the last mail.
    if not AuditEvent.objects.about(user).filter(verb__in=verbs, at__gt=since).exists():
        _queue_factor_mail(user, "failed")
    verb = AuditVerb.FACTOR_LIMITED if is_limited else AuditVerb.FACTOR_FAILED
    sign_ins.record_throttled_event(verb=verb, user=user, address=_current_client_ip())


@atomic
def reset_second_factor(*, user: User, by: User | None, reason: str) -> None:
    """Remove all second factors of somebody who lost them, and end their sessions and tokens.

    `by`: None on the command line. Raises LoginRankTooHigh, NoSecondFactor.
    """
    if not users.is_superuser_above(user=user, by=by):
        raise users.LoginRankTooHigh
    authenticators = Authenticator.objects.filter(user=user)
    if not authenticators.exists():
        raise NoSecondFactor
    # The signal of each deletion records it; the reset itself is an event of its own.
    authenticators.delete()
    # Whoever has the lost phone may be signed in on it.
    end_all_sessions(user)
    _record_factor_event(AuditVerb.FACTOR_RESET, user, by=by, reason=reason)
    _queue_factor_mail(user, "reset", by=by, reason=reason)
    revoke_all_tokens(user=user, by=by, because=gettext_noop("your second factor was reset"))


# Stands for "whoever is signed in". None is taken: it means the operator.
_SIGNED_IN_USER: Any = object()


def _record_factor_event(
    verb: AuditVerb, user: User, *, by: Any = _SIGNED_IN_USER, **details: Any
) -> None:
    request = context.request
    if by is _SIGNED_IN_USER:
        by = request.user if request and isinstance(request.user, User) else None
    AuditEvent.objects.record(
        verb, target=user, by=by, details=details, address=_current_client_ip()
    )


def _current_client_ip() -> str | None:
    request = context.request
    return str(get_adapter(request).get_client_ip(request)) if request else None


def _queue_factor_mail(user: User, event: str, **details: Any) -> None:
    """Queue the mail `second_factor_<event>`, with the client's IP address and the time."""
    context_of_all = {
        "user": user,
        "at": timezone.now(),
        "address": _current_client_ip(),
    }
    queue_mail(f"emails/second_factor_{event}", user.email, context_of_all | details)
