"""Process the inbox: attribute waiting transactions, or quarantine them with the reason."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error, connection
from django.db.backends.utils import CursorWrapper
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from django.db.transaction import atomic

from metering import failures
from metering.attribution import slow_rules
from metering.attribution.cautious_mode import cautious_mode
from metering.attribution.statements import (
    BEGIN_ATTEMPT,
    PROCESS_ATTEMPTED,
    QUARANTINE_POISON,
    SPLIT_DELIVERY,
    process_untried_statement,
)
from metering.ledger import partitions
from metering.locks import ATTRIBUTION_LOCK
from metering.models import Delivery
from revcred.postgresql.prepared import fetch_prepared
from revcred.runtime.schema_version import code_version, is_older_than_database

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_STATEMENT = 5_000
STATEMENT_LIMIT_SECONDS = 2.0

# In cautious mode.
MAX_TRANSACTIONS_IN_CAUTIOUS_MODE = 1_000  # in one statement
EXTRA_SECONDS_PER_ATTEMPT = 0.5  # each further attempt may take so much longer
EXTRA_SECONDS_PER_TRANSACTION = 0.0004
BATCH_ATTEMPTS = 1  # together with other deliveries, before each is attempted alone
MAX_DELIVERY_ATTEMPTS = BATCH_ATTEMPTS + 1  # then it is split into its transactions
MAX_SINGLE_TRANSACTION_ATTEMPTS = BATCH_ATTEMPTS + 4  # then it is quarantined as poison
RETRY_TURN_INTERVAL_SECONDS, RETRY_TURN_SECONDS = 5.0, 1.0
CONTENTION_RETRY_DELAY = timedelta(seconds=1)
SYSTEMIC_RETRY_DELAY = timedelta(seconds=5)  # until newer code runs, or a right is granted

# Plans are kept. Those of tables that have grown since have to use indexes all the same.
LOCK_AND_SET_LIMITS = """
SELECT
    pg_advisory_xact_lock_shared(%s), set_config('statement_timeout', %s, true),
    set_config('lock_timeout', %s, true), set_config('enable_seqscan', 'off', true)
