"""Plan for lists of usage: rows go to the inbox as calls, and undoing takes them back.

The inbox attributes them like what gateways post. Undoing adds a reversal for each row of the
ledger, and takes what waits out of quarantine, so that every total stays explained.
"""

from django.db.backends.utils import CursorWrapper
from psycopg import sql

from metering.attribution.judging import judged_cte
from metering.attribution.processing import process_waiting_deliveries
from metering.ledger import partitions
from metering.ledger.call_facts import fact_columns
from metering.ledger.statements import ATTRIBUTION_COLUMNS, METERED_COLUMNS, usage_ctes
from metering.locks import CORRECTION_LOCK
from metering.models import QuarantineReason
from metering.models.usage import CALLS_ELEMENT
from metering.usage_lists.encoding import UsageRowEncoder
from revcred.uploads.plans.plan import (
    CHUNK_TABLE,
    ListPlan,
    UndoPlan,
    undone_changes_source,
)

USAGE_TARGET = "metering.transaction"
CALLS_PER_DELIVERY = 500  # as many as a gateway posts at once

USAGE_QUERY = """
-- in: rows; out: calls that several rows are about, with the first and the last of them
WITH twice AS MATERIALIZED (
    SELECT dedup_key AS same, min(number) AS first, max(number) AS last
    FROM {source} row WHERE dedup_key IS NOT NULL GROUP BY dedup_key HAVING count(*) > 1
), seen AS (
    -- in: rows; out: each with what is remembered of its call
    SELECT
        row.*, t.first, t.last,
        CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row,
        s.dedup_key IS NOT NULL AS is_known,
        s.content_hash <> row.content_hash AS is_other
    FROM {source} row
    LEFT JOIN twice t ON t.same = row.dedup_key
    -- One look-up a row: the memory of what was seen has hundreds of millions.
    LEFT JOIN LATERAL (
        SELECT * FROM metering_seentransaction x WHERE x.dedup_key = row.dedup_key OFFSET 0
    ) s ON true
    OFFSET 0
), compared AS (
    -- in: rows with the call of their id that exists; out: the same with problems
    SELECT
        seen.*,
        true AS is_new, NULL::bigint AS target_id, NULL::jsonb AS before, NULL::jsonb AS after,
        array_remove(ARRAY[
            CASE
                WHEN other_row IS NOT NULL AND %(duplicates)s = 'reject'
                THEN 'transaction_id:twice'
            END,
            CASE WHEN is_other THEN 'transaction_id:other_content' END
        ], NULL) AS problems,
        CASE %(duplicates)s
            WHEN 'first' THEN number > first WHEN 'last' THEN number < last ELSE false
        END IS TRUE AS is_superseded
    FROM seen
)
SELECT
    compared.*,
    CASE
        WHEN is_superseded THEN 'unchanged'
        WHEN invalid IS NOT NULL OR problems <> '{{}}' THEN 'rejected'
        WHEN is_known THEN 'unchanged'
        ELSE 'create'
    END AS action,
    NULL::text AS version,
    ARRAY['count_calls']::text[] AS effects,
    time_ordered_id() AS made_id
FROM compared
"""

INSERT_DELIVERIES_OF_LIST = f"""
INSERT INTO metering_delivery (gateway_id, transactions, rejected, passed_over, body)
SELECT
    gateway_id, count(*), 0, 0,
    '[' || string_agg(
        '{{"made_id":"' || made_id || '",' || substr(call, 2), ',' ORDER BY number
    ) || ']'
FROM (
    SELECT
        *, (row_number() OVER (PARTITION BY gateway_id ORDER BY number) - 1) / {CALLS_PER_DELIVERY}
            AS nth
    FROM {CHUNK_TABLE}
) d
GROUP BY gateway_id, nth
"""

# Transactions have no number: that of the change stands for it.
RECORD_CALLS = f"""
INSERT INTO revcred_uploadchange (upload_id, row, action, target_type, target_id, undo_data)
SELECT
    %(upload)s, number, action, '{USAGE_TARGET}', nextval('revcred_uploadchange_id_seq'),
    jsonb_build_object('transaction', made_id, 'dedup_key', dedup_key, 'occurred_at', occurred_at)
FROM {CHUNK_TABLE} ORDER BY number
"""

