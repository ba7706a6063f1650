"""Facts by which a call is judged ahead: what the database says of keys, credentials and the rest.

Each is an array of numbers and texts, so that a million of them fit into a process. Moments are
microseconds since 1970 in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import UUID

import msgspec

from revcred.models.periods import PlainPeriod
from revcred.public_ids import public_id_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Microseconds = int
PeriodFacts = tuple[Microseconds, Microseconds | None]


def to_moment(microseconds: Microseconds | None) -> datetime | None:
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)


def to_period(facts: PeriodFacts) -> PlainPeriod:
    return PlainPeriod(EPOCH + timedelta(microseconds=facts[0]), to_moment(facts[1]))


class KeyFacts(msgspec.Struct, array_like=True, frozen=True):
    """An external key of a fingerprint."""

    credential: int
    is_key: bool  # False: an alias
    gateway: int | None  # the only one at which it counts
    active: PeriodFacts


class CredentialFacts(msgspec.Struct, array_like=True, frozen=True):
    """A credential, and the subscriptions that it is assigned to."""

    public: UUID | None  # what stands for its public id among fingerprints: half as long
    customer: int
    assignments: list[tuple[int, PeriodFacts]]  # subscription and period
    revoked: Microseconds | None = None
    expires: Microseconds | None = None
    suspensions: list[PeriodFacts] = []
    environment: str = ""
    tags: list[str] = []

    @property
    def public_id(self) -> str:
        return public_id_of(self.public) if self.public else ""


class SubscriptionFacts(msgspec.Struct, array_like=True, frozen=True):
    """A subscription. `quota`: calls that are included in a month."""

    external_key: str
    customer: int
    product: int
    active: PeriodFacts
    quota: int | None = None


class CustomerFacts(msgspec.Struct, array_like=True, frozen=True):
    external_key: str
    suspended: Microseconds | None = None


class ProductFacts(msgspec.Struct, array_like=True, frozen=True):
    """A product, and the external keys of its sources."""

    external_key: str
    restricted: bool
    also_without_source: bool
    sources: frozenset[str]


class NamedSubscription(msgspec.Struct, array_like=True, frozen=True):
    """A subscription that has a name, or that had it until `former_since`."""

    subscription: int
    former_since: Microseconds | None = None
    counts_until: Microseconds | None = None


class Register(Protocol):
    """What a check looks up. `metering.verification.loading` reads it from the database."""

    def keys(self, fingerprint: UUID) -> Sequence[KeyFacts]: ...

    def credential(self, credential_id: int) -> CredentialFacts | None: ...

    def credential_of(self, public_id: str) -> int | None: ...

    def subscription(self, subscription_id: int) -> SubscriptionFacts | None: ...

    def subscriptions_named(self, name: str) -> Sequence[NamedSubscription]: ...

    def customer(self, customer_id: int) -> CustomerFacts | None: ...

    def product(self, product_id: int) -> ProductFacts | None: ...

    def source_named(self, name: str, at: datetime) -> str | None:
        """Return the external key of the source that has or had this name, or None."""
        ...

    def source_of_path(self, path: str) -> str | None:
        """Return the external key of the source that a path belongs to, or None."""
        ...

    def calls_this_month(self, subscription_id: int) -> int: ...
