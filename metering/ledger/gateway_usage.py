"""Usage by gateway: from the sums of days that are over, and from the ledger since then."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection
from django.db.transaction import atomic
from django.utils import timezone
from psycopg import sql

from metering import failures
from metering.ledger import partitions
from metering.ledger.daily_usage import UsageStep
from metering.ledger.gateway_days import gateways_summed_up_before
from metering.ledger.scope import SCOPE_CONDITION, LedgerScope
from revcred.postgresql.statement_timeouts import statement_timeout

SUM_LIMIT_MILLISECONDS = 3_000  # somebody waits for the page

# in: the scope and a period of the ledger; out: rows of start, gateway, element and quantity.
# Reversals take back what they correct. Most calls of an hour have the same elements: these are
# unpacked once.
LEDGER_CALLS = sql.SQL("""
SELECT start, gateway_id, element, calls * (elements ->> element)::numeric AS quantity
FROM (
    -- Cheaper than a function in FROM, which is called anew for each row.
    SELECT start, gateway_id, jsonb_object_keys(elements) AS element, elements, calls
    FROM (
        -- date_bin knows no time zones, which date_trunc would look up for each row.
        SELECT
            date_bin({bin}, t.occurred_at, '2001-01-01 00:00Z') AS start, t.gateway_id, t.elements,
            sum(t.sign) AS calls
        FROM metering_transaction t {stale}
        WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[]) AND {period} AND {conditions}
        GROUP BY 1, 2, 3
    ) alike
) of_ledger
""")
SUM_BY_HOUR = sql.SQL("""
SELECT start, gateway_id, element, sum(quantity) FROM ({ledger}) t GROUP BY 1, 2, 3
""")
# in: the scope and the period; out: rows of start, gateway, element and quantity, from what is
# summed up, the ledger since then, and the ledger of stale days.
SUM_BY_DAY = sql.SQL("""
WITH stale AS MATERIALIZED (
    -- in: the notes; out: the days to read from the ledger, as far as it is kept.
    SELECT DISTINCT subscription_id, day FROM metering_staleusageday
    WHERE subscription_id = ANY (%(subscriptions)s::bigint[])
        AND day >= greatest(%(first)s, %(first_kept)s) AND day < least(%(end)s, %(before)s)
)
SELECT date_trunc({step}, start, 'UTC'), gateway_id, element, sum(quantity) FROM (
    SELECT t.day::timestamp AT TIME ZONE 'UTC' AS start, t.gateway_id, t.element, t.quantity
    FROM metering_dailygatewayusage t
    WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[]) AND {conditions}
        AND t.day >= %(first)s AND t.day < least(%(end)s, %(before)s)
        AND NOT EXISTS (
            SELECT FROM stale s WHERE s.subscription_id = t.subscription_id AND s.day = t.day
        )
    UNION ALL {since}
    UNION ALL {of_stale_days}
) used
GROUP BY 1, 2, 3
""")
IN_PERIOD = sql.SQL("t.occurred_at >= %(ledger_start)s AND t.occurred_at < %(ledger_end)s")
JOIN_STALE = sql.SQL("JOIN stale s ON s.subscription_id = t.subscription_id")
ON_STALE_DAY = sql.SQL(
    "t.occurred_at >= s.day::timestamp AT TIME ZONE 'UTC'"
    " AND t.occurred_at < (s.day + 1)::timestamp AT TIME ZONE 'UTC'"
)


class TooMuchUsage(Exception):
    """The usage of a period could not be summed up in time."""


def sum_by_gateway(
    scope: LedgerScope,
    *,
    start: datetime,
    end: datetime,
    step: UsageStep,
    credential: int | None = None,
) -> list[tuple[datetime, int, str, Decimal]]:
    """Return rows of start of the step in UTC, gateway's id, element, and quantity.

    The period is of whole days in UTC. Of days whose ledger is gone, those that were summed up
    are there; their hours are not. Raises TooMuchUsage.
    """
    first, last = start.astimezone(UTC).date(), end.astimezone(UTC).date()
    before = date.min if step == "hour" else gateways_summed_up_before()
    conditions = [SCOPE_CONDITION]
    arguments: dict[str, Any] = scope.arguments | {
        "first": first,
        "end": last,
        "before": before,
        "first_kept": partitions.first_kept_day(timezone.now()),
        "ledger_start": datetime.combine(max(first, before), time(), UTC),
        "ledger_end": datetime.combine(last, time(), UTC),
    }
    if credential is not None:
        conditions.append(sql.SQL("t.credential_id = %(credential)s"))
        arguments["credential"] = credential
    statement = _statement(step, sql.SQL(" AND ").join(conditions))
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, SUM_LIMIT_MILLISECONDS),
        ):
            cursor.execute(statement.as_string(), arguments)
            rows: list[tuple[datetime, int, str, Decimal]] = cursor.fetchall()
    except OperationalError as error:
        if failures.took_too_long(error):
            raise TooMuchUsage from error
        raise
    return rows


def _statement(step: UsageStep, conditions: sql.Composable) -> sql.Composed:
    def ledger(period: sql.SQL, stale: sql.SQL) -> sql.Composed:
        return LEDGER_CALLS.format(
            bin=sql.Literal("1 hour" if step == "hour" else "1 day"),
            stale=stale,
            period=period,
            conditions=conditions,
        )

    since = ledger(IN_PERIOD, sql.SQL(""))
    if step == "hour":
        return SUM_BY_HOUR.format(ledger=since)
    return SUM_BY_DAY.format(
        step=sql.Literal(step),
        conditions=conditions,
        since=since,
        of_stale_days=ledger(ON_STALE_DAY, JOIN_STALE),
    )
