"""Partitions of the quarantine, one a week: created ahead, and dropped at the end of retention.

They are cut by id, which begins with the moment of arrival, so that the id alone stays the primary
key. By week, since a look-up by key reads all of them: days, as in the ledger, would be too many.
`metering_quarantined_first` holds what came before, and `metering_quarantined_default` what fits
nowhere, such as ids made by a clock that is wrong.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db import OperationalError, connection
from django.db.transaction import atomic

from metering import failures
from metering.ledger.partitions import first_kept_day
from metering.locks import PARTITIONS_LOCK
from metering.models.functions import first_id_at, moment_of_id

WEEK = timedelta(days=7)
PARTITION_WEEKS_AHEAD = 3
DELETE_BATCH_ROWS = 10_000
MAX_DELETE_BATCHES = 20  # at a time, so that the clock has time for its other work

# The name and the upper bound of each partition but the default one.
FIND_PARTITIONS = r"""
SELECT part.relname, substring(
    pg_get_expr(part.relpartbound, part.oid) FROM 'TO \(''([0-9a-f-]{36})''\)'
)::uuid AS upper_bound
FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid
WHERE inhparent = 'metering_quarantined'::regclass
    AND pg_get_expr(part.relpartbound, part.oid) <> 'DEFAULT'
ORDER BY upper_bound
"""

# Rows of partitions that are not dropped as a whole: the two odd ones, and that of the week in
# which the ledger begins. The application may touch no partition but through the table.
DELETE_OLD_ROWS = """
DELETE FROM metering_quarantined WHERE id IN (
    SELECT id FROM metering_quarantined WHERE id < %s ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
"""


class QuarantinePartition(NamedTuple):
    """A partition and the first id after it."""

    name: str
    upper_bound: UUID


def ensure_partitions(today: date | None = None) -> int:
    """Create the missing partitions up to PARTITION_WEEKS_AHEAD, and return how many."""
    last_day = (today or datetime.now(UTC).date()) + PARTITION_WEEKS_AHEAD * WEEK
    if moment_of_id(_find_partitions()[-1].upper_bound) > _midnight(last_day):
        return 0
    created = 0
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PARTITIONS_LOCK])
        start = moment_of_id(_find_partitions()[-1].upper_bound)
        while start <= _midnight(last_day):
            cursor.execute(
                "SELECT add_quarantine_partition(%s, %s, %s)",
                [start.date(), first_id_at(start), first_id_at(start + WEEK)],
            )
            start, created = start + WEEK, created + 1
    return created


def drop_old_partitions(now: datetime) -> int:
    """Drop the partitions of what came before the ledger begins, and return how many.

    One that somebody reads for longer than a second is left for the next time.
    """
    first_kept_id = first_id_at(_midnight(first_kept_day(now)))
    over = [part for part in _find_partitions()[:-1] if part.upper_bound <= first_kept_id]
    for part in over:
        try:
            with atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT drop_quarantine_partition(%s)", [part.name])
        except OperationalError as error:
            if failures.is_contention(error):
                return 0
            raise
    _delete_old_rows(first_kept_id)
    return len(over)


def _delete_old_rows(first_kept_id: UUID) -> None:
    with connection.cursor() as cursor:
        for _ in range(MAX_DELETE_BATCHES):
            cursor.execute(DELETE_OLD_ROWS, [first_kept_id, DELETE_BATCH_ROWS])
            if not cursor.rowcount:
                return


def _find_partitions() -> list[QuarantinePartition]:
    with connection.cursor() as cursor:
        cursor.execute(FIND_PARTITIONS)
        return [QuarantinePartition(*row) for row in cursor.fetchall()]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))
