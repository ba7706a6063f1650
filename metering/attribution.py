"""Who used what: find whose each waiting transaction is, or say why it is nobody's."""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from django.db import Error, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.db.models.functions import Now
from django.db.transaction import atomic

from metering import faults, partitions
from metering.models import Delivery, MatchedBy, Reason
from metering.statements import (
    PUT_ASIDE,
    SETTLE,
    SETTLE_TAKEN,
    TAKE,
    TAKE_APART,
    TRIED_BEFORE,
    WOULD_BE,
)
from revcred.models import Gateway
from revcred.models.periods import Dated, last_possible

logger = logging.getLogger(__name__)

MOST = 5_000  # transactions settled in one statement
SETTLING = 0x5E771E  # advisory: settlements share it, a claim waits for those under way

LIMIT = 2.0  # seconds a settlement may take …
MOST_CAREFULLY = 1_000  # transactions in one that is made with care, which may take …
LIMIT_MORE_EACH_TRY = 0.5  # … so many seconds more each time
LIMIT_PER_TRANSACTION = 0.0004
TRIES_IN_COMPANY = 1
TRIES_WHOLE = TRIES_IN_COMPANY + 1
TRIES_SINGLE = TRIES_IN_COMPANY + 4
CAREFUL_FOR = 5.0  # seconds
GLANCE_EVERY = 1.0  # seconds
SUSPECTS_EVERY, SUSPECTS_FOR = 5.0, 1.0  # seconds
PAUSE = timedelta(seconds=1)
MOST_PATIENT = 8

BEGIN = """
SELECT
    pg_advisory_xact_lock_shared(%s), set_config('statement_timeout', %s, true),
    set_config('lock_timeout', %s, true)
"""


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

    def credential_is_valid_within(self, first: datetime, last: datetime) -> bool:
        """Return True if the credential counts at any moment from `first` to `last`."""
        over = min(filter(None, (self.revoked_at, self.expires_at)), default=None)
        return (over is None or first < over) and not any(
            each.active_from <= first and each.outlasts(last) for each in self.suspensions
        )


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """The calls that a product counts: see `Product` for its two switches."""

    sources: Collection[str] = ()
    restricted: bool = False
    also_without_source: bool = False

    def takes(self, source: str | None) -> bool:
        if not (self.restricted or self.sources):
            return True
        return self.also_without_source if source is None else source in self.sources


EVERYTHING = Coverage()


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A subscription that a credential feeds, and when."""

    subscription: str
    assigned: Dated
    active: Dated
    coverage: Coverage = EVERYTHING

    def holds_within(self, first: datetime, last: datetime) -> bool:
        return self.assigned.holds_within(first, last) and self.active.holds_within(first, last)

    def outlasts(self, moment: datetime) -> bool:
        return self.assigned.outlasts(moment) and self.active.outlasts(moment)


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A subscription that has the name a transaction says, or had it until it was renamed.

    `former_since`: when it was renamed. `counts_until`: the moment another took the name.
    """

    subscription: str
    active: Dated
    coverage: Coverage = EVERYTHING
    former_since: datetime | None = None
    counts_until: datetime | None = None


def holders_within(first: datetime, last: datetime, holders: Sequence[Holder]) -> list[Holder]:
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
class Attributed:
    subscription: str
    matched_by: str


