"""allauth's forms about passkeys and codes: our texts, each code once, failures on record."""

from contextlib import suppress
from typing import Any

from allauth.core import context
from allauth.mfa.adapter import get_adapter
from allauth.mfa.base import forms as base
from allauth.mfa.models import Authenticator
from allauth.mfa.totp import forms as totp
from allauth.mfa.totp.internal import auth as totp_auth
from allauth.mfa.utils import decrypt
from allauth.mfa.webauthn import forms as webauthn
from allauth.mfa.webauthn.internal import auth as webauthn_auth
from django import forms
from django.core.exceptions import ValidationError
from django.db import DatabaseError
from django.db.transaction import atomic
from fido2.webauthn import AuthenticationResponse

from revcred.accounts.limits import count_code
from revcred.actions import second_factors, sign_ins
from revcred.client_address import current_address
from revcred.models import AuditVerb, User
from revcred.texts import gettext_lazy

CODE_INPUT_ATTRIBUTES = {
    "autocomplete": "one-time-code",
    "inputmode": "numeric",
    "spellcheck": "false",
}
MAX_CODE_CHARACTERS = 20  # characters, with whatever people put between digits
MAX_PASSKEY_NAME = 100


class ActivateAppForm(totp.ActivateTOTPForm):  # type: ignore[misc]
    """Asks for a first code of the app, which proves that it has the secret."""

    code = forms.CharField(
        label=gettext_lazy("Code from the app"),
        max_length=MAX_CODE_CHARACTERS,
        widget=forms.TextInput(attrs=CODE_INPUT_ATTRIBUTES),
        help_text=gettext_lazy("Six digits. They change every 30 seconds."),
    )


class BaseCodeForm(base.BaseAuthenticateForm):  # type: ignore[misc]
    """Asks for a code of the app, or a recovery code."""

    code = forms.CharField(
        label=gettext_lazy("Code"),
        max_length=MAX_CODE_CHARACTERS,
        widget=forms.TextInput(attrs=CODE_INPUT_ATTRIBUTES | {"autofocus": True}),
        help_text=gettext_lazy(
            "Six digits from your authenticator app, or one of your recovery codes."
        ),
    )

    def clean_code(self) -> str:
        code = str(self.cleaned_data["code"])
        # Counts this attempt as failed until the code is found right.
        attempt = count_code(context.request, self.user)
        try:
            self.authenticator = self._find(code)
        except ValidationError:
            second_factors.record_factor_failure(user=self.user)
            raise
        attempt.forget()
        return code

    def _find(self, code: str) -> Authenticator:
        """Return the authenticator that the code belongs to. Raises ValidationError."""
        # The app first: most codes are the app's, and checking recovery codes derives all of them.
        with_codes = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN)
        for authenticator in with_codes.filter(user=self.user).order_by("-type"):
            if authenticator.type == Authenticator.Type.TOTP:
                accepted = spend_code(authenticator, code)
            else:
                accepted = authenticator.wrap().validate_code(code)
            if accepted:
                authenticator.user = self.user
                return authenticator
        raise get_adapter().validation_error("incorrect_code")


class SignInCodeForm(BaseCodeForm, base.AuthenticateForm):  # type: ignore[misc]
    """Asks for a code at sign-in."""


class ConfirmByCodeForm(BaseCodeForm, base.ReauthenticateForm):  # type: ignore[misc]
    """Asks for a code from somebody who is signed in."""


@atomic
def spend_code(authenticator: Authenticator, code: str) -> bool:
    """Accept a code of the app once, and return True if it was accepted.

    allauth remembers used codes in the cache for one step of 30 seconds, which is shorter than a
    code is accepted, and a cache may forget. So the newest step used is kept beside the secret.
    """
    # Two requests with one code come one after the other here, and the second is turned away.
    row = Authenticator.objects.select_for_update().get(pk=authenticator.pk)
    secret = decrypt(row.data["secret"])
    for step in totp_auth.yield_hotp_counters_from_time():
        expected = totp_auth.format_hotp_value(totp_auth.hotp_value(secret, step))
        if totp_auth.compare_user_code(actual=code, expected=expected):
            if step <= row.data.get("last_step", 0):
                return False
            row.data["last_step"] = step
            row.save(update_fields=["data"])
            return True
    return False


class PasskeyAnswerMixin:
    """Turns a browser's answer that cannot be read into an error of the form."""

    user: Any

    def read(self, reader: Any) -> Any:
        try:
            return reader()
        except DatabaseError:
            raise
        except Exception as error:
            # The package parses JSON, base64 and CBOR of the caller's, and fails in many ways.
            raise get_adapter().validation_error("passkey_not_accepted") from error


class AddPasskeyForm(PasskeyAnswerMixin, webauthn.AddWebAuthnForm):  # type: ignore[misc]
    """Asks for the name of a new passkey, and checks the browser's answer."""

    name = forms.CharField(
        required=False,
        max_length=MAX_PASSKEY_NAME,
        label=gettext_lazy("Name"),
        help_text=gettext_lazy(
            "Where it is, such as “Work laptop”, so that you can tell several apart."
        ),
    )
    passwordless = forms.BooleanField(
        required=False,
        initial=True,
        label=gettext_lazy("Sign in with it alone, without a password"),
        help_text=gettext_lazy(
            "It then asks for your fingerprint, face or PIN each time. Untick this for a"
            " security key that has none of these: you use it after your password."
        ),
    )

    def clean(self) -> Any:
        return self.read(super().clean)


class BasePasskeyForm(PasskeyAnswerMixin, webauthn.AuthenticateWebAuthnForm):  # type: ignore[misc]
    """Checks a passkey's answer to the challenge, and records a failure."""

    def clean_credential(self) -> Authenticator:
        attempt = count_code(context.request, self.user)
        try:
            authenticator: Authenticator = self.read(super().clean_credential)
        except ValidationError:
            second_factors.record_factor_failure(user=self.user)
            raise
        attempt.forget()
        return authenticator


class SignInPasskeyForm(BasePasskeyForm):
    """Asks for a passkey at sign-in."""


class PasskeyOnlyForm(PasskeyAnswerMixin, webauthn.LoginWebAuthnForm):  # type: ignore[misc]
    """Signs in by a passkey alone, which has to have checked who uses it."""

    def clean_credential(self) -> Authenticator:
        try:
            return self.read(self._find)
        except ValidationError:
            # No limit of the account counts it: its number is no secret, and could be locked out.
            sign_ins.record_throttled_event(
                verb=AuditVerb.SIGN_IN_FAILED, user=self._named_user(), address=current_address()
            )
            raise

    def _find(self) -> Authenticator:
        response = AuthenticationResponse.from_dict(self.cleaned_data["credential"])
        # Asked for here, too: the challenge may be one that was made for a second factor.
        if not response.response.authenticator_data.is_user_verified():
            raise get_adapter().validation_error("passkey_not_accepted")
        authenticator: Authenticator = super().clean_credential()
        return authenticator

    def _named_user(self) -> User | None:
        """Return the user whom the answer names, which proves nothing."""
        with suppress(Exception):
            user: User = webauthn_auth.extract_user_from_response(self.cleaned_data["credential"])
            return user
        return None


class ConfirmByPasskeyForm(BasePasskeyForm):
    """Asks for a passkey from somebody who is signed in."""

    reauthenticated = True


class RenamePasskeyForm(webauthn.EditWebAuthnForm):  # type: ignore[misc]
    """Asks for another name of a passkey."""

    name = forms.CharField(max_length=MAX_PASSKEY_NAME, label=gettext_lazy("Name"))