# The calls of the rows, as they would be attributed now, by customer and month or by the reason
# why they would wait.
CALLS_QUERY = (
    sql.SQL("""
WITH judging AS (
    -- in: rows; out: the same with the columns that `judged_cte` expects
    SELECT
        number AS id, gateway_id, occurred_at, fingerprint,
        call ->> 'subscription_named' AS subscription_named,
        call ->> 'source_named' AS source_named, call ->> 'path' AS path,
        NULL::jsonb AS names, false AS outside,
        coalesce((call -> 'elements' ->> {calls})::numeric, 0) AS calls
    FROM (
        SELECT number, gateway_id, occurred_at, fingerprint, call::jsonb AS call
        FROM {{source}} row
    ) d
), {judged}
SELECT
    CASE WHEN reason IS NULL THEN (
        SELECT c.name FROM revcred_customer c WHERE c.id = customer_id
    ) END,
    CASE reason {labels} END,
    to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM'), count(*), sum(calls)
FROM judged GROUP BY customer_id, 1, 2, 3 ORDER BY 1 NULLS FIRST, 2, 3
""")
    .format(
        calls=sql.Literal(CALLS_ELEMENT),
        # Its own braces, as of arrays, are no fields of a plan's statement.
        judged=sql.SQL(judged_cte().as_string().replace("{", "{{").replace("}", "}}")),
        labels=sql.SQL(" ").join(
            sql.SQL("WHEN {} THEN {}").format(sql.Literal(value), sql.Literal(str(label)))
            for value, label in QuarantineReason.choices
        ),
    )
    .as_string()
)


def make_partitions(cursor: CursorWrapper, source: str) -> None:
    """Make the days of the ledger that the rows of `source` need."""
    cursor.execute(f"SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date FROM {source} row")
    partitions.ensure_partitions_of_days([day for (day,) in cursor.fetchall()])


USAGE_PLAN = ListPlan(
    target=USAGE_TARGET,
    title_column="transaction_id",
    row_encoder=UsageRowEncoder,
    encoded_columns=UsageRowEncoder.columns,
    query=USAGE_QUERY,
    lock="SELECT 1",
    make_room=make_partitions,
    write=(INSERT_DELIVERIES_OF_LIST, RECORD_CALLS),
    calls_query=CALLS_QUERY,
    changes_assignments=False,
    messages={
        "transaction_id:twice": "The same call is also in {other_row}.",
        "transaction_id:other_content": "This call has been counted already, with other content.",
    },
)

# --- Undoing --------------------------------------------------------------------------------------

CHANGES = undone_changes_source(USAGE_TARGET, "create")

# Calls of the changes that are undone, without those that had been counted before. Here and below
# every look-up is LATERAL: memory and ledger have hundreds of millions of rows.
BROUGHT = f"""
SELECT s.transaction AS id, s.dedup_key, s.occurred_at
FROM {CHANGES}
CROSS JOIN LATERAL (
    SELECT * FROM metering_seentransaction x
    WHERE x.dedup_key = (undo_data ->> 'dedup_key')::uuid
        AND x.transaction = (undo_data ->> 'transaction')::uuid
    OFFSET 0
) s
"""

# A row of the ledger and those that took its place. The moment names the partition.
CHAIN = f"""
brought AS MATERIALIZED ({BROUGHT}), chain AS (
    -- in: calls; out: the rows of the ledger that they had one after the other
    SELECT id, occurred_at FROM brought
    UNION ALL
    SELECT t.id, t.occurred_at FROM chain
    CROSS JOIN LATERAL (
        SELECT x.id, x.occurred_at FROM metering_transaction x
        WHERE x.corrects = chain.id AND x.occurred_at = chain.occurred_at AND x.sign = 1
        OFFSET 0
    ) t
)
"""

# No correction may replace a row while it is taken back.
LOCK_CORRECTIONS = f"SELECT pg_advisory_xact_lock({CORRECTION_LOCK})"

