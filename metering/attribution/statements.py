"""SQL of attribution: takes deliveries from the inbox and processes all of their calls at once."""

from metering.attribution.judging import JUDGED_CTE, path_rule_condition
from metering.ledger.statements import (
    COUNTED_ROWS,
    KEY_SEEN_CTE,
    LEDGER_CTE,
    QUARANTINED_CTE,
    usage_cte,
)

# How old a call may be on arrival to say anything of its gateway's clock.
LIVE_CALL_MAX_AGE = "1 hour"


# Which deliveries a settlement takes: those that were never tried, up to %(most)s transactions …
UNTRIED_DELIVERIES = """
    SELECT id FROM (
        SELECT id, sum(transactions) OVER (ORDER BY next_try_at, id) - transactions AS before
        FROM (
            SELECT id, next_try_at, transactions FROM metering_delivery
            WHERE next_try_at <= clock_timestamp() AND attempts = 0 AND last_error = ''
            ORDER BY next_try_at LIMIT 1000
            FOR UPDATE SKIP LOCKED
        ) locked
    ) counted
    WHERE before < %(most)s
"""


# … or those taken before, with care.
ATTEMPTED_DELIVERIES = """
    SELECT id FROM metering_delivery WHERE id = ANY (%(deliveries)s::uuid[]) FOR UPDATE SKIP LOCKED
"""


# Put on record that these are tried now: one that was tried before alone, others in small company.
# Should nobody come back from it, they are tried again after a pause, which grows.
BEGIN_ATTEMPT = """
WITH due AS MATERIALIZED (
    SELECT id, next_try_at, transactions, attempts FROM metering_delivery
    WHERE next_try_at <= clock_timestamp()
        AND attempts BETWEEN %(least)s AND coalesce(%(greatest)s::int, attempts)
    ORDER BY next_try_at LIMIT 20
    FOR UPDATE SKIP LOCKED
), company AS (
    SELECT
        id, attempts, row_number() OVER queue AS place, first_value(attempts) OVER queue AS first,
        sum(transactions) OVER queue - transactions AS before
    FROM due WINDOW queue AS (ORDER BY next_try_at, id)
)
UPDATE metering_delivery taken
SET attempts = taken.attempts + 1,
    next_try_at = clock_timestamp() + interval '1 second' * 2 ^ least(taken.attempts, 12)
FROM company
WHERE taken.id = company.id
    AND (place = 1 OR (first = 0 AND company.attempts = 0 AND before < %(most)s))
RETURNING taken.id, taken.transactions, taken.attempts
"""


# Whether what was tried before is due, and among the first. Others leave it where it is.
HAS_FAILED = """
SELECT coalesce(bool_or(attempts > 0 OR last_error <> ''), false) FROM (
    SELECT attempts, last_error FROM metering_delivery
    WHERE next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT 20
) first
"""


