from argparse import ArgumentParser
from datetime import UTC, datetime, time, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.ledger import daily_usage, gateway_days, partitions
from metering.ledger.statements import USAGE_DIFFERENCES


class Command(BaseCommand):
    """Compares usage with the ledger, and fails if they differ."""

    help = (
        "Recompute usage from the ledger, hour by hour, and the sums of days from their hours and,"
        " by gateway, from the ledger, and report where they differ."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            type=datetime.fromisoformat,
            help="First day to compare, such as 2026-01-15. Without it: all that the ledger keeps.",
        )

    def handle(self, *args: Any, since: datetime | None, **options: Any) -> None:
        now = timezone.now()
        end = now.replace(minute=0, second=0, microsecond=0) + timedelta(days=2)
        start = since or datetime.combine(partitions.first_kept_day(now), time())
        differences = 0
        for row in usage_differences_between(start.replace(tzinfo=UTC), end):
            differences += 1
            subscription, hour, element, credential, kept, counted, quantity, summed = row
            self.stdout.write(
                f"{hour:%Y-%m-%d %H}h subscription {subscription}"
                f" credential {credential} {element}:"
                f" usage says {quantity} in {kept}, the ledger {summed} in {counted}"
            )
        for row in daily_usage.daily_differences():
            differences += 1
            subscription, day, element, credential, kept, counted, quantity, summed = row
            self.stdout.write(
                f"{day:%Y-%m-%d} subscription {subscription} credential {credential} {element}:"
                f" the day says {quantity} in {kept}, its hours {summed} in {counted}"
            )
        for row in gateway_days.gateway_differences(start.date()):
            differences += 1
            subscription, day, element, credential, gateway, quantity, summed = row
            self.stdout.write(
                f"{day:%Y-%m-%d} subscription {subscription} credential {credential} {element}"
                f" gateway {gateway}: the day says {quantity}, the ledger {summed}"
            )
        if differences:
            message = f"{differences} differences."
            raise CommandError(message)
        self.stdout.write("Usage equals the ledger: 0 differences.")


@atomic
def usage_differences_between(start: datetime, end: datetime) -> list[tuple[Any, ...]]:
    """Return the rows of usage that differ from the ledger, both read in one snapshot."""
    # One statement, which sees one state of both tables, however long it takes.
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(USAGE_DIFFERENCES, {"start": start, "end": end})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
