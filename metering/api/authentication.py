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

from metering.api.errors import BEARER_CHALLENGE
from metering.models import GatewayToken
from metering.models.gateways import gateway_token_digest, is_well_formed_gateway_token
from revcred.models import Gateway
from revcred.postgresql import database_deadline

DATABASE_DEADLINE_SECONDS = (
    0.9  # seconds for the database, so that a frozen one is told of within a second
)
ADMISSION_CACHE_SECONDS = (
    1.0  # seconds that an admission is believed: a revoked token is dead after that
)
MAX_CACHED_ADMISSIONS = 10_000


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


_cached_admissions: dict[UUID, Admission | None] = {}
_admissions_read_at: dict[UUID, float] = {}


def find_admission(token: str) -> Admission | None:
    """The admission of a valid token, asked of the database once a second; None for any other."""
    if not is_well_formed_gateway_token(token):
        return None
    digest = gateway_token_digest(token)
    now = time.monotonic()
    if now - _admissions_read_at.get(digest, -ADMISSION_CACHE_SECONDS) < ADMISSION_CACHE_SECONDS:
        return _cached_admissions.get(digest)
    if len(_cached_admissions) >= MAX_CACHED_ADMISSIONS:
        forget_admissions()
    with database_deadline(DATABASE_DEADLINE_SECONDS):
        admission = _load_admission(digest, now)
    _cached_admissions[digest] = admission
    _admissions_read_at[digest] = now
    return admission


def cached_gateway_id(authorization: str, api_key: str) -> int | None:
    """The gateway whose token this is, if that was asked lately; nothing is asked for it."""
    admission = _cached_admissions.get(gateway_token_digest(_extract_token(authorization, api_key)))
    return admission.gateway.pk if admission else None


def forget_admissions() -> None:
    """Ask the database again, whoever comes."""
    _cached_admissions.clear()
    _admissions_read_at.clear()


def _load_admission(digest: UUID, read_at: float) -> Admission | None:
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
        return None, require_admission(
            headers.get("authorization", ""), headers.get("x-api-key", "")
        )

    def authenticate_header(self, request: Request) -> str:
        return BEARER_CHALLENGE


def require_admission(authorization: str, api_key: str) -> Admission:
    """By the two headers a token may come in. Raises AuthenticationFailed."""
    token = _extract_token(authorization, api_key)
    if not token:
        message = "Send the gateway's token as 'Authorization: Bearer' or 'x-api-key'."
        raise AuthenticationFailed(message, code="not_authenticated")
    admission = find_admission(token)
    if admission is None:
        raise AuthenticationFailed("This token is unknown or revoked.", code="unknown_token")
    return admission


def admission_of(request: Request) -> Admission:
    return cast("Admission", request.auth)


def token_from_headers(headers: Mapping[str, str]) -> str:
    """The token that a request came with, whether or not it is good."""
    return _extract_token(headers.get("authorization", ""), headers.get("x-api-key", ""))


def _extract_token(authorization: str, api_key: str) -> str:
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
