"""Gateways that ask about calls, and how their checks are answered."""

from collections.abc import Iterable
from dataclasses import dataclass

from rest_framework.exceptions import PermissionDenied

from metering.models import GatewayToken
from revcred.models import Gateway


@dataclass(frozen=True, kw_only=True)
class Asker:
    """A gateway that showed a valid token, with its policy. `key_name` is in lower case.

    `is_test`: the token is for trying out, and refused calls leave no receipts.
    """

    gateway: int
    name: str
    scopes: frozenset[str]
    mode: str
    refuses_over_quota: bool
    key_place: str
    key_name: str
    signs_claims: bool
    is_test: bool

    @classmethod
    def of(cls, gateway: Gateway, scopes: Iterable[str], *, is_test: bool) -> "Asker":
        return cls(
            gateway=gateway.pk,
            name=gateway.name,
            scopes=frozenset(scopes),
            mode=gateway.check_mode,
            refuses_over_quota=gateway.check_refuses_over_quota,
            key_place=gateway.key_place,
            key_name=gateway.key_name.lower(),
            signs_claims=gateway.signs_claims,
            is_test=is_test,
        )

    @property
    def observes(self) -> bool:
        return self.mode == Gateway.CheckMode.OBSERVE

    def check_scope(self) -> None:
        """Let the token pass, or raise PermissionDenied."""
        if GatewayToken.Scope.CHECK not in self.scopes:
            message = "This token may not ask about calls: it lacks the scope calls:check."
            raise PermissionDenied(message, "not_allowed")
