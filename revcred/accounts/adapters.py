"""Adaptation of allauth: invitation only, mails through the outbox, every attempt on record."""

from typing import Any

from allauth.account import signals
from allauth.account.adapter import DefaultAccountAdapter, get_adapter
from allauth.account.forms import (
    ChangePasswordForm,
    ConfirmLoginCodeForm,
    RequestLoginCodeForm,
    ResetPasswordForm,
)
from allauth.account.internal.userkit import filter_users_by_email
from allauth.account.utils import user_pk_to_url_str
from allauth.core import context as current
from django.contrib.auth.signals import user_logged_out
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.core.exceptions import PermissionDenied
from django.db.transaction import atomic, set_rollback
from django.dispatch import receiver
from django.forms import CharField, TextInput
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext_noop

from revcred.accounts.devices import remember_device
from revcred.accounts.hashers import HashersBusy
from revcred.accounts.limits import count_mailed_code, count_reset, count_sign_in
from revcred.actions import sign_ins
from revcred.actions.token_revocation import revoke_all_tokens
from revcred.client_address import client_address
from revcred.models import AuditVerb, Session, User
from revcred.models.sessions import end_all_sessions
from revcred.outbox import absolute_url, queue_mail
from revcred.texts import gettext_lazy

PASSWORD_RESET_MAIL = "account/email/password_reset_key"  # noqa: S105 - a template
MAILED_CODE_MAIL = "account/email/login_code"


class InvitationOnlyAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Let nobody sign up: admins invite subscribers. Mails go through the outbox."""

    # Invitations create logins by an action, never allauth's sign-up.
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        queue_mail(template_prefix, email, context)

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that allauth's limits count by. Raises PermissionDenied."""
        address = client_address(request)
        if address is None:
            message = "The address of the client is unknown."
            raise PermissionDenied(message)
        return address

    def get_reset_password_from_key_url(self, key: str) -> str:
        uid, _, token = key.partition("-")
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": uid, "key": token})
        return absolute_url(path)

    def send_notification_mail(self, template_prefix: str, *args: Any, **kwargs: Any) -> None:
        """Skip mails about second factors: revcred sends its own where it records the change."""
        if not template_prefix.startswith("mfa/"):
            super().send_notification_mail(template_prefix, *args, **kwargs)

    @atomic
    def send_password_reset_mail(self, user: User, email: str, context: dict[str, Any]) -> None:
        sign_ins.record_throttled_event(
            verb=AuditVerb.RESET_ASKED, user=user, address=client_ip(current.request)
        )
        super().send_password_reset_mail(user, email, context)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Check a password within the limits. Raises TooManyAttempts."""
        # Counted before the password is checked, so that attempts in parallel count, too.
        attempt = count_sign_in(request, credentials.get("email") or "")
        try:
            user: User | None = super().authenticate(request, **credentials)
        except HashersBusy:
            attempt.take_back()
            raise
        if user is not None:
            attempt.forget()
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        _record_throttled_by_email(AuditVerb.SIGN_IN_FAILED, request, credentials.get("email"))

    def pre_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse | None:
        # The password was right, so `authentication_failed` is not called for it.
        if not user.is_active:
            sign_ins.record_throttled_event(
                verb=AuditVerb.SIGN_IN_FAILED, user=user, address=client_ip(request)
            )
        response: HttpResponse | None = super().pre_login(request, user, **kwargs)
        return response

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        remember_device(request, response, user)
        return response

    @atomic
    def login(self, request: HttpRequest, user: User) -> None:
        """Sign in and record it. If the record fails, the sign-in fails, too."""
        sign_ins.record_login_event(verb=AuditVerb.SIGNED_IN, user=user, address=client_ip(request))
        super().login(request, user)


class ForgottenPasswordForm(ResetPasswordForm):  # type: ignore[misc]
    """allauth's form, which also records requests for addresses that nobody signs in with."""

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        count_reset(self.cleaned_data["email"])
        if not self.users:
            _record_throttled_by_email(AuditVerb.RESET_ASKED, request, None)
            _queue_and_discard_reset_mail(self.cleaned_data["email"])
        return str(super().save(request, **kwargs))


