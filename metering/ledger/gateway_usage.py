"""Usage by gateway, which the ledger alone knows: sums of usage do not tell gateways apart."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import OperationalError, connection
from django.db.transaction import atomic
from psycopg import sql

from metering import failures
from metering.ledger.daily_usage import UsageStep
from metering.ledger.scope import SCOPE_CONDITION, LedgerScope
from revcred.postgresql.statement_timeouts import statement_timeout

SUM_LIMIT_MILLISECONDS = 3_000  # somebody waits for the page

# in: the scope and the period; out: rows of start, gateway, element and quantity. Reversals take
# back what they correct.
SUM_BY_GATEWAY = sql.SQL("""
SELECT
    date_trunc({step}, t.occurred_at, 'UTC'), t.gateway_id, element.key,
    sum(t.sign * element.value::numeric)
FROM metering_transaction t CROSS JOIN LATERAL jsonb_each_text(t.elements) element
WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[])
    AND t.occurred_at >= %(start)s AND t.occurred_at < %(end)s AND {conditions}
GROUP BY 1, 2, 3
""")


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

    Only the days whose ledger is kept are there. Raises TooMuchUsage.
    """
    conditions = [SCOPE_CONDITION]
    arguments: dict[str, Any] = scope.arguments | {"start": start, "end": end}
    if credential is not None:
        conditions.append(sql.SQL("t.credential_id = %(credential)s"))
        arguments["credential"] = credential
    statement = SUM_BY_GATEWAY.format(
        step=sql.Literal(step), conditions=sql.SQL(" AND ").join(conditions)
    )
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
