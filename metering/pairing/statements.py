"""SQL of pairing: complete a stored transaction when the second part of its call comes late."""

from psycopg import sql

from metering.attribution.judging import judged_cte
from metering.ledger.call_facts import (
    CALL_FACTS,
    CallFact,
    fact_columns,
    facts_to_store,
    set_facts,
    typed_fact_columns,
)
from metering.ledger.statements import (
    COUNTED_ROWS,
    KEY_OF_LEDGER_ROW,
    KEY_SEEN_CTE,
    LEDGER_CTE,
    REVERSAL_CTE,
    REVERSED_ROWS,
    quarantined_cte,
    usage_ctes,
)
from metering.quarantine.statements import NOT_POISON


def _completed(fact: CallFact) -> sql.Composed:
    """Return what a fact becomes: what stands stays, and the late part adds to it."""
    before, late = fact.as_reported("before"), fact.column("late_part")
    if fact.name == "elements":
        value = sql.SQL("coalesce({late}, '{{}}') || {before}")
    elif fact.name == "metadata":
        value = sql.SQL("nullif(coalesce({late}, '{{}}') || coalesce({before}, '{{}}'), '{{}}')")
    else:
        value = sql.SQL("coalesce({before}, {late})")
    return sql.SQL("{} AS {}").format(value.format(before=before, late=late), fact.column())


