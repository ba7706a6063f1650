"""Rules of attribution: decide which subscription a call belongs to at its own moment.

Pure functions for one call. `metering.attribution.judging` states the same rules in SQL for
thousands of them; `tests/metering/attribution` holds the two together.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from metering.models import MatchedBy, QuarantineReason
from revcred.models.periods import Period, last_possible_moment


class Validity(msgspec.Struct, frozen=True, kw_only=True):
    """Moments and periods that end or interrupt the validity of a credential."""

    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    suspensions: Collection[Period] = ()

    def is_valid_within(self, first: datetime, last: datetime) -> bool:
        """Return True if the credential is valid at any moment from `first` to `last`."""
        over = min(filter(None, (self.revoked_at, self.expires_at)), default=None)
        return (over is None or first < over) and not any(
            period.active_from <= first and period.outlasts(last) for period in self.suspensions
        )


class MatchingKey(Validity, frozen=True, kw_only=True):
    """An external key with the transaction's fingerprint, and the validity of its credential."""

    kind: str
    period: Period
    bound: bool  # to the transaction's own gateway, and not for any
    credential: int | None = None
    candidates: Sequence["CandidateSubscription"] = ()


class SourceCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """Sources whose calls a product counts: see `Product` for its two switches."""

    sources: Collection[str] = ()
    restricted: bool = False
    also_without_source: bool = False

    def includes(self, source: str | None) -> bool:
        if not (self.restricted or self.sources):
            return True
        return self.also_without_source if source is None else source in self.sources


FULL_COVERAGE = SourceCoverage()


