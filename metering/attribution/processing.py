"""Who used what: find whose each waiting transaction is, or say why it is nobody's."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import NamedTuple
from uuid import UUID

from django.db import Error, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.db.models.functions import Now
from django.db.transaction import atomic

from metering import failures
from metering.attribution.cautious_mode import care
from metering.attribution.statements import (
    PUT_ASIDE,
    SETTLE,
    SETTLE_TAKEN,
    TAKE,
    TAKE_APART,
)
from metering.ledger import partitions
from metering.locks import SETTLING
from metering.models import Delivery

logger = logging.getLogger(__name__)

MOST = 5_000  # transactions settled in one statement

LIMIT = 2.0  # seconds a settlement may take …
MOST_CAREFULLY = 1_000  # transactions in one that is made with care, which may take …
LIMIT_MORE_EACH_TRY = 0.5  # … so many seconds more each time
LIMIT_PER_TRANSACTION = 0.0004
TRIES_IN_COMPANY = 1
TRIES_WHOLE = TRIES_IN_COMPANY + 1
TRIES_SINGLE = TRIES_IN_COMPANY + 4
SUSPECTS_EVERY, SUSPECTS_FOR = 5.0, 1.0  # seconds
PAUSE = timedelta(seconds=1)

BEGIN = """
SELECT
    pg_advisory_xact_lock_shared(%s), set_config('statement_timeout', %s, true),
    set_config('lock_timeout', %s, true)
"""


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
            if failures.is_away(error):
                raise
            logger.warning("Settling failed: %s. Going on with care.", failures.name_of(error))
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
    if failures.is_away(error):
        with suppress(Error):
            deliveries.update(attempts=F("attempts") - 1)
        raise error
    if failures.is_contention(error) or (
        failures.took_too_long(error) and _everything_is_slow(limit)
    ):
        care.be_patient()
        deliveries.update(attempts=F("attempts") - 1, next_try_at=Now() + PAUSE)
        return
    name = failures.name_of(error)
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
            cursor.execute(statement, {"delivery": taken.id, "unsaid": failures.PROCESS_LOST})
    except Error as error:
        if failures.is_away(error):
            raise
        logger.error("A delivery stays in the inbox: %s", failures.name_of(error))  # noqa: TRY400


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
