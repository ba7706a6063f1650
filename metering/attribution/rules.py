"""The rules of attribution: whose a call is, judged by the moment it was made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from metering.models import MatchedBy, QuarantineReason
from revcred.models.periods import DatedModel, last_possible_moment


@dataclass(frozen=True, kw_only=True)
class MatchingKey:
    """An external key that bears the transaction's fingerprint, and its credential's moments."""

    kind: str
    period: DatedModel
    bound: bool  # to the transaction's own gateway, and not for any
    candidates: Sequence["CandidateSubscription"] = ()
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    suspensions: Collection[DatedModel] = ()

    def credential_is_valid_within(self, first: datetime, last: datetime) -> bool:
        """Return True if the credential counts at any moment from `first` to `last`."""
        over = min(filter(None, (self.revoked_at, self.expires_at)), default=None)
        return (over is None or first < over) and not any(
            each.active_from <= first and each.outlasts(last) for each in self.suspensions
        )


@dataclass(frozen=True, kw_only=True)
class SourceCoverage:
    """The calls that a product counts: see `Product` for its two switches."""

    sources: Collection[str] = ()
    restricted: bool = False
    also_without_source: bool = False

    def takes(self, source: str | None) -> bool:
        if not (self.restricted or self.sources):
            return True
        return self.also_without_source if source is None else source in self.sources


FULL_COVERAGE = SourceCoverage()


@dataclass(frozen=True, kw_only=True)
class CandidateSubscription:
    """A subscription that a credential feeds, and when."""

    subscription: str
    assigned: DatedModel
    active: DatedModel
    coverage: SourceCoverage = FULL_COVERAGE

    def holds_within(self, first: datetime, last: datetime) -> bool:
        return self.assigned.holds_within(first, last) and self.active.holds_within(first, last)

    def outlasts(self, moment: datetime) -> bool:
        return self.assigned.outlasts(moment) and self.active.outlasts(moment)


@dataclass(frozen=True, kw_only=True)
class NameHolder:
    """A subscription that has the name a transaction says, or had it until it was renamed.

    `former_since`: when it was renamed. `counts_until`: the moment another took the name.
    """

    subscription: str
    active: DatedModel
    coverage: SourceCoverage = FULL_COVERAGE
    former_since: datetime | None = None
    counts_until: datetime | None = None


def name_holders_within(
    first: datetime, last: datetime, holders: Sequence[NameHolder]
) -> list[NameHolder]:
    """Return those a name means at any moment from `first` to `last`, the one to prefer first.

    Whoever has the name now comes before all who had it; of those it means the last.
    """
    active = [each for each in holders if each.active.holds_within(first, last)]
    current = [each for each in active if each.former_since is None]
    if current:
        return sorted(current, key=lambda each: each.active.active_from, reverse=True)
    former = [
        (each.former_since, each)
        for each in active
        if each.former_since and (each.counts_until is None or first < each.counts_until)
    ]
    return [max(former, key=lambda pair: pair[0])[1]] if former else []


@dataclass(frozen=True)
class AttributedTo:
    subscription: str
    matched_by: str


def verdict(  # noqa: C901, PLR0911 - the rules in their order, each with its way out
    *,
    at: datetime,
    keyed: bool,
    keys: Sequence[MatchingKey] = (),
    named: bool = False,
    holders: Sequence[NameHolder] = (),
    source: str | None = None,
    by_name: AttributedTo | QuarantineReason | None = None,
    outside: bool = False,
) -> AttributedTo | QuarantineReason:
    """Whose one transaction is, judged by the moment of the call `at`, never by today.

    A moment in whole seconds may have been any of its second. What holds at some moment of it
    counts; where one thing follows another in it, the later one takes the call.

    `keyed`: it bears a key. `keys`: those with its fingerprint that count at its gateway.
    `named`: it names a subscription, and `holders` are those that have or had that name.
    `source`: the source it names, or else the one its path belongs to.
    `by_name`: whose it is by the names it gives, which only count without a key or subscription.
    `outside`: `at` was too old or too far ahead, and nobody has said yet when it counts.
    """
    if outside:
        return QuarantineReason.MOMENT_OUTSIDE
    first, last = at, last_possible_moment(at)
    named_ones = name_holders_within(first, last, holders)
    if not keyed:
        if not named:
            return by_name or QuarantineReason.ANONYMOUS
        if not named_ones or not named_ones[0].coverage.takes(source):
            return QuarantineReason.NO_SUBSCRIPTION
        return AttributedTo(named_ones[0].subscription, MatchedBy.SUBSCRIPTION)
    if not keys:
        return QuarantineReason.UNKNOWN_KEY
    then = [key for key in keys if key.period.holds_within(first, last)]
    if not then:
        return QuarantineReason.KEY_NOT_VALID
    key = max(then, key=lambda each: (each.bound, each.period.active_from))
    if not key.credential_is_valid_within(first, last):
        return QuarantineReason.KEY_NOT_VALID
    candidates = [each for each in key.candidates if each.holds_within(first, last)]
    if not candidates:
        return QuarantineReason.NO_SUBSCRIPTION
    if named:
        those = {each.subscription for each in named_ones}
        candidates = [each for each in candidates if each.subscription in those]
        if not candidates:
            return QuarantineReason.SUBSCRIPTION_MISMATCH
    fitting = [each for each in candidates if each.coverage.takes(source)]
    fitting = [each for each in fitting if each.outlasts(last)] or fitting
    if not fitting:
        return QuarantineReason.NO_SUBSCRIPTION
    if len(fitting) > 1:
        return QuarantineReason.AMBIGUOUS
    return AttributedTo(fitting[0].subscription, key.kind)
