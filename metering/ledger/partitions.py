"""Partitions of the ledger, one a day: created ahead, and dropped at the end of retention."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import OperationalError, connection
from django.db.transaction import atomic
from psycopg.errors import LockNotAvailable

from revcred.models import Gateway

LEDGER_TABLE = "metering_transaction"
PARTITION_DAYS_AHEAD = 7


def ensure_partitions(today: date | None = None) -> int:
    """Create the missing partitions for all moments that may be accepted this week.

    Return how many were created.
    """
    today = today or datetime.now(UTC).date()
    midnight = datetime.combine(today, time.min, UTC)
    # A day more than the oldest accepted moment: "today" may begin during this call.
    first = Gateway.objects.oldest_accepted_moment(midnight).date() - timedelta(days=1)
    return ensure_partitions_of_days(
        _days_between(first, today + timedelta(days=PARTITION_DAYS_AHEAD))
    )


def ensure_partitions_of_days(days: Iterable[date]) -> int:
    """Create the missing partitions of these days in UTC, and return how many."""
    existing = set(partitioned_days())
    missing = [day for day in days if day not in existing]
    with connection.cursor() as cursor:
        for day in missing:
            cursor.execute("SELECT add_ledger_partition(%s)", [day])
    return len(missing)


def first_kept_day(now: datetime) -> date:
    """Return the first day in UTC that retention leaves in the ledger, all of it."""
    return (now.astimezone(UTC) - timedelta(days=settings.LEDGER_DAYS)).date()


def drop_partitions(before: date) -> int:
    """Drop the partitions of all earlier days, and return how many.

    A partition whose ledger somebody is reading for longer than a second is left for the next time.
    """
    dropped = 0
    for day in [day for day in partitioned_days() if day < before]:
        try:
            with atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT drop_ledger_partition(%s)", [day])
        except OperationalError as error:
            if not isinstance(error.__cause__, LockNotAvailable):
                raise
            break  # whoever reads the ledger would be in the way of the other days, too
        dropped += 1
    return dropped


def partitioned_days() -> list[date]:
    """Return the days in UTC that have a partition, the earliest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(inhrelid::regclass::text, 8) FROM pg_inherits"
            " WHERE inhparent = %s::regclass ORDER BY 1",
            [LEDGER_TABLE],
        )
        return [datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() for (day,) in cursor]


def _days_between(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