def verdict(  # noqa: C901, PLR0911 - the rules in their order, each with its way out
    *,
    at: datetime,
    keyed: bool,
    keys: Sequence[Key] = (),
    named: bool = False,
    holders: Sequence[Holder] = (),
    source: str | None = None,
    by_name: Attributed | Reason | None = None,
    outside: bool = False,
) -> Attributed | Reason:
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
        return Reason.MOMENT_OUTSIDE
    first, last = at, last_possible(at)
    named_ones = holders_within(first, last, holders)
    if not keyed:
        if not named:
            return by_name or Reason.ANONYMOUS
        if not named_ones or not named_ones[0].coverage.takes(source):
            return Reason.NO_SUBSCRIPTION
        return Attributed(named_ones[0].subscription, MatchedBy.SUBSCRIPTION)
    if not keys:
        return Reason.UNKNOWN_KEY
    then = [key for key in keys if key.period.holds_within(first, last)]
    if not then:
        return Reason.KEY_NOT_VALID
    key = max(then, key=lambda each: (each.bound, each.period.active_from))
    if not key.credential_is_valid_within(first, last):
        return Reason.KEY_NOT_VALID
    candidates = [each for each in key.candidates if each.holds_within(first, last)]
    if not candidates:
        return Reason.NO_SUBSCRIPTION
    if named:
        those = {each.subscription for each in named_ones}
        candidates = [each for each in candidates if each.subscription in those]
        if not candidates:
            return Reason.SUBSCRIPTION_MISMATCH
    fitting = [each for each in candidates if each.coverage.takes(source)]
    fitting = [each for each in fitting if each.outlasts(last)] or fitting
    if not fitting:
        return Reason.NO_SUBSCRIPTION
    if len(fitting) > 1:
        return Reason.AMBIGUOUS
    return Attributed(fitting[0].subscription, key.kind)


def would_be(
    gateway: Gateway, *, fingerprint: str | None, subscription_named: str | None
) -> Reason | None:
    """Why a call of now, to whatever source, would be nobody's; None if it would be somebody's."""
    arguments = {
        "gateway": gateway.pk,
        "fingerprint": fingerprint,
        "subscription_named": subscription_named,
    }
    with connection.cursor() as cursor:
        cursor.execute(WOULD_BE, arguments)
        (reason,) = cursor.fetchone()
    return Reason(reason) if reason else None


class Care:
    """Whether this process settles in small company, with each attempt on record before it is made.

    It does so for some seconds after anything failed, after it came upon what failed elsewhere,
    and when it is new: what waits may have killed the one before it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._until: float | None = None
        self._glance_at = 0.0
        self.patience = 1  # times the usual limits

    def take(self) -> None:
        self._until = monotonic() + CAREFUL_FOR

    def be_patient(self) -> None:
        self.patience = min(2 * self.patience, MOST_PATIENT)

    def is_called_for(self) -> bool:
        if self._until is None or self._glances():
            self.take()
        if self.is_taken():
            return True
        self.patience = 1
        return False

    def is_taken(self) -> bool:
        return self._until is not None and monotonic() < self._until

    def _glances(self) -> bool:
        """Now and then, whether what has been tried before is first in the queue."""
        if monotonic() < self._glance_at:
            return False
        self._glance_at = monotonic() + GLANCE_EVERY
        with connection.cursor() as cursor:
            cursor.execute(TRIED_BEFORE)
            return bool(cursor.fetchone()[0])


care = Care()
os.register_at_fork(after_in_child=care.forget)


class Taken(NamedTuple):
    """A delivery whose attempt is on record, this one included in `attempts`."""

    id: UUID
    transactions: int
    attempts: int

    def has_had(self, tries: int) -> bool:
        """Whether there is no use in trying it, as it is, once more."""
        return tries >= (TRIES_WHOLE if self.transactions > 1 else TRIES_SINGLE)


def settle_waiting() -> int:
    """Settle what waits in the inbox until nothing does, and say how many deliveries that were."""
    return sum(iter(settle, 0))


def settle(most: int = MOST) -> int:
    """Settle the longest waiting deliveries, all or none: about `most` transactions at once.

    Answers how many, 0 when nothing is due that can be settled. Raises django.db.Error when the
    database is away.
    """
    connect()
    if not care.is_called_for():
        try:
            return _execute(SETTLE, LIMIT, most=most)
        except Error as error:
            if faults.is_away(error):
                raise
            logger.warning("Settling failed: %s. Going on with care.", faults.name_of(error))
            care.take()
            partitions.ensure()
    return _settle_carefully(min(most, MOST_CAREFULLY))


def connect() -> None:
    """Not to have a connection, or a broken one, is no delivery's fault."""
    if not connection.is_usable():
        connection.close()
    connection.ensure_connection()


