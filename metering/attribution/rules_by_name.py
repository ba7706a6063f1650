"""The rules for calls that name customer, product, subscriber or credential instead of a key.

The twin of `owner_by_name.sql`, which PostgreSQL runs; generated cases hold the two together.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from metering.attribution.rules import OwnerByName, SourceCoverage, Validity
from metering.models import QuarantineReason
from revcred.models.periods import DatedModel


@dataclass(frozen=True, kw_only=True)
class PastName:
    """A name that a thing had: `since` is when it was renamed, `until` when another took it."""

    thing: int
    name: str
    since: datetime
    until: datetime | None = None
    in_any_case: bool = False

    def is_meant_by(self, text: str, at: datetime) -> bool:
        is_same = self.name == (text.lower() if self.in_any_case else text)
        return is_same and (self.until is None or at < self.until)


@dataclass(frozen=True, kw_only=True)
class NamedThing:
    """A customer, product or subscriber: known by a name in any case, and by its external key."""

    id: int
    name: str
    external_key: str = ""
    customers: Collection[int] = ()  # of a subscriber: where it is a member

    def is_meant_by(self, text: str) -> bool:
        return self.name.lower() == text.lower() or self.external_key == text


class NamedCredential(Validity, frozen=True, kw_only=True):
    """A credential, known by its name within its customer."""

    id: int
    name: str
    customer: int


@dataclass(frozen=True, kw_only=True)
class HeldSubscription:
    """A subscription, and the periods in which each credential's calls are charged to it."""

    id: int
    customer: int
    product: int
    active: DatedModel
    coverage: SourceCoverage
    assigned: Sequence[tuple[int, DatedModel]] = ()  # credential, period


@dataclass(frozen=True, kw_only=True)
class NamedWorld:
    """Everything that a name can mean."""

    customers: Sequence[NamedThing] = ()
    products: Sequence[NamedThing] = ()
    subscribers: Sequence[NamedThing] = ()
    credentials: Sequence[NamedCredential] = ()
    subscriptions: Sequence[HeldSubscription] = ()
    # By what was renamed: "customer", "product", "subscriber", "credential".
    past_names: Mapping[str, Sequence[PastName]] = field(default_factory=dict)


def owner_by_name(
    *,
    names: Mapping[str, str],
    first: datetime,
    last: datetime,
    alone: bool,
    is_strict: bool,
    source: str | None,
    world: NamedWorld,
) -> OwnerByName | None:
    """Return the owner that all names of a call lead to, or the reason why they lead to none.

    `first` and `last`: the moments the call may have happened at. `alone`: it has neither a key nor
    the name of a subscription, so that the names decide. Otherwise they are only compared, and
    only if they are strict: None if they are not.
    """
    if not alone and not is_strict:
        return None
    customers = _meant("customer", world.customers, names, first, world)
    products = _meant("product", world.products, names, first, world)
    subscribers = _meant("subscriber", world.subscribers, names, first, world)
    credentials = _credentials_meant(names, customers, first, last, world)
    homes_of_subscribers = {
        home for each in world.subscribers if each.id in subscribers for home in each.customers
    }
    reason = _missing(
        names,
        {
            "customer": customers,
            "product": products,
            "subscriber": homes_of_subscribers,
            "credential": {each.id for each in credentials},
        },
    )
    if reason is None and alone and not names.keys() & {"customer", "subscriber", "credential"}:
        reason = QuarantineReason.ANONYMOUS
    if reason:
        return OwnerByName(decides=True, reason=reason)
    if not alone:
        return OwnerByName(
            decides=False,
            customer=_only(customers),
            product=_only(products),
            credential=_only(each.id for each in credentials),
        )
    homes = _homes(names, customers, homes_of_subscribers, credentials)
    held = [
        each
        for each in world.subscriptions
        if each.customer in homes and ("product" not in names or each.product in products)
        if each.active.holds_within(first, last) and each.coverage.includes(source)
    ]
    return _decide(held, credentials if "credential" in names else None, first, last)


def _meant(
    kind: str,
    things: Iterable[NamedThing],
    names: Mapping[str, str],
    at: datetime,
    world: NamedWorld,
) -> set[int]:
    """Return the things that have the name, or else the last one that had it."""
    if kind not in names:
        return set()
    found = {each.id for each in things if each.is_meant_by(names[kind])}
    return found or _last_with_name(
        each for each in world.past_names.get(kind, ()) if each.is_meant_by(names[kind], at)
    )