# Before the ledger: what leaves quarantine at this moment is found there afterwards. What a
# correction put back into quarantine has another id. Two queries, since no index serves an OR.
DELETE_WAITING = f"""
WITH RECURSIVE {CHAIN}, waiting AS (
    SELECT q.id FROM chain CROSS JOIN LATERAL (
        SELECT x.id FROM metering_quarantined x WHERE x.id = chain.id OFFSET 0
    ) q
    UNION ALL
    SELECT q.id FROM chain CROSS JOIN LATERAL (
        SELECT x.id FROM metering_quarantined x WHERE x.corrects = chain.id OFFSET 0
    ) q
)
DELETE FROM metering_quarantined WHERE id = ANY (ARRAY(SELECT id FROM waiting))
"""

TAKE_BACK = (
    sql.SQL("""
WITH RECURSIVE {chain}, standing AS MATERIALIZED (
    -- in: rows of the ledger; out: those that count today
    SELECT t.* FROM chain
    CROSS JOIN LATERAL (
        SELECT * FROM metering_transaction x
        WHERE x.id = chain.id AND x.occurred_at = chain.occurred_at
        OFFSET 0
    ) t
    WHERE NOT EXISTS (
        SELECT FROM metering_transaction r
        WHERE r.corrects = t.id AND r.occurred_at = t.occurred_at
        OFFSET 0
    )
), reversal AS (
    -- in: standing; out: nothing, each is taken back by a row with sign -1
    INSERT INTO metering_transaction ({metered_columns}, {attribution_columns})
    SELECT
        time_ordered_id(), t.gateway_id, t.transaction_id, t.occurred_at, t.received_at,
        {facts}, t.id,
        clock_timestamp(), t.matched_by, t.external_key_id, t.credential_id, t.assignment_id,
        t.subscription_id, t.customer_id, t.product_id, t.source_id, t.quarantined_at,
        t.quarantine_reason, NULL, -1
    FROM standing t
), {usage_ctes}
SELECT
""")
    .format(
        chain=sql.SQL(CHAIN),
        metered_columns=METERED_COLUMNS,
        attribution_columns=ATTRIBUTION_COLUMNS,
        facts=fact_columns("t"),
        usage_ctes=usage_ctes(
            sql.SQL("""
            SELECT
                occurred_at, subscription_id, credential_id, customer_id, product_id, elements,
                -1 AS sign
            FROM standing
            """)
        ),
    )
    .as_string()
)

# So that the same call counts when it comes again.
FORGET_SEEN = f"""
DELETE FROM metering_seentransaction
WHERE dedup_key = ANY (ARRAY(SELECT brought.dedup_key FROM ({BROUGHT}) brought))
"""

UNDO_USAGE = UndoPlan(
    target=USAGE_TARGET,
    # What waits in the inbox is counted first, so that all of it can be taken back.
    prepare=process_waiting_deliveries,
    obstacle_queries={
        "The call has not been processed": f"""
            SELECT c.id FROM {{changes}} c
            WHERE c.target_type = '{USAGE_TARGET}' AND NOT EXISTS (
                SELECT FROM metering_seentransaction s
                WHERE s.dedup_key = (c.undo_data ->> 'dedup_key')::uuid
                OFFSET 0
            )
        """,
        "The ledger no longer has the call": f"""
            SELECT c.id FROM {{changes}} c
            CROSS JOIN LATERAL (
                SELECT * FROM metering_seentransaction x
                WHERE x.dedup_key = (c.undo_data ->> 'dedup_key')::uuid
                    AND x.transaction = (c.undo_data ->> 'transaction')::uuid
                OFFSET 0
            ) s
            WHERE c.target_type = '{USAGE_TARGET}' AND NOT EXISTS (
                SELECT FROM metering_transaction t
                WHERE t.id = s.transaction AND t.occurred_at = s.occurred_at
                OFFSET 0
            ) AND NOT EXISTS (
                SELECT FROM metering_quarantined q WHERE q.id = s.transaction OFFSET 0
            )
        """,
    },
    statements=(LOCK_CORRECTIONS, DELETE_WAITING, TAKE_BACK, FORGET_SEEN),
)