def _settle_carefully(most: int) -> int:
    while company := _take(most):
        if settled := _attempt(company):
            return settled
    return 0


def _take(most: int) -> list[Taken]:
    """Who is next, on record as tried."""
    for least, greatest in _turns():
        with connection.cursor() as cursor:
            cursor.execute(TAKE, {"least": least, "greatest": greatest, "most": most})
            if taken := [Taken(*row) for row in cursor.fetchall()]:
                return taken
    return []


def _turns() -> Sequence[tuple[int, int | None]]:
    """From how many tries, up to how many: who comes first, and who if none of those is due.

    What has failed alone comes last, but for one second in five: a try of it may take as long as
    it is allowed to, and take the process along.
    """
    turns = ((0, TRIES_IN_COMPANY), (TRIES_WHOLE, None))
    return turns[::-1] if monotonic() % SUSPECTS_EVERY < SUSPECTS_FOR else turns


def _attempt(company: Sequence[Taken]) -> int:
    first = company[0]
    if first.has_had(first.attempts - 1):
        _give_up(first)  # nobody came back from the last attempts to say so
        return 0
    limit = LIMIT_MORE_EACH_TRY * first.attempts + LIMIT_PER_TRANSACTION * sum(
        each.transactions for each in company
    )
    try:
        return _execute(SETTLE_TAKEN, limit, deliveries=[each.id for each in company])
    except Error as error:
        care.take()
        _blame(company, error, limit)
        return 0


def _blame(company: Sequence[Taken], error: Error, limit: float) -> None:
    """Note that they failed: in company at first, so that each is tried alone, at once."""
    first, deliveries = company[0], Delivery.objects.filter(pk__in=[each.id for each in company])
    if faults.is_away(error):
        with suppress(Error):
            deliveries.update(attempts=F("attempts") - 1)
        raise error
    if faults.is_contention(error) or (faults.took_too_long(error) and _everything_is_slow(limit)):
        care.be_patient()
        deliveries.update(attempts=F("attempts") - 1, next_try_at=Now() + PAUSE)
        return
    name = faults.name_of(error)
    logger.warning("Not settled: deliveries %d, tries %d, %s", len(company), first.attempts, name)
    if first.attempts == TRIES_IN_COMPANY:
        deliveries.update(last_error=name, next_try_at=F("received_at"))
        return
    deliveries.update(last_error=name)
    if first.has_had(first.attempts):
        _give_up(first)


def _everything_is_slow(limit: float) -> bool:
    """Whether to settle nothing at all takes long, too: then time says nothing of who was in it."""
    began = monotonic()
    try:
        _execute(SETTLE_TAKEN, limit, deliveries=[])
    except Error:
        return True
    return monotonic() - began > limit / 4


def _give_up(taken: Taken) -> None:
    """Take it apart, or put it aside. If even that fails, it stays and is tried ever less often."""
    statement = TAKE_APART if taken.transactions > 1 else PUT_ASIDE
    try:
        with _limited(LIMIT) as cursor:
            cursor.execute(statement, {"delivery": taken.id, "unsaid": faults.PROCESS_LOST})
    except Error as error:
        if faults.is_away(error):
            raise
        logger.error("A delivery stays in the inbox: %s", faults.name_of(error))  # noqa: TRY400


def _execute(statement: str, limit: float, **arguments: int | list[UUID]) -> int:
    with _limited(limit) as cursor:
        cursor.execute(statement, arguments)
        deliveries, _ = cursor.fetchone()
    return int(deliveries)


@contextmanager
def _limited(seconds: float) -> Iterator[CursorWrapper]:
    """A transaction in which no statement takes longer, and to wait for a lock is told apart."""
    milliseconds = int(seconds * 1_000) * care.patience
    with atomic(), connection.cursor() as cursor:
        # A statement of its own: what follows sees all that was committed before the lock.
        cursor.execute(BEGIN, [SETTLING, f"{milliseconds}", f"{milliseconds // 2}"])
        yield cursor
