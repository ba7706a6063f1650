"""The ledger's days: each a partition, made ahead and dropped when its time is over."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from revcred.models import Gateway

TABLE = "metering_transaction"
DAYS_AHEAD = 7


def ensure(today: date | None = None) -> int:
    """Make the partitions a transaction may fall into this week that are not there yet."""
    today = today or datetime.now(UTC).date()
    first = today - Gateway.objects.longest_accepted_age() - timedelta(days=1)
    return ensure_days(_days(first, today + timedelta(days=DAYS_AHEAD)))


def ensure_days(days: Iterable[date]) -> int:
    """Make the partitions of these days that are not there yet, and return how many."""
    existing = set(existing_days())
    missing = [day for day in days if day not in existing]
    with connection.cursor() as cursor:
        for day in missing:
            cursor.execute(
                f"CREATE TABLE IF NOT EXISTS {_name(day)} PARTITION OF {TABLE}"
                f" FOR VALUES FROM ('{day}T00:00Z') TO ('{day + timedelta(days=1)}T00:00Z')"
            )
    return len(missing)


def drop(before: date) -> int:
    """Drop the days before this one, at once and online, and say how many."""
    over = [day for day in existing_days() if day < before]
    with connection.cursor() as cursor:
        for day in over:
            cursor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {_name(day)} CONCURRENTLY")
            cursor.execute(f"DROP TABLE {_name(day)}")
    return len(over)


def existing_days() -> list[date]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT right(inhrelid::regclass::text, 8) FROM pg_inherits"
            " WHERE inhparent = %s::regclass ORDER BY 1",
            [TABLE],
        )
        return [datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC).date() for (day,) in cursor]


def _name(day: date) -> str:
    return f"{TABLE}_{day:%Y%m%d}"


def _days(first: date, last: date) -> Iterator[date]:
    while first <= last:
        yield first
        first += timedelta(days=1)
