"""Who is at the door: a gateway, by the digest of its token."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from metering.api.errors import CHALLENGE
from metering.models import GatewayToken
from metering.models.gateways import digest_of, is_well_formed
from revcred.models import Gateway
from revcred.postgresql import patience

LONGEST_WAIT = 0.9  # seconds for the database, so that a frozen one is told of within a second
FRESH = 1.0  # seconds that an admission is believed: a revoked token is dead after that
MOST_KEPT = 10_000


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A gateway that showed a valid token, and what the database's clock said then."""

    gateway: Gateway
    scopes: frozenset[str]
    clock: datetime
    read_at: float  # time.monotonic() of that moment

    def now(self) -> datetime:
        """The moment by the database's clock, which no web server's wrong clock can change."""
        return self.clock + timedelta(seconds=time.monotonic() - self.read_at)


_admissions: dict[UUID, Admission | None] = {}
_read_at: dict[UUID, float] = {}


def admit(token: str) -> Admission | None:
    """The admission of a valid token, asked of the database once a second; None for any other."""
    if not is_well_formed(token):
        return None
    digest = digest_of(token)
    now = time.monotonic()
    if now - _read_at.get(digest, -FRESH) < FRESH:
        return _admissions.get(digest)
    if len(_admissions) >= MOST_KEPT:
        forget()
    with patience(LONGEST_WAIT):
        admission = _ask(digest, now)
    _admissions[digest] = admission
    _read_at[digest] = now
    return admission


def known_by(authorization: str, api_key: str) -> int | None:
    """The gateway whose token this is, if that was asked lately; nothing is asked for it."""
    admission = _admissions.get(digest_of(_token_in(authorization, api_key)))
    return admission.gateway.pk if admission else None


def forget() -> None:
    """Ask the database again, whoever comes."""
    _admissions.clear()
    _read_at.clear()


def _ask(digest: UUID, read_at: float) -> Admission | None:
    tokens = GatewayToken.objects.valid().filter(digest=digest)
    token = tokens.select_related("gateway").annotate(clock=Now()).first()
    if token is None:
        return None
    token.stamp()
    return Admission(
        gateway=token.gateway,
        scopes=frozenset(token.scopes),
        clock=token.clock,  # type: ignore[attr-defined]  # annotated
        read_at=read_at,
    )


class GatewayAuthentication(BaseAuthentication):
    """`Authorization: Bearer TOKEN` or `x-api-key: TOKEN`."""

    def authenticate(self, request: Request) -> tuple[None, Admission]:
        headers = request.headers
        return None, admission_for(headers.get("authorization", ""), headers.get("x-api-key", ""))

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


def admission_for(authorization: str, api_key: str) -> Admission:
    """By the two headers a token may come in. Raises AuthenticationFailed."""
    token = _token_in(authorization, api_key)
    if not token:
        message = "Send the gateway's token as 'Authorization: Bearer' or 'x-api-key'."
        raise AuthenticationFailed(message, code="not_authenticated")
    admission = admit(token)
    if admission is None:
        raise AuthenticationFailed("This token is unknown or revoked.", code="unknown_token")
    return admission


def admission_of(request: Request) -> Admission:
    return cast("Admission", request.auth)


def token_of(headers: Mapping[str, str]) -> str:
    """The token that a request came with, whether or not it is good."""
    return _token_in(headers.get("authorization", ""), headers.get("x-api-key", ""))


def _token_in(authorization: str, api_key: str) -> str:
    # Headers from the environment are escaped by some OpenTelemetry exporters.
    scheme, _, token = authorization.replace("%20", " ", 1).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else api_key.strip()


class MayPost(BasePermission):
    message = "This token may not post transactions."
    code = "not_allowed"
    scope: str = GatewayToken.Scope.POST

    def has_permission(self, request: Request, view: APIView) -> bool:
        return self.allows(admission_of(request))

    @classmethod
    def allows(cls, admission: Admission) -> bool:
        return cls.scope in admission.scopes

    @classmethod
    def check(cls, admission: Admission) -> None:
        """Raises PermissionDenied."""
        if not cls.allows(admission):
            raise PermissionDenied(cls.message, cls.code)


class MayRead(MayPost):
    message = "This token may not read receipts."
    scope = GatewayToken.Scope.READ
