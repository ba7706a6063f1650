"""Calls of a credential's keys, hour by hour: they show whether an old key is still in use."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import OperationalError, connection
from django.db.models import Count
from django.db.models.functions import TruncHour
from django.db.transaction import atomic

from metering import failures
from metering.customer_calls import MAX_CLOCK_LEAD
from metering.models import Quarantined
from revcred.models import ExternalKey
from revcred.postgresql.statement_timeouts import statement_timeout

HOURS_SHOWN = 24
COUNT_LIMIT_MILLISECONDS = 1_500  # somebody waits for the page

# in: ids of keys and subscriptions; out: one row an hour, key and gateway. The ledger has no index
# of keys. The one of subscriptions leaves the rows of one day to look at.
COUNT_CALLS_OF_KEYS = """
SELECT t.external_key_id, t.gateway_id, date_trunc('hour', t.occurred_at, 'UTC'), count(*)
FROM metering_transaction t
WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[])
    AND t.occurred_at >= %(since)s
    AND t.external_key_id = ANY (%(keys)s::bigint[]) AND t.sign = 1
    -- Corrected calls were taken back: they count where they were written anew.
    AND NOT EXISTS (
        SELECT FROM metering_transaction c
        WHERE c.corrects = t.id AND c.occurred_at = t.occurred_at
    )
GROUP BY 1, 2, 3
"""


class TooManyCalls(Exception):
    """The calls of the keys could not be counted in time."""


@dataclass
class KeyCalls:
    """Calls with one key in each of the last HOURS_SHOWN hours, the present one last.

    `gateways`: ids of the gateways that reported them. Calls that are not counted are among them.
    """

    hours: list[datetime]
    by_hour: Counter[datetime] = field(default_factory=Counter)
    gateways: set[int] = field(default_factory=set)

    @property
    def amounts(self) -> list[int]:
        return [self.by_hour[hour] for hour in self.hours]

    @property
    def total(self) -> int:
        return sum(self.amounts)

    @property
    def last_hours(self) -> int:
        """Return the calls of this hour and the one before."""
        return sum(self.amounts[-2:])


def count_calls_of_keys(keys: Sequence[ExternalKey], now: datetime) -> dict[int, KeyCalls]:
    """Return the latest calls of these keys of one credential, by the key's id.

    Raises TooManyCalls.
    """
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=ago) for ago in reversed(range(HOURS_SHOWN))]
    found = {key.pk: KeyCalls(hours) for key in keys}
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, COUNT_LIMIT_MILLISECONDS),
        ):
            rows = [*_count_counted(keys, hours[0]), *_count_uncounted(keys, hours[0])]
    except OperationalError as error:
        if failures.took_too_long(error):
            raise TooManyCalls from error
        raise
    for key, gateway, hour, calls in rows:
        # The clock of a gateway may be ahead of ours.
        found[key].by_hour[min(hour, this_hour)] += calls
        found[key].gateways.add(gateway)
    return found


def _count_counted(keys: Sequence[ExternalKey], since: datetime) -> list[tuple[Any, ...]]:
    if not keys:
        return []
    assignments = keys[0].credential.assignments.order_by()
    arguments: dict[str, Any] = {
        "keys": [key.pk for key in keys],
        "subscriptions": list(assignments.values_list("subscription", flat=True)),
        "since": since,
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT_CALLS_OF_KEYS, arguments)
        counted: list[tuple[Any, ...]] = cursor.fetchall()
    return counted


def _count_uncounted(keys: Sequence[ExternalKey], since: datetime) -> list[tuple[Any, ...]]:
    by_fingerprint = {key.fingerprint: key.pk for key in keys}
    rows = (
        Quarantined.objects.arrived_since(since - MAX_CLOCK_LEAD)
        .filter(fingerprint__in=by_fingerprint, occurred_at__gte=since)
        .order_by()
        .annotate(hour=TruncHour("occurred_at", tzinfo=UTC))
        .values_list("fingerprint", "gateway", "hour")
        .annotate(calls=Count("pk"))
    )
    return [
        (by_fingerprint[fingerprint], gateway, hour, calls)
        for fingerprint, gateway, hour, calls in rows
    ]