def _last_with_name(past: Iterable[PastName]) -> set[int]:
    latest = max(past, key=lambda each: each.since, default=None)
    return {latest.thing} if latest else set()


def _credentials_meant(
    names: Mapping[str, str],
    customers: Collection[int],
    first: datetime,
    last: datetime,
    world: NamedWorld,
) -> list[NamedCredential]:
    """Return the credentials of that name; a customer's later one only from its revocation on."""
    if "credential" not in names:
        return []
    text = names["credential"].lower()
    known = [
        each for each in world.credentials if "customer" not in names or each.customer in customers
    ]
    found = [
        each
        for each in known
        if each.name.lower() == text and not _another_had_the_name(each, last, world.credentials)
    ]
    if found:
        return found
    numbers = {each.id for each in known}
    past = _last_with_name(
        each
        for each in world.past_names.get("credential", ())
        if each.thing in numbers and each.is_meant_by(text, first)
    )
    return [each for each in known if each.id in past]


def _another_had_the_name(
    credential: NamedCredential, last: datetime, credentials: Iterable[NamedCredential]
) -> bool:
    """Return True if the customer's other credential of this name had it at that moment."""
    over = credential.revoked_at
    others = [
        each.revoked_at
        for each in credentials
        if each.customer == credential.customer
        and each.name == credential.name
        and each.id != credential.id
    ]
    # A name is free again once its credential is revoked, so that one name can have had several
    # credentials, one after the other.
    if over is not None and over <= last:
        return any(other is None or other > over for other in others)
    return any(
        other is not None and other > last and (over is None or other < over) for other in others
    )


def _missing(
    names: Mapping[str, str], found: Mapping[str, Collection[int]]
) -> QuarantineReason | None:
    reasons = {
        "customer": QuarantineReason.UNKNOWN_CUSTOMER,
        "product": QuarantineReason.UNKNOWN_PRODUCT,
        "subscriber": QuarantineReason.UNKNOWN_SUBSCRIBER,
        "credential": QuarantineReason.UNKNOWN_CREDENTIAL,
    }
    return next(
        (reason for kind, reason in reasons.items() if kind in names and not found[kind]), None
    )


def _only(numbers: Iterable[int]) -> int | None:
    found = list(numbers)
    return found[0] if len(found) == 1 else None


def _homes(
    names: Mapping[str, str],
    customers: Collection[int],
    of_subscribers: Collection[int],
    credentials: Collection[NamedCredential],
) -> set[int]:
    """Return the customers that every name allows."""
    allowed = {
        "customer": set(customers),
        "subscriber": set(of_subscribers),
        "credential": {each.customer for each in credentials},
    }
    return set.intersection(*(found for kind, found in allowed.items() if kind in names))


def _decide(
    held: Iterable[HeldSubscription],
    credentials: Sequence[NamedCredential] | None,
    first: datetime,
    last: datetime,
) -> OwnerByName:
    """Return the one subscription that is left, or why there is not one.

    `credentials`: those that were named, one of which has to feed it; None if none was named.
    """
    found = [
        (each, credential, each.active.outlasts(last) and (period is None or period.outlasts(last)))
        for each in held
        for credential, period in _assignments_then(each, credentials, first, last)
    ]
    # In the second in which one ends and another begins, the later one takes the call.
    found = [each for each in found if each[2]] or found
    if not found:
        return OwnerByName(decides=True, reason=QuarantineReason.NO_SUBSCRIPTION)
    if len(found) > 1:
        return OwnerByName(decides=True, reason=QuarantineReason.AMBIGUOUS)
    subscription, credential, _ = found[0]
    if credential and not credential.is_valid_within(first, last):
        return OwnerByName(decides=True, reason=QuarantineReason.KEY_NOT_VALID)
    return OwnerByName(decides=True, subscription=subscription.id)


def _assignments_then(
    subscription: HeldSubscription,
    credentials: Sequence[NamedCredential] | None,
    first: datetime,
    last: datetime,
) -> list[tuple[NamedCredential | None, DatedModel | None]]:
    """Return each credential that feeds it at that moment; nobody, once, if none was named."""
    if credentials is None:
        return [(None, None)]
    return [
        (credential, period)
        for number, period in subscription.assigned
        if period.holds_within(first, last)
        for credential in credentials
        if credential.id == number
    ]
