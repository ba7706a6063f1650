"""Partitions of the ledger, one a day: created ahead, and dropped at the end of retention."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.conf import settings
from django.db import connection

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
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {_partition_name(day)} PARTITION OF {LEDGER_TABLE}"
                f" FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
            )
    return len(missing)


def first_kept_day(now: datetime) -> date:
    """Return the first day in UTC that retention leaves in the ledger, all of it."""
    return (now.astimezone(UTC) - timedelta(days=settings.LEDGER_DAYS)).date()


def drop_partitions(before: date) -> int:
    """Drop the partitions of all earlier days, and return how many.

    Cannot run in a transaction: DETACH … CONCURRENTLY, which lets reads and writes go on, does not.
    """
    over = [day for day in partitioned_days() if day < before]
    with connection.cursor() as cursor:
        for day in over:
            cursor.execute(
                f"ALTER TABLE {LEDGER_TABLE} DETACH PARTITION {_partition_name(day)} CONCURRENTLY"
            )
            cursor.execute(f"DROP TABLE {_partition_name(day)}")
    return len(over)


def partitioned_days() -> list[date]:
    """Return the days in UTC that have a partition, the earliest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(inhrelid::regclass::text, 8) FROM pg_inherits"
            " WHERE inhparent = %s::regclass ORDER BY 1",
            [LEDGER_TABLE],
        )
        return [datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() for (day,) in cursor]


def _partition_name(day: date) -> str:
    return f"{LEDGER_TABLE}_{day:%Y%m%d}"


def _days_between(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
