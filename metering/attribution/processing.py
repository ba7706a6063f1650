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
from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.statements import (
    BEGIN_ATTEMPT,
    PROCESS_ATTEMPTED,
    PROCESS_UNTRIED,
    QUARANTINE_POISON,
    SPLIT_DELIVERY,
)
from metering.ledger import partitions
from metering.locks import ATTRIBUTION_LOCK
from metering.models import Delivery

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_STATEMENT = 5_000  # transactions settled in one statement

STATEMENT_LIMIT_SECONDS = 2.0  # seconds a settlement may take …
MAX_TRANSACTIONS_IN_CAUTIOUS_MODE = (
    1_000  # transactions in one that is made with care, which may take …
)
EXTRA_SECONDS_PER_ATTEMPT = 0.5  # … so many seconds more each time
EXTRA_SECONDS_PER_TRANSACTION = 0.0004
BATCH_ATTEMPTS = 1
MAX_DELIVERY_ATTEMPTS = BATCH_ATTEMPTS + 1
MAX_SINGLE_TRANSACTION_ATTEMPTS = BATCH_ATTEMPTS + 4
SUSPECTS_EVERY, SUSPECTS_FOR = 5.0, 1.0  # seconds
CONTENTION_RETRY_DELAY = timedelta(seconds=1)

LOCK_AND_SET_TIMEOUTS = """
SELECT
    pg_advisory_xact_lock_shared(%s), set_config('statement_timeout', %s, true),
    set_config('lock_timeout', %s, true)
"""


os.register_at_fork(after_in_child=cautious_mode.forget)


class Attempt(NamedTuple):
    """A delivery whose attempt is on record, this one included in `attempts`."""

    id: UUID
    transactions: int
    attempts: int

    def has_had(self, tries: int) -> bool:
        """Whether there is no use in trying it, as it is, once more."""
        return tries >= (
            MAX_DELIVERY_ATTEMPTS if self.transactions > 1 else MAX_SINGLE_TRANSACTION_ATTEMPTS
        )


def process_waiting_deliveries() -> int:
    """Settle what waits in the inbox until nothing does, and say how many deliveries that were."""
    return sum(iter(process_deliveries, 0))


def process_deliveries(most: int = MAX_TRANSACTIONS_PER_STATEMENT) -> int:
    """Settle the longest waiting deliveries, all or none: about `most` transactions at once.

    Answers how many, 0 when nothing is due that can be settled. Raises django.db.Error when the
    database is away.
    """
    ensure_usable_connection()
    if not cautious_mode.is_called_for():
        try:
            return _execute_attribution(PROCESS_UNTRIED, STATEMENT_LIMIT_SECONDS, most=most)
        except Error as error:
            if failures.is_unavailable(error):
                raise
            logger.warning("Settling failed: %s. Going on with care.", failures.error_class(error))
            cautious_mode.take()
            partitions.ensure_partitions()
    return _process_cautiously(min(most, MAX_TRANSACTIONS_IN_CAUTIOUS_MODE))


def ensure_usable_connection() -> None:
    """Not to have a connection, or a broken one, is no delivery's fault."""
    if not connection.is_usable():
        connection.close()
    connection.ensure_connection()


def _process_cautiously(most: int) -> int:
    while company := _begin_attempt(most):
        if settled := _attempt_batch(company):
            return settled
    return 0


def _begin_attempt(most: int) -> list[Attempt]:
    """Who is next, on record as tried."""
    for least, greatest in _attempt_ranges():
        with connection.cursor() as cursor:
            cursor.execute(BEGIN_ATTEMPT, {"least": least, "greatest": greatest, "most": most})
            if taken := [Attempt(*row) for row in cursor.fetchall()]:
                return taken
    return []


def _attempt_ranges() -> Sequence[tuple[int, int | None]]:
    """From how many tries, up to how many: who comes first, and who if none of those is due.

    What has failed alone comes last, but for one second in five: a try of it may take as long as
    it is allowed to, and take the process along.
    """
    turns = ((0, BATCH_ATTEMPTS), (MAX_DELIVERY_ATTEMPTS, None))
    return turns[::-1] if monotonic() % SUSPECTS_EVERY < SUSPECTS_FOR else turns


def _attempt_batch(company: Sequence[Attempt]) -> int:
    first = company[0]
    if first.has_had(first.attempts - 1):
        _split_or_quarantine(first)  # nobody came back from the last attempts to say so
        return 0
    limit = EXTRA_SECONDS_PER_ATTEMPT * first.attempts + EXTRA_SECONDS_PER_TRANSACTION * sum(
        each.transactions for each in company
    )
    try:
        return _execute_attribution(
            PROCESS_ATTEMPTED, limit, deliveries=[each.id for each in company]
        )
    except Error as error:
        cautious_mode.take()
        _record_failure(company, error, limit)
        return 0


def _record_failure(company: Sequence[Attempt], error: Error, limit: float) -> None:
    """Note that they failed: in company at first, so that each is tried alone, at once."""
    first, deliveries = company[0], Delivery.objects.filter(pk__in=[each.id for each in company])
    if failures.is_unavailable(error):
        with suppress(Error):
            deliveries.update(attempts=F("attempts") - 1)
        raise error
    if failures.is_contention(error) or (
        failures.took_too_long(error) and _is_everything_slow(limit)
    ):
        cautious_mode.be_patient()
        deliveries.update(attempts=F("attempts") - 1, next_try_at=Now() + CONTENTION_RETRY_DELAY)
        return
    name = failures.error_class(error)
    logger.warning("Not settled: deliveries %d, tries %d, %s", len(company), first.attempts, name)
    if first.attempts == BATCH_ATTEMPTS:
        deliveries.update(last_error=name, next_try_at=F("received_at"))
        return
    deliveries.update(last_error=name)
    if first.has_had(first.attempts):
        _split_or_quarantine(first)


def _is_everything_slow(limit: float) -> bool:
    """Whether to settle nothing at all takes long, too: then time says nothing of who was in it."""
    began = monotonic()
    try:
        _execute_attribution(PROCESS_ATTEMPTED, limit, deliveries=[])
    except Error:
        return True
    return monotonic() - began > limit / 4


def _split_or_quarantine(taken: Attempt) -> None:
    """Take it apart, or put it aside. If even that fails, it stays and is tried ever less often."""
    statement = SPLIT_DELIVERY if taken.transactions > 1 else QUARANTINE_POISON
    try:
        with _time_limited_transaction(STATEMENT_LIMIT_SECONDS) as cursor:
            cursor.execute(statement, {"delivery": taken.id, "unsaid": failures.PROCESS_LOST})
    except Error as error:
        if failures.is_unavailable(error):
            raise
        logger.error("A delivery stays in the inbox: %s", failures.error_class(error))  # noqa: TRY400


def _execute_attribution(statement: str, limit: float, **arguments: int | list[UUID]) -> int:
    with _time_limited_transaction(limit) as cursor:
        cursor.execute(statement, arguments)
        deliveries, _ = cursor.fetchone()
    return int(deliveries)


@contextmanager
def _time_limited_transaction(seconds: float) -> Iterator[CursorWrapper]:
    """A transaction in which no statement takes longer, and to wait for a lock is told apart."""
    milliseconds = int(seconds * 1_000) * cautious_mode.patience
    with atomic(), connection.cursor() as cursor:
        # A statement of its own: what follows sees all that was committed before the lock.
        cursor.execute(
            LOCK_AND_SET_TIMEOUTS, [ATTRIBUTION_LOCK, f"{milliseconds}", f"{milliseconds // 2}"]
        )
        yield cursor
