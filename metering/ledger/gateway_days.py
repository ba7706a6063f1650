"""Usage by gateway and day: days of the ledger that are over are summed up, and outlive them.

Attribution writes nothing for it. The clock sums up each day once, from the day's partition, and
days that were noted since (StaleUsageDay) again. Both hold the lock on SummedUpDays.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone
from psycopg import sql

from metering.ledger import partitions
from metering.models import SummedUpDays

COLUMNS = sql.SQL("day, subscription_id, credential_id, customer_id, gateway_id, element, quantity")

# in: rows `t` of the ledger that `source` names; out: their sums by day and gateway, with reversals
# taking back what they correct.
SUMS = sql.SQL("""
SELECT
    day, subscription_id, credential_id, customer_id, gateway_id, element,
    sum(sign * (elements ->> element)::numeric)
FROM (
    -- Cheaper than a function in FROM, which is called anew for each row.
    SELECT
        (t.occurred_at AT TIME ZONE 'UTC')::date AS day, t.subscription_id, t.credential_id,
        t.customer_id, t.gateway_id, jsonb_object_keys(t.elements) AS element, t.sign, t.elements
    FROM {source}
) counted
GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(sign * (elements ->> element)::numeric) <> 0
""")
DAYS_OF_LEDGER = sql.SQL(
    "metering_transaction t WHERE t.occurred_at >= %(start)s AND t.occurred_at < %(end)s"
)
SUM_UP = sql.SQL("INSERT INTO metering_dailygatewayusage ({columns}) {sums}")
SUM_UP_DAYS = SUM_UP.format(columns=COLUMNS, sums=SUMS.format(source=DAYS_OF_LEDGER)).as_string()
SUM_UP_STALE_DAYS = SUM_UP.format(
    columns=COLUMNS,
    sums=SUMS.format(
        source=sql.SQL("""
        unnest(%(subscriptions)s::bigint[], %(days)s::date[]) stale (subscription_id, day)
        JOIN metering_transaction t ON t.subscription_id = stale.subscription_id
            AND t.occurred_at >= stale.day::timestamp AT TIME ZONE 'UTC'
            AND t.occurred_at < (stale.day + 1)::timestamp AT TIME ZONE 'UTC'
        """)
    ),
).as_string()
DELETE_STALE_DAYS = """
DELETE FROM metering_dailygatewayusage d
USING unnest(%(subscriptions)s::bigint[], %(days)s::date[]) stale (subscription_id, day)
WHERE d.subscription_id = stale.subscription_id AND d.day = stale.day
"""

# Days whose sums differ from the ledger, unless they are noted.
DIFFERENCES = (
    sql.SQL("""
WITH ledger ({columns}) AS ({sums})
SELECT
    coalesce(d.subscription_id, l.subscription_id), coalesce(d.day, l.day),
    coalesce(d.element, l.element), coalesce(d.credential_id, l.credential_id),
    coalesce(d.gateway_id, l.gateway_id), coalesce(d.quantity, 0), coalesce(l.quantity, 0)
FROM (
    SELECT * FROM metering_dailygatewayusage
    WHERE day >= %(first_day)s AND day < %(end_day)s
) d
FULL JOIN ledger l
    ON l.subscription_id = d.subscription_id AND l.day = d.day AND l.element = d.element
    AND l.gateway_id = d.gateway_id AND coalesce(l.credential_id, 0) = coalesce(d.credential_id, 0)
WHERE coalesce(d.quantity, 0) <> coalesce(l.quantity, 0)
    AND NOT EXISTS (
        SELECT FROM metering_staleusageday s
        WHERE s.subscription_id = coalesce(d.subscription_id, l.subscription_id)
            AND s.day = coalesce(d.day, l.day)
    )
ORDER BY 2, 1, 3, 4, 5
""")
    .format(columns=COLUMNS, sums=SUMS.format(source=DAYS_OF_LEDGER))
    .as_string()
)


def gateways_summed_up_before() -> date:
    """Return the first day whose usage by gateway is not summed up."""
    summed_up = SummedUpDays.objects.first()
    before = summed_up.gateways_summed_up_before if summed_up else None
    return before or date.min


def sum_up_gateway_days() -> int:
    """Sum up by gateway the days that are summed up otherwise, and return how many."""
    days = 0
    while _sum_up_next_day():
        days += 1
    return days


@atomic
def _sum_up_next_day() -> bool:
    summed_up = SummedUpDays.objects.select_for_update().first()
    if summed_up is None:
        return False
    day = summed_up.gateways_summed_up_before or _first_day_of_ledger()
    if day is None or day >= summed_up.summed_up_before:
        return False
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(SUM_UP_DAYS, _moments(day, day + timedelta(days=1)))
    summed_up.gateways_summed_up_before = day + timedelta(days=1)
    summed_up.save()
    return True


def sum_up_again(stale: Sequence[tuple[int, date]], *, before: date | None) -> None:
    """Sum up stale days again, those before `before` whose ledger is kept.

    `stale`: subscription's id, and day. Sums of older days stay as they are.
    """
    first = partitions.first_kept_day(timezone.now())
    wanted = [row for row in stale if before and first <= row[1] < before]
    if not wanted:
        return
    arguments: dict[str, Any] = {
        "subscriptions": [row[0] for row in wanted],
        "days": [row[1] for row in wanted],
    }
    with connection.cursor() as cursor:
        cursor.execute(DELETE_STALE_DAYS, arguments)
        cursor.execute(SUM_UP_STALE_DAYS, arguments)


@atomic
def gateway_differences(first: date) -> list[tuple[Any, ...]]:
    """Return the days from `first` on whose sums differ from the ledger.

    There are none, unless something is broken. Rows of subscription, day, element, credential,
    gateway, the sum and what the ledger says.
    """
    # Locked, so that no day is summed up meanwhile.
    summed_up = SummedUpDays.objects.select_for_update().first()
    end = summed_up.gateways_summed_up_before if summed_up else None
    if end is None or end <= first:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(DIFFERENCES, _moments(first, end) | {"first_day": first, "end_day": end})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _first_day_of_ledger() -> date | None:
    return next(iter(partitions.partitioned_days()), None)


def _moments(first: date, end: date) -> dict[str, Any]:
    return {
        "start": datetime.combine(first, time(), UTC),
        "end": datetime.combine(end, time(), UTC),
    }
