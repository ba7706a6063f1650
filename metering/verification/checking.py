"""The verdict of attribution, asked ahead of a call: may it be let through, and whose is it?

The rules are those of `metering.attribution.rules`. What is valid here and posted a moment later is
attributed to the same subscription; what is not is quarantined, but for `customer_suspended` and
`quota_exhausted`, which only a gateway refuses.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from metering.attribution.rules import (
    AttributedTo,
    CandidateSubscription,
    MatchingKey,
    NameHolder,
    SourceCoverage,
    choose_key,
    verdict,
)
from metering.models import MatchedBy, QuarantineReason
from metering.models.check_codes import CheckCode
from metering.verification.facts import (
    EPOCH,
    CredentialFacts,
    KeyFacts,
    Register,
    SubscriptionFacts,
    to_moment,
    to_period,
)
from revcred.models.periods import PlainPeriod, last_possible_moment

ALWAYS = PlainPeriod(EPOCH)
CODES_BY_REASON = {
    QuarantineReason.UNKNOWN_KEY: CheckCode.UNKNOWN_KEY,
    QuarantineReason.SUBSCRIPTION_MISMATCH: CheckCode.SUBSCRIPTION_MISMATCH,
    QuarantineReason.AMBIGUOUS: CheckCode.AMBIGUOUS,
}


class CallAhead(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is about to be made. `source`: an external key that exists.

    `fingerprint`: of what the caller sent as key. `may_be_alias`: it is an id that the gateway
    vouches for, as is `public_id`, that of a credential.
    """

    gateway: int
    at: datetime
    fingerprint: UUID | None = None
    may_be_alias: bool = False
    public_id: str | None = None
    subscription_named: str | None = None
    source: str | None = None
    path: str | None = None


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that a subscription includes in a calendar month in UTC, and how many are used."""

    limit: int
    used: int
    resets_at: datetime


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The code, and as much of the owner as is known. Ids are those of rows.

    `valid_until`: the next moment at which a period of what was looked at begins or ends.
    """

    code: CheckCode
    credential: int | None = None
    subscription: int | None = None
    customer: int | None = None
    product: int | None = None
    quota: Quota | None = None
    valid_until: datetime | None = None


def judge_ahead(call: CallAhead, register: Register, *, refuse_over_quota: bool) -> Verdict:
    """Return what would become of the call. Pure but for what the register looks up."""
    first, last = call.at, last_possible_moment(call.at)
    keys = list(_matching_keys(call, register))
    holders = list(_holders(call, register))
    is_keyed = call.fingerprint is not None or call.public_id is not None
    boundaries = _Boundaries(call.at)
    for each in keys:
        boundaries.add_key(each)
    for holder in holders:
        boundaries.add_period(holder.active)
    source = _source_of(call, register, keys, holders)
    result = verdict(
        at=call.at,
        keyed=is_keyed,
        keys=keys,
        named=call.subscription_named is not None,
        holders=holders,
        source=source,
    )
    key = _key_to_name(keys, first, last)
    # What a caller sends opens the door only if it is a key: an alias stands in logs.
    if key and key.kind == MatchedBy.ALIAS and not call.may_be_alias:
        return Verdict(code=CheckCode.UNKNOWN_KEY)
    credential = register.credential(key.credential) if key and key.credential else None
    if not isinstance(result, AttributedTo):
        return Verdict(
            code=_code_of(result, key, first, last),
            credential=key.credential if key else None,
            customer=credential.customer if credential else None,
            valid_until=boundaries.next,
        )
    subscription = register.subscription(result.subscription)
    if subscription is None:  # deleted between two look-ups
        return Verdict(code=CheckCode.NO_SUBSCRIPTION, valid_until=boundaries.next)
    customer = register.customer(subscription.customer)
    suspended_at = to_moment(customer.suspended) if customer else None
    boundaries.add(suspended_at)
    quota = _quota_of(result.subscription, subscription, register, call.at)
    code = CheckCode.VALID
    if suspended_at and suspended_at <= call.at:
        code = CheckCode.CUSTOMER_SUSPENDED
    elif refuse_over_quota and quota and quota.used >= quota.limit:
        code = CheckCode.QUOTA_EXHAUSTED
    return Verdict(
        code=code,
        credential=key.credential if key and result.matched_by != MatchedBy.SUBSCRIPTION else None,
        subscription=result.subscription,
        customer=subscription.customer,
        product=subscription.product,
        quota=quota,
        valid_until=boundaries.next,
    )


