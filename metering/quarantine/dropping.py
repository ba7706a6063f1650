"""Drop calls that are nobody's from quarantine, and count them: a scanner tries millions of keys.

Only calls of an unknown key, or of none, are dropped: after some months, and beyond a gateway's
limit if their key was seen once. They stay among the seen transactions, so that one which is sent
again is still a repeat.
"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone
from psycopg import sql

from metering.models import QuarantineDrop
from metering.models.functions import first_id_at
from metering.quarantine.reattribution import BEFORE_FIRST_ID
from revcred.models import Gateway
from revcred.postgresql.statement_timeouts import statement_timeout

DROP_BATCH_ROWS = 10_000
COUNT_LIMIT_MILLISECONDS = 120_000

# A key that a credential has at another gateway, or would have if it were written plainly, is no
# unknown one. What a correction took out of the ledger was somebody's once.
IS_NOBODYS = sql.SQL("""
    q.error = '' AND NOT q.outside AND q.corrects IS NULL
    AND NOT EXISTS (SELECT FROM revcred_externalkey k WHERE k.fingerprint = q.fingerprint)
    AND NOT EXISTS (SELECT FROM revcred_externalkey k WHERE k.fingerprint = q.similar_fingerprint)
""")

# Open and released calls are sought apart: each has an index of its own.
TOO_OLD = [
    sql.SQL("q.id < %(before)s AND q.reason IN ('unknown_key', 'anonymous') AND {}").format(state)
    for state in (sql.SQL("q.released_at IS NULL"), sql.SQL("q.released_at IS NOT NULL"))
]

SEEN_ONCE = sql.SQL("""
    q.id > %(after)s AND q.gateway_id = %(gateway)s AND q.reason = 'unknown_key'
    AND q.released_at IS NULL
    AND NOT EXISTS (
        SELECT FROM metering_quarantined other
        WHERE other.fingerprint = q.fingerprint AND other.id <> q.id
    )
""")

# Stops at the limit: usually this is all that is read.
IS_LIMIT_REACHED = """
SELECT count(*) > %(limit)s FROM (
    SELECT FROM metering_quarantined
    WHERE reason = 'unknown_key' AND released_at IS NULL LIMIT %(limit)s + 1
) counted
"""

FIND_GATEWAYS_OVER_LIMIT = """
SELECT gateway_id, count(*) - %(limit)s FROM (
    SELECT min(gateway_id) AS gateway_id FROM metering_quarantined
    WHERE reason = 'unknown_key' AND released_at IS NULL
    GROUP BY fingerprint HAVING count(*) = 1
) seen_once
GROUP BY gateway_id HAVING count(*) > %(limit)s
"""


def drop_statement(which: sql.Composable, order: str = "") -> str:
    """Return the statement that drops %(max_rows)s calls, and adds them to the counts of days.

    `which`: the condition for the calls `q`. Its only row: the number, and the last id.
    """
    return (
        sql.SQL("""
WITH nobodys AS MATERIALIZED (
    -- in: the quarantine; out: ids of calls to drop. What a claim is judging is passed over.
    SELECT q.id FROM metering_quarantined q WHERE {which} AND {is_nobodys}
    {order} LIMIT %(max_rows)s FOR UPDATE SKIP LOCKED
), dropped AS (
    -- in: nobodys; out: the calls, deleted.
    DELETE FROM metering_quarantined q USING nobodys WHERE q.id = nobodys.id
    RETURNING q.id, q.gateway_id, q.received_at, q.reason
), counted AS (
    -- in: dropped; out: nothing, they are added to the counts.
    INSERT INTO metering_quarantinedrop AS standing (day, gateway_id, reason, cause, calls)
    SELECT (received_at AT TIME ZONE 'UTC')::date, gateway_id, reason, %(cause)s, count(*)
    FROM dropped GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (day, gateway_id, reason, cause) DO UPDATE SET
        calls = standing.calls + excluded.calls
)
SELECT count(*), (SELECT id FROM dropped ORDER BY id DESC LIMIT 1) FROM dropped
""")
        .format(which=which, is_nobodys=IS_NOBODYS, order=sql.SQL(order))
        .as_string()
    )


DROP_TOO_OLD = [drop_statement(which) for which in TOO_OLD]
DROP_OLDEST_SEEN_ONCE = drop_statement(SEEN_ONCE, order="ORDER BY q.id")


def drop_old_calls() -> int:
    """Drop calls that have been nobody's for UNKNOWN_KEY_DAYS, and return how many.

    Never a call that its gateway could still send, and that would then have another outcome.
    """
    now = timezone.now()
    before = min(
        now - timedelta(days=settings.UNKNOWN_KEY_DAYS),
        Gateway.objects.oldest_accepted_moment(now),
    )
    arguments = {
        "before": first_id_at(before),
        "cause": QuarantineDrop.Cause.AGE,
        "max_rows": DROP_BATCH_ROWS,
    }
    total = 0
    for statement in DROP_TOO_OLD:
        while dropped := _drop_batch(statement, arguments)[0]:
            total += dropped
    return total


def drop_calls_over_limit() -> int:
    """Drop the oldest calls of keys seen once beyond each gateway's limit; return how many."""
    total = 0
    for gateway, excess in _find_gateways_over_limit():
        after, left = BEFORE_FIRST_ID, excess
        while left > 0:
            arguments = {
                "gateway": gateway,
                "after": after,
                "cause": QuarantineDrop.Cause.LIMIT,
                "max_rows": min(left, DROP_BATCH_ROWS),
            }
            dropped, after = _drop_batch(DROP_OLDEST_SEEN_ONCE, arguments)
            if not dropped:
                break
            left, total = left - dropped, total + dropped
    return total


def _find_gateways_over_limit() -> list[tuple[int, int]]:
    """Return each gateway over the limit, and by how many keys."""
    limit = {"limit": settings.MAX_UNKNOWN_KEYS_PER_GATEWAY}
    with (
        atomic(),
        connection.cursor() as cursor,
        statement_timeout(cursor, COUNT_LIMIT_MILLISECONDS),
    ):
        cursor.execute(IS_LIMIT_REACHED, limit)
        (is_reached,) = cursor.fetchone()
        if not is_reached:
            return []
        cursor.execute(FIND_GATEWAYS_OVER_LIMIT, limit)
        return [(gateway, excess) for gateway, excess in cursor.fetchall()]


def _drop_batch(statement: str, arguments: dict[str, Any]) -> Any:
    """Drop one batch in a transaction of its own, and return the statement's row."""
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()