def process_statement(deliveries: str) -> str:
    """Take these deliveries out of the inbox and settle every transaction in them.

    Answers one row: how many deliveries, and transactions in them.
    """
    return f"""
WITH claimed AS MATERIALIZED (
    DELETE FROM metering_delivery WHERE id = ANY (ARRAY({deliveries}))
    RETURNING id, gateway_id, received_at, transactions, rejected, passed_over, body
), item AS MATERIALIZED (
    SELECT
        coalesce(call.made_id, time_ordered_id()) AS id, c.gateway_id, c.received_at, call.*,
        row_number() OVER same = 1 AS is_first, first_value(call.digest) OVER same AS first_digest
    FROM claimed c CROSS JOIN LATERAL ROWS FROM (
        json_to_recordset(c.body::json) AS (
            made_id uuid, identity uuid, shared_id uuid, digest uuid, transaction_id text,
            occurred_at timestamptz, fingerprint uuid, hint text, subscription_named text,
            source_named text, method text, path text, status smallint, request_bytes bigint,
            response_bytes bigint, latency_ms double precision, elements jsonb, metadata jsonb,
            names jsonb, undated boolean, outside boolean, similar_fingerprint uuid, oddities text
        )
    ) WITH ORDINALITY AS call (
        made_id, identity, shared_id, digest, transaction_id, occurred_at, fingerprint, hint,
        subscription_named, source_named, method, path, status, request_bytes, response_bytes,
        latency_ms, elements, metadata, names, undated, outside, similar_fingerprint, oddities,
        place
    )
    WINDOW same AS (PARTITION BY call.identity ORDER BY c.received_at, c.id, call.place)
), remembered AS (
    -- A repeat leaves no trace here. The same transaction with another content changes nothing
    -- either, but is returned, with what stands.
    INSERT INTO metering_remembered AS standing
        (identity, shared_id, transaction, digest, occurred_at, received_at)
    SELECT identity, shared_id, id, digest, occurred_at, received_at
    FROM item WHERE is_first ORDER BY identity
    ON CONFLICT (identity) DO UPDATE SET digest = standing.digest
        WHERE standing.digest <> excluded.digest
    RETURNING identity, transaction, digest
), compared AS MATERIALIZED (
    -- What is returned for an identity stands; where nothing is, the first here repeats it.
    SELECT
        item.*,
        is_first AND r.transaction = item.id AS is_new,
        item.digest <> coalesce(r.digest, first_digest) AS is_conflicting,
        r.transaction AS standing
    FROM item LEFT JOIN remembered r ON r.identity = item.identity
), judging AS (
    SELECT
        compared.*, NULL::timestamptz AS quarantined_at, NULL::text AS quarantine_reason,
        NULL::bigint AS claim_id, NULL::uuid AS corrects
    FROM compared WHERE is_new
), conflicting AS (
    SELECT
        compared.*,
        coalesce(standing, (
            SELECT m.transaction FROM metering_remembered m WHERE m.identity = compared.identity
        )) AS transaction
    FROM compared WHERE is_conflicting
), conflict AS (
    INSERT INTO metering_conflict (transaction, gateway_id, transaction_id, received_at, content)
    SELECT
        transaction, gateway_id, transaction_id, received_at,
        jsonb_strip_nulls(jsonb_build_object(
            'occurred_at', occurred_at, 'key_hint', hint, 'subscription', subscription_named,
            'source', source_named, 'method', method, 'path', path, 'status', status,
            'request_bytes', request_bytes, 'response_bytes', response_bytes,
            'latency_ms', latency_ms, 'elements', elements, 'metadata', metadata, 'names', names
        ))
    FROM conflicting
), {JUDGED_CTE}, {LEDGER_CTE}, {QUARANTINED_CTE}, {usage_cte(COUNTED_ROWS)}, tally AS (
    INSERT INTO metering_tally AS standing (
        hour, gateway_id, accepted, rejected, passed_over, repeated, conflicting, attributed,
        quarantined, lag
    )
    SELECT
        hour, gateway_id, sum(accepted), sum(rejected), sum(passed_over),
        sum(accepted - fresh - conflicting),
        sum(conflicting), sum(attributed), sum(fresh - attributed), sum(lag)
    FROM (
        SELECT
            date_trunc('hour', received_at, 'UTC') AS hour, gateway_id,
            transactions AS accepted, rejected, passed_over, 0 AS conflicting, 0 AS fresh,
            0 AS attributed,
            transactions * extract(epoch FROM clock_timestamp() - received_at)::float AS lag
        FROM claimed
        UNION ALL
        SELECT date_trunc('hour', received_at, 'UTC'), gateway_id, 0, 0, 0, 1, 0, 0, 0
        FROM conflicting
        UNION ALL
        SELECT
            date_trunc('hour', received_at, 'UTC'), gateway_id, 0, 0, 0, 0, 1,
            (reason IS NULL)::int, 0
        FROM judged
    ) part
    GROUP BY hour, gateway_id ORDER BY hour, gateway_id
    ON CONFLICT (hour, gateway_id) DO UPDATE SET
        accepted = standing.accepted + excluded.accepted,
        rejected = standing.rejected + excluded.rejected,
        passed_over = standing.passed_over + excluded.passed_over,
        repeated = standing.repeated + excluded.repeated,
        conflicting = standing.conflicting + excluded.conflicting,
        attributed = standing.attributed + excluded.attributed,
        quarantined = standing.quarantined + excluded.quarantined,
        lag = standing.lag + excluded.lag
), {KEY_SEEN_CTE}, gateway_seen AS (
    -- Its clock is judged by live calls alone: what is brought later says nothing of it.
    UPDATE revcred_gateway g
    SET last_seen_at = seen.at, clock_ahead = coalesce(seen.ahead, g.clock_ahead)
    FROM (
        SELECT
            gateway_id, max(received_at) AS at,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY occurred_at - received_at) FILTER (
                WHERE undated IS NOT TRUE
                    AND occurred_at > received_at - interval '{LIVE_CALL_MAX_AGE}'
            ) AS ahead
        FROM item GROUP BY gateway_id
    ) seen
    WHERE g.id = seen.gateway_id
        AND g.id IN (
            SELECT l.id FROM revcred_gateway l
            WHERE l.id IN (SELECT gateway_id FROM item)
            ORDER BY l.id FOR NO KEY UPDATE SKIP LOCKED
        )
        AND (g.last_seen_at IS NULL OR g.last_seen_at < seen.at - interval '5 seconds')
)
SELECT (SELECT count(*) FROM claimed), (SELECT count(*) FROM item)
"""


PROCESS_UNTRIED = process_statement(UNTRIED_DELIVERIES)


PROCESS_ATTEMPTED = process_statement(ATTEMPTED_DELIVERIES)


