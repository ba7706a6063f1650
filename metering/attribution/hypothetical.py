"""Verdicts on calls that were never made: the statement that attributes calls, and nothing written.

It is the SQL of `metering.attribution.judging`, so that it promises what attribution does.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg import sql

from metering.attribution.judging import judged_cte
from metering.models import QuarantineReason


@dataclass(frozen=True, kw_only=True)
class HypotheticalCall:
    """What attribution looks at of a call. `fingerprint`: that of its key."""

    gateway_id: int
    occurred_at: datetime
    fingerprint: UUID | None = None
    subscription_named: str | None = None
    source_named: str | None = None
    path: str | None = None
    names: dict[str, Any] | None = None
    outside: bool = False


@dataclass(frozen=True, kw_only=True)
class JudgedCall:
    """The verdict on a call: ids of what it leads to, and the reason if it would wait."""

    reason: QuarantineReason | None
    matched_by: str
    external_key_id: int | None
    credential_id: int | None
    assignment_id: int | None
    subscription_id: int | None
    customer_id: int | None
    product_id: int | None
    source_id: int | None


JUDGE_HYPOTHETICAL_CALLS = (
    sql.SQL("""
WITH judging AS (
    -- in: calls as JSON; out: one row a call, with the columns that `judged_cte` expects.
    SELECT call.* FROM jsonb_to_recordset(%(calls)s::jsonb) AS call (
        id int, gateway_id bigint, occurred_at timestamptz, fingerprint uuid,
        subscription_named text, source_named text, path text, names jsonb, outside boolean
    )
), {judged}
SELECT
    reason, matched_by, external_key_id, credential_id, assignment_id, subscription_id,
    customer_id, product_id, source_id
FROM judged ORDER BY id
""")
    .format(judged=judged_cte())
    .as_string()
)


def judge_calls(calls: Sequence[HypotheticalCall]) -> list[JudgedCall]:
    """Return the verdict on each call, as if it were attributed now. Nothing is written."""
    rows = [asdict(call) | {"id": number} for number, call in enumerate(calls)]
    with connection.cursor() as cursor:
        cursor.execute(JUDGE_HYPOTHETICAL_CALLS, {"calls": json.dumps(rows, default=str)})
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return [
        JudgedCall(
            **row
            | {
                "reason": QuarantineReason(row["reason"]) if row["reason"] else None,
                "matched_by": row["matched_by"] or "",
            }
        )
        for row in found
    ]
