"""SQL of pairing: complete a stored transaction when the second part of its call comes late."""

from metering.attribution.judging import JUDGED_CTE
from metering.ledger.statements import (
    CALL_FACT_COLUMNS,
    COUNTED_ROWS,
    LEDGER_CTE,
    QUARANTINED_CTE,
    REVERSAL_CTE,
    REVERSED_ROWS,
    usage_cte,
)
from metering.quarantine.statements import NOT_POISON

# %(calls)s: a JSON array of the late parts, each with its dedup key as `identity`. Fields of the
# stored transaction stay; a part that adds no field changes nothing.
COMPLETE_LATE_PARTIALS = f"""
WITH RECURSIVE late_part AS MATERIALIZED (
    -- in: the calls; out: one row a call, with the transaction it belongs to.
    SELECT call.*, r.transaction, r.occurred_at, r.received_at
    FROM json_to_recordset(%(calls)s::json) AS call (
        identity uuid, fingerprint uuid, hint text, subscription_named text, source_named text,
        method text, path text, status smallint, request_bytes bigint, response_bytes bigint,
        latency_ms double precision, elements jsonb, metadata jsonb, names jsonb,
        similar_fingerprint uuid, oddities text
    )
    JOIN metering_remembered r ON r.identity = call.identity
), chain AS (
    -- in: late_part; out: all rows of the ledger and quarantine that this transaction ever had, in
    -- the order of its corrections. Two moments, for an admin may have counted it at its arrival.
    SELECT identity, transaction AS id, ARRAY[occurred_at, received_at] AS moments, 0 AS place
    FROM late_part
    UNION ALL
    SELECT chain.identity, successor.id, chain.moments, place + 1
    FROM chain CROSS JOIN LATERAL (
        SELECT t.id FROM metering_transaction t
        WHERE t.corrects = chain.id AND t.occurred_at = ANY (chain.moments) AND t.sign = 1
        UNION ALL
        SELECT q.id FROM metering_quarantined q WHERE q.corrects = chain.id
    ) successor
), latest AS (
    -- in: chain; out: the last row of each transaction, the one that counts.
    SELECT DISTINCT ON (identity) identity, id, moments
    FROM chain ORDER BY identity, place DESC
), standing AS MATERIALIZED (
    -- in: latest; out: those in the ledger, with the fingerprint of their key.
    SELECT t.*, k.fingerprint, k.hint, latest.identity
    FROM latest
    JOIN metering_transaction t ON t.id = latest.id AND t.occurred_at = ANY (latest.moments)
    LEFT JOIN revcred_externalkey k ON k.id = t.external_key_id
), waiting AS MATERIALIZED (
    -- in: latest; out: those in quarantine, locked against a claim that would move them out.
    SELECT q.*, latest.identity
    FROM latest JOIN metering_quarantined q ON q.id = latest.id
    WHERE {NOT_POISON}
    FOR UPDATE OF q
), before AS (
    -- in: standing, waiting; out: both in one shape. A row of the ledger gets a new id, for the
    -- correction; a row of the quarantine keeps its own.
    SELECT
        identity, true AS is_waiting, id, {CALL_FACT_COLUMNS}, corrects, quarantined_at,
        reason AS quarantine_reason, outside
    FROM waiting
    UNION ALL
    SELECT identity, false, time_ordered_id(), {
    CALL_FACT_COLUMNS
}, id, NULL, NULL, false FROM standing
), judging AS MATERIALIZED (
    -- in: before, late_part; out: the completed calls, of those to which the part adds something.
    SELECT
        before.identity, is_waiting, before.id, gateway_id, transaction_id, before.occurred_at,
        before.received_at, corrects, quarantined_at, quarantine_reason,
        %(claim)s::bigint AS claim_id, outside, late_part.similar_fingerprint, late_part.oddities,
        completed.*
    FROM before JOIN late_part ON late_part.identity = before.identity
    CROSS JOIN LATERAL (
        SELECT
            coalesce(before.fingerprint, late_part.fingerprint) AS fingerprint,
            CASE WHEN before.fingerprint IS NULL THEN late_part.hint ELSE before.hint END AS hint,
            coalesce(nullif(before.subscription_named, ''), late_part.subscription_named)
                AS subscription_named,
            coalesce(nullif(before.source_named, ''), late_part.source_named) AS source_named,
            coalesce(nullif(before.method, ''), late_part.method) AS method,
            coalesce(nullif(before.path, ''), late_part.path) AS path,
            coalesce(before.status, late_part.status) AS status,
            coalesce(before.request_bytes, late_part.request_bytes) AS request_bytes,
            coalesce(before.response_bytes, late_part.response_bytes) AS response_bytes,
            coalesce(before.latency_ms, late_part.latency_ms) AS latency_ms,
            coalesce(late_part.elements, '{{}}') || before.elements AS elements,
            nullif(
                coalesce(late_part.metadata, '{{}}') || coalesce(before.metadata, '{{}}'), '{{}}'
            ) AS metadata,
            coalesce(before.names, late_part.names) AS names
    ) completed
    WHERE (
        completed.fingerprint, coalesce(completed.subscription_named, ''),
        coalesce(completed.source_named, ''),
        coalesce(completed.method, ''), coalesce(completed.path, ''), completed.status,
        completed.request_bytes, completed.response_bytes, completed.latency_ms,
        completed.elements, completed.metadata, completed.names
    ) IS DISTINCT FROM (
        before.fingerprint, before.subscription_named, before.source_named,
        before.method, before.path, before.status, before.request_bytes,
        before.response_bytes, before.latency_ms, before.elements, before.metadata, before.names
    )
), {JUDGED_CTE}, {LEDGER_CTE}, {
    QUARANTINED_CTE.replace("reason IS NOT NULL", "reason IS NOT NULL AND NOT is_waiting")
}, {REVERSAL_CTE}, {usage_cte(COUNTED_ROWS + REVERSED_ROWS)}, left_quarantine AS (
    -- in: judged; out: nothing, what is now attributed leaves the quarantine.
    DELETE FROM metering_quarantined q USING judged j
    WHERE q.id = j.id AND j.is_waiting AND j.reason IS NULL
), still_waiting AS (
    -- in: judged; out: nothing, what stays in quarantine is completed in place.
    UPDATE metering_quarantined q SET
        fingerprint = j.fingerprint, hint = coalesce(j.hint, ''),
        subscription_named = coalesce(j.subscription_named, ''),
        source_named = coalesce(j.source_named, ''), method = coalesce(j.method, ''),
        path = coalesce(j.path, ''), status = j.status, request_bytes = j.request_bytes,
        response_bytes = j.response_bytes, latency_ms = j.latency_ms, elements = j.elements,
        metadata = j.metadata, names = j.names, reason = j.reason,
        similar_fingerprint = coalesce(q.similar_fingerprint, j.similar_fingerprint),
        oddities = coalesce(nullif(q.oddities, ''), j.oddities, '')
    FROM judged j
    WHERE q.id = j.id AND j.is_waiting AND j.reason IS NOT NULL
)
SELECT count(*) FROM judged
"""


DELETE_PARTIALS = """
DELETE FROM metering_half
WHERE (identity, side) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
"""