class CandidateSubscription(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that a credential is assigned to, and the periods in which both hold."""

    subscription: int
    assigned: Period
    active: Period
    coverage: SourceCoverage = FULL_COVERAGE
    customer: int | None = None
    product: int | None = None

    def holds_within(self, first: datetime, last: datetime) -> bool:
        return self.assigned.holds_within(first, last) and self.active.holds_within(first, last)

    def outlasts(self, moment: datetime) -> bool:
        return self.assigned.outlasts(moment) and self.active.outlasts(moment)


class NameHolder(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription with the name that a transaction gives, or that had it before a rename.

    `former_since` is the moment of the rename, `counts_until` the moment at which another
    subscription took the name.
    """

    subscription: int
    active: Period
    coverage: SourceCoverage = FULL_COVERAGE
    customer: int | None = None
    product: int | None = None
    former_since: datetime | None = None
    counts_until: datetime | None = None


def name_holders_within(
    first: datetime, last: datetime, holders: Sequence[NameHolder]
) -> list[NameHolder]:
    """Return the holders that a name means between `first` and `last`, the preferred one first.

    Present holders come before former ones; of the former, only the latest counts.
    """
    active = [holder for holder in holders if holder.active.holds_within(first, last)]
    current = [holder for holder in active if holder.former_since is None]
    if current:
        return sorted(current, key=lambda holder: holder.active.active_from, reverse=True)
    former = [
        (holder.former_since, holder)
        for holder in active
        if holder.former_since and (holder.counts_until is None or first < holder.counts_until)
    ]
    return [max(former, key=lambda pair: pair[0])[1]] if former else []


class AttributedTo(msgspec.Struct, frozen=True):
    """The subscription of a transaction, and what led to it."""

    subscription: int
    matched_by: str


class OwnerByName(msgspec.Struct, frozen=True, kw_only=True):
    """The owner that the names in a call lead to: see `rules_by_name.owner_by_name`.

    `decides`: nothing else says whose the call is, or a name means nothing. Otherwise the owner of
    the call is compared with `credential`, `customer` and `product`, each None if it was not named
    or if several have the name.
    """

    decides: bool
    reason: QuarantineReason | None = None
    subscription: int | None = None
    credential: int | None = None
    customer: int | None = None
    product: int | None = None

    def result(self) -> "AttributedTo | QuarantineReason":
        if self.subscription is None:
            return self.reason or QuarantineReason.ANONYMOUS
        return AttributedTo(self.subscription, MatchedBy.NAME)

    def disagrees(
        self, owner: CandidateSubscription | NameHolder, credential: int | None = None
    ) -> bool:
        """Return True if the call belongs to anybody else than it names."""
        pairs = (
            (self.credential, credential),
            (self.customer, owner.customer),
            (self.product, owner.product),
        )
        return any(named and found and named != found for named, found in pairs)


def choose_key(keys: Sequence[MatchingKey], first: datetime, last: datetime) -> MatchingKey | None:
    """Return the key that counts between `first` and `last`, or None."""
    in_force = [key for key in keys if key.period.holds_within(first, last)]
    # A key bound to this gateway precedes one for any gateway; of two, the one that began later.
    return max(in_force, key=lambda key: (key.bound, key.period.active_from), default=None)


def verdict(  # noqa: C901, PLR0911, PLR0912 - the rules in their order, each with its way out
    *,
    at: datetime,
    keyed: bool,
    keys: Sequence[MatchingKey] = (),
    named: bool = False,
    holders: Sequence[NameHolder] = (),
    source: str | None = None,
    by_name: OwnerByName | None = None,
    outside: bool = False,
) -> AttributedTo | QuarantineReason:
    """Return the subscription of one transaction, or the reason why it has none.

    Everything is judged at the moment of the call, `at`, never by the present state. A moment in
    whole seconds stands for any moment of its second: what holds at one of them counts, and where
    one thing follows another within the second, the later one takes the call.

    `keyed`: the call has a key. `keys`: external keys with its fingerprint, valid at its gateway.
    `named`: the call names a subscription. `holders`: subscriptions that have or had that name.
    `source`: the source that the call names, or else the one that its path belongs to.
    `by_name`: the owner that its other names lead to; None without names, or if they say nothing
    because a key or subscription decides and the installation does not compare them.
    `outside`: `at` is outside the gateway's window, and no admin has chosen a moment yet.
    """
    if outside:
        return QuarantineReason.MOMENT_OUTSIDE
    if by_name and by_name.decides:
        return by_name.result()
    first, last = at, last_possible_moment(at)
    named_holders = name_holders_within(first, last, holders)
    if not keyed:
        if not named:
            return QuarantineReason.ANONYMOUS
        if not named_holders or not named_holders[0].coverage.includes(source):
            return QuarantineReason.NO_SUBSCRIPTION
        if by_name and by_name.disagrees(named_holders[0]):
            return QuarantineReason.NAMES_DISAGREE
        return AttributedTo(named_holders[0].subscription, MatchedBy.SUBSCRIPTION)
    if not keys:
        return QuarantineReason.UNKNOWN_KEY
    key = choose_key(keys, first, last)
    if key is None or not key.is_valid_within(first, last):
        return QuarantineReason.KEY_NOT_VALID
    candidates = [candidate for candidate in key.candidates if candidate.holds_within(first, last)]
    if not candidates:
        return QuarantineReason.NO_SUBSCRIPTION
    if named:
        named_subscriptions = {holder.subscription for holder in named_holders}
        candidates = [
            candidate for candidate in candidates if candidate.subscription in named_subscriptions
        ]
        if not candidates:
            return QuarantineReason.SUBSCRIPTION_MISMATCH
    fitting = [candidate for candidate in candidates if candidate.coverage.includes(source)]
    # Where an assignment ends within the second of the call, its successor takes the call.
    fitting = [candidate for candidate in fitting if candidate.outlasts(last)] or fitting
    if not fitting:
        return QuarantineReason.NO_SUBSCRIPTION
    if len(fitting) > 1:
        return QuarantineReason.AMBIGUOUS
    if by_name and by_name.disagrees(fitting[0], key.credential):
        return QuarantineReason.NAMES_DISAGREE
    return AttributedTo(fitting[0].subscription, key.kind)