"""


# A forked worker is a new process: its predecessor may have been killed by what waits.
os.register_at_fork(after_in_child=cautious_mode.reset)


class Attempt(NamedTuple):
    """A delivery whose attempt has been recorded; `attempts` includes this one."""

    id: UUID
    transactions: int
    attempts: int

    def is_exhausted_after(self, attempts: int) -> bool:
        """Return True if this delivery, as it is, must not be attempted again."""
        return attempts >= (
            MAX_DELIVERY_ATTEMPTS if self.transactions > 1 else MAX_SINGLE_TRANSACTION_ATTEMPTS
        )


def process_waiting_deliveries() -> int:
    """Process the inbox until nothing is due, and return the number of deliveries."""
    return sum(iter(process_deliveries, 0))


def process_deliveries(max_transactions: int = MAX_TRANSACTIONS_PER_STATEMENT) -> int:
    """Process the longest waiting deliveries in one statement, all or none.

    They hold about `max_transactions` transactions. Return the number of deliveries: 0 when
    nothing is due that can be processed.

    Raises:
        django.db.Error: the database is unavailable.
    """
    ensure_usable_connection()
    if is_older_than_database():
        return 0
    if not cautious_mode.should_be_used():
        try:
            return _execute_attribution(
                process_untried_statement(max_transactions), STATEMENT_LIMIT_SECONDS
            )
        except Error as error:
            if failures.is_unavailable(error):
                raise
            logger.warning(
                "Processing failed with %s. Continuing in cautious mode.",
                failures.error_class(error),
            )
            cautious_mode.enter()
            # A day without a partition is the one failure that can be repaired at once.
            partitions.ensure_partitions()
    return _process_cautiously(min(max_transactions, MAX_TRANSACTIONS_IN_CAUTIOUS_MODE))


def ensure_usable_connection() -> None:
    """Connect again if the connection is lost, so that no delivery is blamed for it.

    Raises:
        django.db.OperationalError: the database is unavailable.
    """
    if not connection.is_usable():
        connection.close()
    connection.ensure_connection()


def _process_cautiously(max_transactions: int) -> int:
    """Attempt batches until one succeeds, and return its number of deliveries; 0 if none is due."""
    while batch := _begin_attempt(max_transactions):
        if processed := _attempt_batch(batch):
            return processed
    return 0


def _begin_attempt(max_transactions: int) -> list[Attempt]:
    """Record the attempt of the next batch, and return it; an empty list if none is due."""
    for fewest, most in _attempt_ranges():
        arguments = {
            "fewest_attempts": fewest,
            "most_attempts": most,
            "max_transactions": max_transactions,
        }
        with connection.cursor() as cursor:
            cursor.execute(BEGIN_ATTEMPT, arguments)
            if batch := [Attempt(*row) for row in cursor.fetchall()]:
                return batch
    return []


def _attempt_ranges() -> Sequence[tuple[int, int | None]]:
    """Return the fewest and most earlier attempts of the deliveries to take, by priority.

    Deliveries that failed alone come last, except in one second of five: an attempt of theirs may
    use up its time limit, or kill the process, while healthy deliveries wait.
    """
    ranges = ((0, BATCH_ATTEMPTS), (MAX_DELIVERY_ATTEMPTS, None))
    is_retry_turn = monotonic() % RETRY_TURN_INTERVAL_SECONDS < RETRY_TURN_SECONDS
    return ranges[::-1] if is_retry_turn else ranges


def _attempt_batch(batch: Sequence[Attempt]) -> int:
    """Process the batch, and return its number of deliveries; 0 if it failed, which is recorded."""
    first = batch[0]
    # The last permitted attempt was recorded, but not its outcome: it killed its process.
    if first.is_exhausted_after(first.attempts - 1):
        _split_or_quarantine(first)
        return 0
    limit = EXTRA_SECONDS_PER_ATTEMPT * first.attempts + EXTRA_SECONDS_PER_TRANSACTION * sum(
        attempt.transactions for attempt in batch
    )
    try:
        return _execute_attribution(
            PROCESS_ATTEMPTED, limit, deliveries=[attempt.id for attempt in batch]
        )
    except Error as error:
        cautious_mode.enter()
        _record_failure(batch, error, limit)
        return 0


def _record_failure(batch: Sequence[Attempt], error: Error, limit: float) -> None:
    """Record that the batch failed, unless it cannot be the cause.

    After a failed batch each of its deliveries is attempted alone, without a pause.
    """
    first = batch[0]
    deliveries = Delivery.objects.filter(pk__in=[attempt.id for attempt in batch])
    if failures.is_unavailable(error):
        with suppress(Error):
            deliveries.update(attempts=F("attempts") - 1)
        raise error
    # Waiting for others' locks or a slow disk must never lead a healthy delivery to quarantine.
    if failures.is_contention(error) or (
        failures.took_too_long(error) and _is_everything_slow(limit)
    ):
        cautious_mode.extend_limits()
        deliveries.update(attempts=F("attempts") - 1, next_try_at=Now() + CONTENTION_RETRY_DELAY)
        return
    # Nor does a call that a path rule is slow with: now that the rule is off, all are tried again.
    if failures.took_too_long(error) and slow_rules.switch_off_rules_slow_in(
        [attempt.id for attempt in batch]
    ):
        deliveries.update(attempts=F("attempts") - 1, next_try_at=F("received_at"))
        return
    name = failures.error_class(error)
    if failures.is_systemic(error) and _fails_without_deliveries(limit):
        _wait_for_another_schema(deliveries, name)
        return
    logger.warning(
        "Processing of %d deliveries failed with %s, attempt %d.", len(batch), name, first.attempts
    )
    if first.attempts == BATCH_ATTEMPTS:
        deliveries.update(last_error=name, next_try_at=F("received_at"))
        return
    deliveries.update(last_error=name)
    if not first.is_exhausted_after(first.attempts):
        return
    # One transaction is put aside only for what it can have caused. Several are split first.
    if first.transactions == 1 and (
        failures.is_systemic(error) or _fails_without_deliveries(limit)
    ):
        _wait_for_another_schema(deliveries, name)
        return
    _split_or_quarantine(first)


def _wait_for_another_schema(deliveries: QuerySet[Delivery], name: str) -> None:
    """Let deliveries wait, and take back their attempt: no transaction causes such an error."""
    logger.error("Processing fails with %s, which no transaction causes.", name)
    deliveries.update(
        attempts=F("attempts") - 1, last_error=name, next_try_at=Now() + SYSTEMIC_RETRY_DELAY
    )


def _fails_without_deliveries(limit: float) -> bool:
    """Return True if an empty batch fails, too, and not only because it had to wait."""
    try:
        _execute_attribution(PROCESS_ATTEMPTED, limit, deliveries=[])
    except Error as error:
        return not (
            failures.took_too_long(error)
            or failures.is_contention(error)
            or failures.connection_lost(error)
        )
    return False


def _is_everything_slow(limit: float) -> bool:
    """Return True if even an empty batch is slow, so that the batch is not to blame."""
    began = monotonic()
    try:
        _execute_attribution(PROCESS_ATTEMPTED, limit, deliveries=[])
    except Error:
        return True
    return monotonic() - began > limit / 4


def _split_or_quarantine(attempt: Attempt) -> None:
    """Split a delivery into its transactions, or quarantine its only transaction as poison.

    If that fails, too, the delivery stays in the inbox and is attempted less and less often.
    """
    statement = SPLIT_DELIVERY if attempt.transactions > 1 else QUARANTINE_POISON
    arguments: dict[str, Any] = {
        "delivery": attempt.id,
        "default_error": failures.PROCESS_LOST,
        "code_version": code_version(),
    }
    try:
        with _time_limited_transaction(STATEMENT_LIMIT_SECONDS) as cursor:
            cursor.execute(statement, arguments)
    except Error as error:
        if failures.is_unavailable(error):
            raise
        # Without the traceback, whose text may quote what a gateway sent.
        logger.error(  # noqa: TRY400
            "A delivery cannot be quarantined and stays in the inbox: %s",
            failures.error_class(error),
        )


def _execute_attribution(statement: str, limit: float, **arguments: list[UUID]) -> int:
    """Execute one of the PROCESS statements, and return its number of deliveries."""
    with _time_limited_transaction(limit):
        ((deliveries, _),) = fetch_prepared(statement, arguments)
    return int(deliveries)


@contextmanager
def _time_limited_transaction(seconds: float) -> Iterator[CursorWrapper]:
    """Open a transaction that holds ATTRIBUTION_LOCK and limits each of its statements.

    Waiting for a lock has half the limit, so that contention is told apart from slow statements.
    """
    milliseconds = int(seconds * 1_000) * cautious_mode.limit_factor
    with atomic(), connection.cursor() as cursor:
        # A statement of its own: what follows sees all that was committed before the lock.
        cursor.execute(
            LOCK_AND_SET_LIMITS, [ATTRIBUTION_LOCK, f"{milliseconds}", f"{milliseconds // 2}"]
        )
        yield cursor
