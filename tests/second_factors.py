"""Second factors for tests: an app that shows codes, and somebody who has one."""

import time
from itertools import count

from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.urls import reverse

from tests.factories import PASSWORD

STEP = 30  # seconds that a code lasts


class App:
    """An authenticator app. Each code is shown once, so that none is used a second time."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.steps = count(-1)

    def code(self, steps: int | None = None) -> str:
        steps = next(self.steps) if steps is None else steps
        return format_hotp_value(hotp_value(self.secret, int(time.time()) // STEP + steps))


def an_app(user) -> App:
    """The user has set up an app, and recovery codes with it."""
    secret = generate_totp_secret()
    TOTP.activate(user, secret)
    RecoveryCodes.activate(user)
    return App(secret)


def recovery_codes(user) -> list[str]:
    row = Authenticator.objects.get(user=user, type=Authenticator.Type.RECOVERY_CODES)
    return row.wrap().get_unused_codes()


def give_password(client, user, **extra):
    return client.post(
        reverse("account_login"), {"login": user.email, "password": PASSWORD} | extra
    )


def sign_in_with(client, user, app):
    give_password(client, user)
    return client.post(reverse("mfa_authenticate"), {"code": app.code()})