# %(calls)s: a JSON array of the late parts, each with its dedup key as `dedup_key`. Fields of the
# stored transaction stay; a part that adds no field changes nothing.
COMPLETE_LATE_PARTIALS = (
    sql.SQL("""
WITH RECURSIVE late_part AS MATERIALIZED (
    -- in: the calls; out: one row a call, with the transaction it belongs to.
    SELECT call.*, r.transaction, r.occurred_at, r.received_at
    FROM json_to_recordset(%(calls)s::json) AS call (
        dedup_key uuid, fingerprint uuid, hint text, {typed_facts}, similar_fingerprint uuid,
        oddities text
    )
    JOIN metering_seentransaction r ON r.dedup_key = call.dedup_key
), chain AS (
    -- in: late_part; out: all rows of the ledger and quarantine that this transaction ever had, in
    -- the order of its corrections. Two moments, for an admin may have counted it at its arrival.
    SELECT dedup_key, transaction AS id, ARRAY[occurred_at, received_at] AS moments, 0 AS place
    FROM late_part
    UNION ALL
    SELECT chain.dedup_key, successor.id, chain.moments, place + 1
    FROM chain CROSS JOIN LATERAL (
        SELECT t.id FROM metering_transaction t
        WHERE t.corrects = chain.id AND t.occurred_at = ANY (chain.moments) AND t.sign = 1
        UNION ALL
        SELECT q.id FROM metering_quarantined q WHERE q.corrects = chain.id
    ) successor
), latest AS (
    -- in: chain; out: the last row of each transaction, the one that counts.
    SELECT DISTINCT ON (dedup_key) dedup_key, id, moments
    FROM chain ORDER BY dedup_key, place DESC
), standing AS MATERIALIZED (
    -- in: latest; out: those in the ledger, with the fingerprint of their key.
    SELECT t.*, k.fingerprint, k.hint, latest.dedup_key
    FROM latest
    JOIN metering_transaction t ON t.id = latest.id AND t.occurred_at = ANY (latest.moments)
    {key_of_row}
), waiting AS MATERIALIZED (
    -- in: latest; out: those in quarantine, locked against a claim that would move them out.
    SELECT q.*, latest.dedup_key
    FROM latest JOIN metering_quarantined q ON q.id = latest.id
    WHERE {not_poison}
    FOR UPDATE OF q
), before AS (
    -- in: standing, waiting; out: both in one shape. A row of the ledger gets a new id, for the
    -- correction; a row of the quarantine keeps its own.
    SELECT
        dedup_key, true AS is_waiting, id, {call_fact_columns}, corrects, quarantined_at,
        reason AS quarantine_reason, outside
    FROM waiting
    UNION ALL
    SELECT dedup_key, false, time_ordered_id(), {call_fact_columns}, id, NULL, NULL, false
    FROM standing
), judging AS MATERIALIZED (
    -- in: before, late_part; out: the completed calls, of those to which the part adds something.
    SELECT
        before.dedup_key, is_waiting, before.id, gateway_id, transaction_id, before.occurred_at,
        before.received_at, corrects, quarantined_at, quarantine_reason,
        %(claim)s::bigint AS claim_id, outside, late_part.similar_fingerprint, late_part.oddities,
        completed.*
    FROM before JOIN late_part ON late_part.dedup_key = before.dedup_key
    CROSS JOIN LATERAL (
        SELECT
            coalesce(before.fingerprint, late_part.fingerprint) AS fingerprint,
            CASE WHEN before.fingerprint IS NULL THEN late_part.hint ELSE before.hint END AS hint,
            {completed_facts}
    ) completed
    WHERE (completed.fingerprint, {completed_to_store})
        IS DISTINCT FROM (before.fingerprint, {facts_before})
), {judged}, {ledger_cte}, {quarantined}, {reversal_cte}, {usage_ctes}, {key_seen_cte},
left_quarantine AS (
    -- in: judged; out: nothing, what is now attributed leaves the quarantine.
    DELETE FROM metering_quarantined q USING judged j
    WHERE q.id = j.id AND j.is_waiting AND j.reason IS NULL
), still_waiting AS (
    -- in: judged; out: nothing, what stays in quarantine is completed in place.
    UPDATE metering_quarantined q SET
        fingerprint = j.fingerprint, hint = coalesce(j.hint, ''),
        {set_facts}, reason = j.reason,
        similar_fingerprint = coalesce(q.similar_fingerprint, j.similar_fingerprint),
        oddities = coalesce(nullif(q.oddities, ''), j.oddities, '')
    FROM judged j
    WHERE q.id = j.id AND j.is_waiting AND j.reason IS NOT NULL
)
SELECT count(*) FROM judged
""")
    .format(
        typed_facts=typed_fact_columns(),
        not_poison=NOT_POISON,
        key_of_row=KEY_OF_LEDGER_ROW,
        call_fact_columns=sql.SQL(
            "gateway_id, transaction_id, occurred_at, received_at, fingerprint, hint, {}"
        ).format(fact_columns()),
        completed_facts=sql.SQL(", ").join(map(_completed, CALL_FACTS)),
        completed_to_store=facts_to_store("completed"),
        facts_before=fact_columns("before"),
        judged=judged_cte(),
        ledger_cte=LEDGER_CTE,
        quarantined=quarantined_cte("NOT is_waiting"),
        reversal_cte=REVERSAL_CTE,
        usage_ctes=usage_ctes(COUNTED_ROWS + REVERSED_ROWS),
        key_seen_cte=KEY_SEEN_CTE,
        set_facts=set_facts("j"),
    )
    .as_string()
)


DELETE_PARTIALS = """
DELETE FROM metering_partialtransaction
WHERE (dedup_key, side) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
"""


# Keep parts after their acceptance with nothing but what later parts are compared with: the texts
# are in the ledger now, where a key that comes late is cut out of them.
RETAIN_PARTS = """
UPDATE metering_partialtransaction part SET
    state = retained.state, next_look_at = part.received_at + retained.period,
    call = json_build_object(
        'transaction_id', '', 'occurred_at', part.call::json -> 'occurred_at',
        'elements', '{}'::json, 'fingerprint', part.call::json -> 'fingerprint'
    )::text
FROM (SELECT %s::uuid[] AS dedup_keys, %s::text AS state, %s::interval AS period) retained
WHERE part.dedup_key = ANY (retained.dedup_keys)
"""