# What was called since a moment, by name or the beginning of its path, and is no source.
DISCOVER_SOURCES = f"""
INSERT INTO metering_discoveredsource AS standing
    (name, kind, gateway_id, first_seen_at, last_seen_at)
SELECT name, kind, min(gateway_id), min(received_at), max(received_at)
FROM (
    SELECT
        left(
            coalesce(nullif(source_named, ''), substring(path FROM '^/[^/]*/?')), 200
        ) AS name,
        CASE WHEN source_named <> '' THEN 'named' ELSE 'path' END AS kind,
        path, gateway_id, received_at
    FROM (
        SELECT source_named, path, gateway_id, received_at FROM metering_transaction
        WHERE id >= %(since)s AND source_id IS NULL AND sign = 1
        UNION ALL
        SELECT source_named, path, gateway_id, received_at FROM metering_quarantined
        WHERE id >= %(since)s
    ) called
    WHERE source_named <> '' OR path LIKE '/_%%'
) unknown
WHERE CASE kind
    WHEN 'named' THEN NOT EXISTS (
        SELECT FROM revcred_source s WHERE s.external_key = unknown.name
        UNION ALL
        SELECT FROM revcred_formername f WHERE f.kind = 'source' AND f.name = unknown.name
    )
    ELSE NOT EXISTS (SELECT FROM revcred_pathrule r WHERE {path_rule_condition("path")})
END
GROUP BY name, kind ORDER BY count(*) DESC LIMIT 1000
ON CONFLICT (name, kind) DO UPDATE
SET last_seen_at = greatest(standing.last_seen_at, excluded.last_seen_at)
"""


# What has become a source, and beyond some thousands what was not seen for the longest.
FORGET_DISCOVERED_SOURCES = f"""
DELETE FROM metering_discoveredsource d
WHERE CASE d.kind
    WHEN 'named' THEN EXISTS (
        SELECT FROM revcred_source s WHERE s.external_key = d.name
        UNION ALL
        SELECT FROM revcred_formername f WHERE f.kind = 'source' AND f.name = d.name
    )
    ELSE EXISTS (SELECT FROM revcred_pathrule r WHERE {path_rule_condition("d.name")})
END OR d.id IN (
    SELECT id FROM metering_discoveredsource ORDER BY last_seen_at DESC, id OFFSET 5000
)
"""


# A delivery taken apart into one per transaction, so that only what fails is put aside. They are
# tried in company again, with care; what was rejected is told of by one that holds nothing else.
SPLIT_DELIVERY = """
WITH whole AS (
    DELETE FROM metering_delivery WHERE id = %(delivery)s AND transactions > 1
    RETURNING gateway_id, received_at, rejected, passed_over, last_error, body
)
INSERT INTO metering_delivery
    (gateway_id, received_at, next_try_at, transactions, rejected, passed_over, last_error, body)
SELECT
    gateway_id, received_at, received_at, 1, 0, 0, last_error, json_build_array(call)::text
FROM whole CROSS JOIN LATERAL json_array_elements(body::json) call
UNION ALL
SELECT gateway_id, received_at, received_at, 0, rejected, passed_over, last_error, '[]'
FROM whole WHERE rejected > 0 OR passed_over > 0
"""


# A delivery of one transaction that cannot be processed, with nothing in it looked at closely:
# a number that its column cannot hold is left out. %(unsaid)s is its error if none was said.
QUARANTINE_POISON = """
WITH poison AS (
    DELETE FROM metering_delivery WHERE id = %(delivery)s AND transactions = 1
    RETURNING
        gateway_id, received_at, coalesce(nullif(last_error, ''), %(unsaid)s) AS error,
        body::json -> 0 AS call
), remembered AS (
    INSERT INTO metering_remembered
        (identity, shared_id, transaction, digest, occurred_at, received_at)
    SELECT
        (call ->> 'identity')::uuid, (call ->> 'shared_id')::uuid,
        coalesce((call ->> 'made_id')::uuid, time_ordered_id()),
        (call ->> 'digest')::uuid, (call ->> 'occurred_at')::timestamptz, received_at
    FROM poison
    ON CONFLICT (identity) DO NOTHING
    RETURNING transaction
), number AS (
    SELECT
        (call ->> 'status')::numeric AS status,
        (call ->> 'request_bytes')::numeric AS request_bytes,
        (call ->> 'response_bytes')::numeric AS response_bytes,
        (call ->> 'latency_ms')::numeric AS latency_ms
    FROM poison
)
INSERT INTO metering_quarantined (
    id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
    method, path, status, request_bytes, response_bytes, latency_ms, elements, metadata, names,
    fingerprint, hint, outside, reason, quarantined_at, error, released_by, release_note
)
SELECT
    transaction, gateway_id, call ->> 'transaction_id', (call ->> 'occurred_at')::timestamptz,
    received_at, coalesce(call ->> 'subscription_named', ''), coalesce(call ->> 'source_named', ''),
    coalesce(call ->> 'method', ''), coalesce(call ->> 'path', ''),
    CASE WHEN abs(status) < 1 << 15 THEN status END,
    CASE WHEN abs(request_bytes) < 1::bigint << 62 THEN request_bytes END,
    CASE WHEN abs(response_bytes) < 1::bigint << 62 THEN response_bytes END,
    CASE WHEN abs(latency_ms) < 1e300 THEN latency_ms END,
    (call -> 'elements')::jsonb, (call -> 'metadata')::jsonb, (call -> 'names')::jsonb,
    (call ->> 'fingerprint')::uuid,
    coalesce(call ->> 'hint', ''), coalesce((call ->> 'outside')::boolean, false), 'poison',
    clock_timestamp(), error, '', ''
FROM poison, remembered, number
"""
