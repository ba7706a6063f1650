"""Second factors for tests: an app that shows codes, a passkey, and somebody who has one."""

import json
import secrets
import time
from itertools import count

from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.mfa.webauthn.internal.auth import WebAuthn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from django.urls import reverse
from fido2.cose import ES256
from fido2.utils import sha256, websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

from tests.factories import PASSWORD

STEP = 30  # seconds that a code lasts


class App:
    """An authenticator app. Each code is shown once, so that none is used a second time.

    It begins with the present step: the one before may have gone by until the code arrives.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.steps = count()

    def code(self, steps: int | None = None) -> str:
        steps = next(self.steps) if steps is None else steps
        return format_hotp_value(hotp_value(self.secret, int(time.time()) // STEP + steps))


class Passkey:
    """A passkey of a user, as a device has it. It answers challenges for the host `testserver`."""

    HOST, ORIGIN = "testserver", "https://testserver"
    PRESENT, VERIFIED, HAS_KEY = (AuthenticatorData.FLAG[name] for name in ("UP", "UV", "AT"))

    def __init__(self, user) -> None:
        self.user, self.number = user, secrets.token_bytes(16)
        self.key = ec.generate_private_key(ec.SECP256R1())
        known = AttestedCredentialData.create(
            bytes(16), self.number, ES256.from_cryptography_key(self.key.public_key())
        )
        flags = self.PRESENT | self.VERIFIED | self.HAS_KEY
        seen = AuthenticatorData.create(sha256(self.HOST.encode()), flags, 0, known)
        told = {
            "clientDataJSON": self._client_data(CollectedClientData.TYPE.CREATE, b"any"),
            "attestationObject": AttestationObject.create("none", seen, {}),
        }
        WebAuthn.add(user, "A passkey", self._answer(told))

    def answer(self, challenge: str, *, verified: bool = True) -> str:
        """`verified`: the device has checked a fingerprint, a face or a PIN."""
        flags = self.PRESENT | (self.VERIFIED if verified else 0)
        seen = AuthenticatorData.create(sha256(self.HOST.encode()), flags, 1)
        client = self._client_data(CollectedClientData.TYPE.GET, websafe_decode(challenge))
        signature = self.key.sign(seen + sha256(client), ec.ECDSA(SHA256()))
        told = {
            "clientDataJSON": client,
            "authenticatorData": seen,
            "signature": signature,
            "userHandle": user_pk_to_url_str(self.user).encode(),
        }
        return json.dumps(self._answer(told))

    def _client_data(self, kind, challenge: bytes) -> CollectedClientData:
        return CollectedClientData.create(kind, challenge, self.ORIGIN)

    def _answer(self, told) -> dict:
        number = websafe_encode(self.number)
        texts = {name: websafe_encode(value) for name, value in told.items()}
        return {"id": number, "rawId": number, "type": "public-key", "response": texts}


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
