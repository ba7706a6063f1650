"""The ledger's days: each a partition, made ahead and dropped when its time is over."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from revcred.models import Gateway

LEDGER_TABLE = "metering_transaction"
PARTITION_DAYS_AHEAD = 7


def ensure_partitions(today: date | None = None) -> int:
    """Make the partitions a transaction may fall into this week that are not there yet."""
    today = today or datetime.now(UTC).date()
    first = today - Gateway.objects.longest_accepted_age() - timedelta(days=1)
    return ensure_partitions_of_days(
        _days_between(first, today + timedelta(days=PARTITION_DAYS_AHEAD))
    )


def ensure_partitions_of_days(days: Iterable[date]) -> int:
    """Make the partitions of these days that are not there yet, and return how many."""
    existing = set(partitioned_days())
    missing = [day for day in days if day not in existing]
    with connection.cursor() as cursor:
        for day in missing:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {_partition_name(day)} PARTITION OF {LEDGER_TABLE}"
                f" FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
            )
    return len(missing)


def drop_partitions(before: date) -> int:
    """Drop the days before this one, at once and online, and say how many."""
    over = [day for day in partitioned_days() if day < before]
    with connection.cursor() as cursor:
        for day in over:
            cursor.execute(
                f"ALTER TABLE {LEDGER_TABLE} DETACH PARTITION {_partition_name(day)} CONCURRENTLY"
            )
            cursor.execute(f"DROP TABLE {_partition_name(day)}")
    return len(over)


def partitioned_days() -> list[date]:
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
