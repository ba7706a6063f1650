"""Authentication of gateways by the digest of their tokens."""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import cast
from uuid import UUID

from cachetools import LRUCache, TLRUCache, TTLCache, cached
from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from metering.models import GatewayToken
from metering.models.gateways import (
    gateway_token_digest,
    is_well_formed_gateway_token,
    possible_gateway_token_digests,
)
from revcred.api.errors import BEARER_CHALLENGE
from revcred.models import Gateway
from revcred.postgresql import database_deadline

TOKEN_HEADER = "x-revcred-token"  # noqa: S105 - the name of a header
# A gateway is answered within a second even if the database hangs: 0.9 seconds are left to it.
DATABASE_DEADLINE_SECONDS = 0.9
# An admission is read again after this time, so that a revoked token stops working within it.
ADMISSION_CACHE_SECONDS = 1.0
MAX_CACHED_ADMISSIONS = 10_000
MAX_UNKNOWN_LOOKUPS_PER_SECOND = 20


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A gateway that showed a valid token, and the time of the database's clock at that moment."""

    gateway: Gateway
    scopes: frozenset[str]
    clock: datetime
    read_at: float  # time.monotonic() when `clock` was read
    test_token: int | None = None  # the token's number, if it is a test token

    def now(self) -> datetime:
        """Return the time by the database's clock, since a web server's own clock may be wrong."""
        return self.clock + timedelta(seconds=time.monotonic() - self.read_at)


# Gateways by the digest of their token, to tell who asks once the admission is too old to believe.
_known_gateway_ids: LRUCache[UUID, int] = LRUCache(MAX_CACHED_ADMISSIONS)
_known_gateway_ids_lock = Lock()
# When tokens that are not among the valid ones were looked up all the same.
_unknown_lookups: deque[float] = deque()
_lookups_lock = Lock()


def find_admission(token: str) -> Admission | None:
    """Return the admission of a valid token, or None for any other.

    The database is asked at most once a second for each token.
    """
    # A token carries a checksum. A mistyped or invented one is told apart without any query.
    if not is_well_formed_gateway_token(token):
        return None
    digests = possible_gateway_token_digests(token)
    if _load_valid_digests().isdisjoint(digests) and not _may_look_up_unknown():
        return None
    return _load_admission(digests)


def cached_gateway_id(authorization: str, api_key: str) -> int | None:
    """Return the gateway of the token in these headers if it is cached, without any query.

    The admission may be older than a second: it says who asks, not that the token is valid.
    """
    digest = gateway_token_digest(_extract_token(authorization, api_key))
    with _known_gateway_ids_lock:
        return _known_gateway_ids.get(digest)


def forget_admissions() -> None:
    """Empty the cache, so that the database is asked for every token again."""
    _load_admission.cache_clear()
    _load_valid_digests.cache_clear()
    _unknown_lookups.clear()
    with _known_gateway_ids_lock:
        _known_gateway_ids.clear()


def _expiry_of_admission(
    digests: tuple[UUID, ...], admission: Admission | None, now: float
) -> float:
    """Return when the cache forgets it, counted from the query's beginning."""
    return (admission.read_at if admission else now) + ADMISSION_CACHE_SECONDS


def _may_look_up_unknown() -> bool:
    """Return True for a few tokens a second, which may have been issued just now.

    Whoever tries many costs no more queries than that, and none of those who are known.
    """
    with _lookups_lock:
        now = time.monotonic()
        while _unknown_lookups and _unknown_lookups[0] < now - ADMISSION_CACHE_SECONDS:
            _unknown_lookups.popleft()
        if len(_unknown_lookups) >= MAX_UNKNOWN_LOOKUPS_PER_SECOND:
            return False
        _unknown_lookups.append(now)
        return True


@cached(TTLCache(1, ADMISSION_CACHE_SECONDS), lock=Lock())
def _load_valid_digests() -> frozenset[UUID]:
    with database_deadline(DATABASE_DEADLINE_SECONDS):
        gateway_ids = dict(GatewayToken.objects.valid().values_list("digest", "gateway_id"))
    with _known_gateway_ids_lock:
        # All of them, also those that have not asked this process yet: while others try many
        # tokens, they are told apart from nobody.
        _known_gateway_ids.update(list(gateway_ids.items())[:MAX_CACHED_ADMISSIONS])
    return frozenset(gateway_ids)


@cached(TLRUCache(MAX_CACHED_ADMISSIONS, _expiry_of_admission), lock=Lock())
def _load_admission(digests: tuple[UUID, ...]) -> Admission | None:
    # Before the query, so that the admission never looks newer than it is.
    read_at = time.monotonic()
    tokens = GatewayToken.objects.valid().filter(digest__in=digests)
    # Here, so that requests with a cached admission set no deadline.
    with database_deadline(DATABASE_DEADLINE_SECONDS):
        token = tokens.select_related("gateway").annotate(clock=Now()).first()
        if token is None:
            return None
        token.stamp()
    with _known_gateway_ids_lock:
        for digest in digests:
            _known_gateway_ids[digest] = token.gateway_id
    return Admission(
        gateway=token.gateway,
        scopes=frozenset(token.scopes),
        clock=token.clock,  # type: ignore[attr-defined]  # annotated
        read_at=read_at,
        test_token=token.pk if token.is_test else None,
    )


class GatewayAuthentication(BaseAuthentication):
    """Authentication by `Authorization: Bearer TOKEN` or `x-api-key: TOKEN`."""

    def authenticate(self, request: Request) -> tuple[None, Admission]:
        headers = request.headers
        # Where it is asked about callers, the other two may be those of the caller.
        if token := headers.get(TOKEN_HEADER):
            return None, require_admission("", token)
        return None, require_admission(
            headers.get("authorization", ""), headers.get("x-api-key", "")
        )

    def authenticate_header(self, request: Request) -> str:
        return BEARER_CHALLENGE


def require_admission(authorization: str, api_key: str) -> Admission:
    """Return the admission of the token in one of these two headers.

    Raises:
        AuthenticationFailed: there is no token, or it is unknown or revoked.
    """
    token = _extract_token(authorization, api_key)
    if not token:
        message = "Send the gateway's token as 'Authorization: Bearer' or 'x-api-key'."
        raise AuthenticationFailed(message, code="not_authenticated")
    admission = find_admission(token)
    if admission is None:
        raise AuthenticationFailed("This token is unknown or revoked.", code="unknown_token")
    return admission


def admission_of(request: Request) -> Admission:
    """Return the admission of a request that `GatewayAuthentication` has let in."""
    return cast("Admission", request.auth)


def token_from_headers(headers: Mapping[str, str]) -> str:
    """Return the token that a request carries, valid or not, or an empty string."""
    return _extract_token(headers.get("authorization", ""), headers.get("x-api-key", ""))


def _extract_token(authorization: str, api_key: str) -> str:
    # Some OpenTelemetry exporters percent-encode the blank in headers that come from the
    # environment: `Bearer%20hak_rvg_…`.
    scheme, _, token = authorization.replace("%20", " ", 1).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else api_key.strip()


class MayPost(BasePermission):
    """Permission to post transactions, which a token may be issued without."""

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
        """Let the admission pass, or raise PermissionDenied."""
        if not cls.allows(admission):
            raise PermissionDenied(cls.message, cls.code)


class MayRead(MayPost):
    """Permission to read receipts."""

    message = "This token may not read receipts."
    scope = GatewayToken.Scope.READ