class _Boundaries:
    """The earliest moment after `at` at which something begins or ends."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self.next: datetime | None = None

    def add(self, moment: datetime | None) -> None:
        if moment and moment > self._at and (self.next is None or moment < self.next):
            self.next = moment

    def add_period(self, period: "PlainPeriod | object") -> None:
        self.add(getattr(period, "active_from", None))
        self.add(getattr(period, "active_until", None))

    def add_key(self, key: MatchingKey) -> None:
        self.add_period(key.period)
        self.add(key.revoked_at)
        self.add(key.expires_at)
        for suspension in key.suspensions:
            self.add_period(suspension)
        for candidate in key.candidates:
            self.add_period(candidate.assigned)
            self.add_period(candidate.active)


def _matching_keys(call: CallAhead, register: Register) -> Iterator[MatchingKey]:
    """Yield the keys that the call may mean at its gateway."""
    if call.public_id is not None:
        number = register.credential_of(call.public_id)
        credential = register.credential(number) if number else None
        if number and credential:
            yield _matching_key(number, credential, register, kind=MatchedBy.PUBLIC_ID)
    if call.fingerprint is None:
        return
    for facts in register.keys(call.fingerprint):
        if facts.gateway not in (None, call.gateway):
            continue
        if credential := register.credential(facts.credential):
            kind = MatchedBy.KEY if facts.is_key else MatchedBy.ALIAS
            yield _matching_key(facts.credential, credential, register, kind=kind, facts=facts)


def _matching_key(
    number: int,
    credential: CredentialFacts,
    register: Register,
    *,
    kind: MatchedBy,
    facts: KeyFacts | None = None,
) -> MatchingKey:
    candidates = []
    for subscription_id, assigned in credential.assignments:
        if subscription := register.subscription(subscription_id):
            candidates.append(
                CandidateSubscription(
                    subscription=subscription_id,
                    assigned=to_period(assigned),
                    active=to_period(subscription.active),
                    coverage=_coverage(subscription.product, register),
                    customer=subscription.customer,
                    product=subscription.product,
                )
            )
    return MatchingKey(
        kind=kind,
        period=to_period(facts.active) if facts else ALWAYS,
        bound=bool(facts and facts.gateway is not None),
        credential=number,
        candidates=candidates,
        revoked_at=to_moment(credential.revoked),
        expires_at=to_moment(credential.expires),
        suspensions=[to_period(each) for each in credential.suspensions],
    )


def _holders(call: CallAhead, register: Register) -> Iterator[NameHolder]:
    if call.subscription_named is None:
        return
    for named in register.subscriptions_named(call.subscription_named):
        if subscription := register.subscription(named.subscription):
            yield NameHolder(
                subscription=named.subscription,
                active=to_period(subscription.active),
                coverage=_coverage(subscription.product, register),
                customer=subscription.customer,
                product=subscription.product,
                former_since=to_moment(named.former_since),
                counts_until=to_moment(named.counts_until),
            )


FULL_COVERAGE = SourceCoverage()


def _coverage(product_id: int, register: Register) -> SourceCoverage:
    product = register.product(product_id)
    if product is None or not product.restricted:
        return FULL_COVERAGE
    return SourceCoverage(
        sources=product.sources,
        restricted=True,
        also_without_source=product.also_without_source,
    )


def _source_of(
    call: CallAhead,
    register: Register,
    keys: Sequence[MatchingKey],
    holders: Sequence[NameHolder],
) -> str | None:
    """Return the source that the call names, or else that of its path if a product asks for it."""
    if call.source is not None or call.path is None:
        return call.source
    coverages = [candidate.coverage for key in keys for candidate in key.candidates]
    coverages += [holder.coverage for holder in holders]
    if any(coverage.restricted for coverage in coverages):
        return register.source_of_path(call.path)
    return None


def _key_to_name(
    keys: Sequence[MatchingKey], first: datetime, last: datetime
) -> MatchingKey | None:
    """Return the key that counts, or else the one that ended last, or that begins first."""
    if chosen := choose_key(keys, first, last):
        return chosen
    begun = [key for key in keys if key.period.active_from <= last]
    if begun:
        return max(begun, key=lambda key: key.period.active_from)
    return min(keys, key=lambda key: key.period.active_from, default=None)


def _code_of(
    reason: QuarantineReason, key: MatchingKey | None, first: datetime, last: datetime
) -> CheckCode:
    """Return the code of a call that would be quarantined for this reason."""
    if reason in CODES_BY_REASON:
        return CODES_BY_REASON[reason]
    if reason == QuarantineReason.KEY_NOT_VALID and key:
        return _why_key_is_not_valid(key, first, last)
    if key and any(candidate.holds_within(first, last) for candidate in key.candidates):
        return CheckCode.WRONG_SOURCE
    return CheckCode.NO_SUBSCRIPTION


def _why_key_is_not_valid(key: MatchingKey, first: datetime, last: datetime) -> CheckCode:
    if key.revoked_at and key.revoked_at <= first:
        return CheckCode.REVOKED
    if key.period.active_from > last:
        return CheckCode.NOT_BEGUN
    if not key.period.holds_within(first, last) or (key.expires_at and key.expires_at <= first):
        return CheckCode.EXPIRED
    return CheckCode.SUSPENDED


def _quota_of(
    number: int, subscription: SubscriptionFacts, register: Register, at: datetime
) -> Quota | None:
    if subscription.quota is None:
        return None
    return Quota(
        limit=subscription.quota,
        used=register.calls_this_month(number),
        resets_at=start_of_next_month(at),
    )


def start_of_next_month(at: datetime) -> datetime:
    """Return the moment at which quotas begin anew: the calendar month in UTC."""
    year, month = at.astimezone(UTC).year, at.astimezone(UTC).month
    return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