class AskForCodeForm(RequestLoginCodeForm):  # type: ignore[misc]
    """Asks for the address to which a sign-in code is sent, if a subscriber has it.

    Staff sign in by stronger ways. They, and addresses that nobody signs in with, get the same
    answer, and no mail.
    """

    _user: User | None  # whom the code is sent to

    def clean_email(self) -> str:
        email: str = super().clean_email()
        count_mailed_code(email)
        if self._user is not None and self._user.is_staff:
            self._user = None
        return email

    def record(self) -> None:
        """Record the request, and do for nobody what a mail would take."""
        user, address = self._user, client_ip(current.request)
        sign_ins.record_throttled_event(verb=AuditVerb.CODE_ASKED, user=user, address=address)
        if user is None:
            code = get_adapter().generate_login_code()
            _queue_and_discard_mail(MAILED_CODE_MAIL, self.cleaned_data["email"], {"code": code})


class MailedCodeForm(ConfirmLoginCodeForm):  # type: ignore[misc]
    """Asks for the code that was sent."""

    code = CharField(
        label=gettext_lazy("Code from the mail"),
        max_length=20,
        widget=TextInput(attrs={"autocomplete": "one-time-code", "autofocus": True}),
        help_text=gettext_lazy("Eight letters. Capital or small, with or without the hyphen."),
    )


class OwnPasswordForm(ChangePasswordForm):  # type: ignore[misc]
    """allauth's form, which counts wrong passwords as sign-in does."""

    def clean_oldpassword(self) -> str:
        password: str = self.cleaned_data["oldpassword"]
        adapter = get_adapter()
        if not adapter.reauthenticate(self.user, password):
            raise adapter.validation_error("enter_current_password")
        return password


def _queue_and_discard_reset_mail(email: str) -> None:
    nobody = User(pk=0, email=email)
    # Not allauth's generator, which would give nobody an address of their own first.
    key = f"{user_pk_to_url_str(nobody)}-{PasswordResetTokenGenerator().make_token(nobody)}"
    url = get_adapter().get_reset_password_from_key_url(key)
    context = {"user": nobody, "password_reset_url": url}
    _queue_and_discard_mail(PASSWORD_RESET_MAIL, email, context)


@atomic
def _queue_and_discard_mail(template_prefix: str, email: str, context: dict[str, Any]) -> None:
    """Do what a mail would take and roll it back, so that the time tells of no account."""
    queue_mail(template_prefix, email, context)
    set_rollback(rollback=True)


def client_ip(request: HttpRequest) -> str:
    """Return the client's IP address, as far as trusted proxies tell it."""
    return str(get_adapter(request).get_client_ip(request))


def _record_throttled_by_email(verb: AuditVerb, request: HttpRequest, email: str | None) -> None:
    """Record an attempt at the login with this address, or at an unknown one."""
    # allauth matches addresses in any case of letters; so does the record.
    found = filter_users_by_email(email, prefer_verified=True) if email else []
    user = found[0] if found else None
    sign_ins.record_throttled_event(verb=verb, user=user, address=client_ip(request))


@receiver(user_logged_out)
def _record_sign_out(request: HttpRequest, user: User | None, **_: Any) -> None:
    # Requests without an address are made by tests and commands, which sign nobody out.
    if user is not None and request.META.get("REMOTE_ADDR"):
        sign_ins.record_login_event(
            verb=AuditVerb.SIGNED_OUT, user=user, address=client_ip(request)
        )


@receiver(signals.password_reset)
@atomic
def _record_password_reset(request: HttpRequest, user: User, **_: Any) -> None:
    sign_ins.record_login_event(
        verb=AuditVerb.PASSWORD_RESET, user=user, address=client_ip(request)
    )
    end_all_sessions(user)
    # Whoever had the old password may have issued tokens with it.
    revoke_all_tokens(user=user, by=user, because=gettext_noop("your password was set by a link"))


@receiver([signals.password_changed, signals.password_set])
@atomic
def _record_password_change(request: HttpRequest, user: User, **_: Any) -> None:
    sign_ins.record_login_event(
        verb=AuditVerb.PASSWORD_CHANGED, user=user, address=client_ip(request)
    )
    # They have ended with the old password; now they are no longer listed.
    own = Session.objects.of_key(request.session.session_key or "")
    Session.objects.filter(user=user).exclude(pk__in=own.values("pk")).delete()
    revoke_all_tokens(user=user, by=user, because=gettext_noop("your password was changed"))
