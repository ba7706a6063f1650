"""Who used what: find whose each waiting transaction is, or say why it is nobody's."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import DataError, IntegrityError, InternalError, ProgrammingError, connection
from django.db.models import F
from django.db.models.functions import Now
from django.db.transaction import atomic

from metering import partitions
from metering.models import Delivery, MatchedBy, Reason
from metering.statements import PUT_ASIDE, SETTLE, SETTLE_ONE, TAKE_APART
from revcred.models.periods import Dated

logger = logging.getLogger(__name__)

MOST = 5_000  # transactions settled in one statement
SETTLING = 0x5E771E  # advisory: settlements share it, a claim waits for those under way

# What can only be the transaction's fault, and not PostgreSQL's or the network's.
POISON = (DataError, IntegrityError, InternalError, ProgrammingError)
TRIES_WHOLE = 2
TRIES_APART = 4


@dataclass(frozen=True, kw_only=True)
class Key:
    """An external key that bears the transaction's fingerprint, and its credential's moments."""

    kind: str
    period: Dated
    bound: bool  # to the transaction's own gateway, and not for any
    candidates: Sequence["Candidate"] = ()
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    suspensions: Collection[Dated] = ()

    def credential_is_valid_at(self, moment: datetime) -> bool:
        over = min(filter(None, (self.revoked_at, self.expires_at)), default=None)
        return (over is None or moment < over) and not any(
            each.holds(moment) for each in self.suspensions
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A subscription that a credential feeds, and when."""

    subscription: str
    assigned: Dated
    active: Dated
    sources: Collection[str] = ()

    def holds(self, moment: datetime) -> bool:
        return self.assigned.holds(moment) and self.active.holds(moment)

    def takes(self, source: str | None) -> bool:
        return source is None or not self.sources or source in self.sources


@dataclass(frozen=True)
class Attributed:
    subscription: str
    matched_by: str


def verdict(  # noqa: C901, PLR0911 - the rules in their order, each with its way out
    *,
    at: datetime,
    keyed: bool,
    keys: Sequence[Key] = (),
    named: str | None = None,
    directly: Dated | None = None,
    source: str | None = None,
) -> Attributed | Reason:
    """Whose one transaction is, judged by the moment of the call `at`, never by today.

    `keyed`: it bears a key. `keys`: those with its fingerprint that count at its gateway.
    `named`: the subscription it names, and `directly` that one's period if there is such a one.
    `source`: the source it names, or else the one its path belongs to.
    """
    if not keyed:
        if named is None:
            return Reason.ANONYMOUS
        if directly is None or not directly.holds(at):
            return Reason.NO_SUBSCRIPTION
        return Attributed(named, MatchedBy.SUBSCRIPTION)
    if not keys:
        return Reason.UNKNOWN_KEY
    then = sorted((key for key in keys if key.period.holds(at)), key=lambda key: not key.bound)
    if not then or not then[0].credential_is_valid_at(at):
        return Reason.KEY_NOT_VALID
    candidates = [each for each in then[0].candidates if each.holds(at)]
    if not candidates:
        return Reason.NO_SUBSCRIPTION
    if named is not None:
        candidates = [each for each in candidates if each.subscription == named]
        if not candidates:
            return Reason.SUBSCRIPTION_MISMATCH
    fitting = [each for each in candidates if each.takes(source)]
    if not fitting:
        return Reason.NO_SUBSCRIPTION
    if len(fitting) > 1:
        return Reason.AMBIGUOUS
    return Attributed(fitting[0].subscription, then[0].kind)


def settle_waiting() -> int:
    """Settle what waits in the inbox until nothing does, and say how many deliveries that were."""
    return sum(iter(settle, 0))


def settle(most: int = MOST) -> int:
    """Settle the longest waiting deliveries, all or none: about `most` transactions at once."""
    try:
        return _execute(SETTLE, most=most)
    except POISON:
        logger.exception("A chunk could not be settled; trying its deliveries one by one")
        partitions.ensure()
        return sum(map(_settle_alone, _due()))


def _due() -> list[UUID]:
    due = Delivery.objects.filter(next_try_at__lte=Now()).order_by("next_try_at")
    return list(due.values_list("pk", flat=True)[:200])


def _settle_alone(delivery: UUID) -> int:
    """Settle one delivery. If it fails again and again, take it apart, and then put it aside."""
    try:
        return _execute(SETTLE_ONE, delivery=delivery)
    except POISON as error:
        return _fail(delivery, type(error.__cause__ or error).__name__)


def _fail(delivery: UUID, error: str) -> int:
    """Try again later, after pauses that grow; the error's class is all that is kept of it."""
    failed = Delivery.objects.get(pk=delivery)
    failed.attempts += 1
    pause = timedelta(seconds=2**failed.attempts)
    Delivery.objects.filter(pk=delivery).update(
        attempts=F("attempts") + 1, last_error=error, next_try_at=Now() + pause
    )
    if failed.transactions > 1 and failed.attempts >= TRIES_WHOLE:
        _run(TAKE_APART, delivery)
    elif failed.transactions == 1 and failed.attempts >= TRIES_APART:
        _run(PUT_ASIDE, delivery)
    return 0


def _run(statement: str, delivery: UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, {"delivery": delivery})


@atomic
def _execute(statement: str, **arguments: int | UUID) -> int:
    with connection.cursor() as cursor:
        # A statement of its own: what follows sees all that was committed before the lock.
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", [SETTLING])
        cursor.execute(statement, arguments)
        deliveries, _ = cursor.fetchone()
    return int(deliveries)
