"""Who made most calls lately: a ranking over the newest rows of usage."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection
from psycopg import sql

# About a tenth of a second. Rows of usage have no index of their hours, which their ids follow.
MAX_USAGE_ROWS_READ = 200_000


class RankedParty(StrEnum):
    """What calls are summed up by."""

    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"
    CREDENTIAL = "credential"
    PRODUCT = "product"


@dataclass(frozen=True, kw_only=True)
class CallRanking:
    """Ids with their calls, most calls first. `is_cut`: older rows of the period were not read."""

    calls: dict[int, int]
    is_cut: bool


# A call counts once in each of its elements, and so as often as it counts in most of them.
RANK_CALLS = """
-- in: usage; out: its newest rows that are of the period
WITH newest AS (
    SELECT hour, {party} AS party, element, count FROM metering_usage
    ORDER BY id DESC LIMIT %(rows)s
-- out: one row a party and element
), by_element AS (
    SELECT party, element, sum(count) AS calls FROM newest
    WHERE hour >= %(since)s AND party IS NOT NULL GROUP BY 1, 2
)
SELECT party, max(calls) FROM by_element GROUP BY 1 HAVING max(calls) > 0
ORDER BY 2 DESC, 1 LIMIT %(most)s
"""
OLDEST_ROW_READ = """
SELECT hour >= %(since)s FROM metering_usage ORDER BY id DESC OFFSET %(rows)s - 1 LIMIT 1
"""


def rank_calls(party: RankedParty, *, since: datetime, most: int) -> CallRanking:
    """Return those with most calls of the hours from `since` on."""
    values: dict[str, Any] = {"since": since, "most": most, "rows": MAX_USAGE_ROWS_READ}
    statement = sql.SQL(RANK_CALLS).format(party=sql.Identifier(f"{party}_id"))
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        calls = {number: int(count) for number, count in cursor.fetchall()}
        cursor.execute(OLDEST_ROW_READ, values)
        oldest = cursor.fetchone()
    return CallRanking(calls=calls, is_cut=bool(oldest and oldest[0]))
