"""SQL of attribution: takes deliveries from the inbox and processes all of their calls at once.

Everything that a batch changes is in one statement, so that it is committed whole or not at all.
That is what makes every call count exactly once, whatever process dies meanwhile.
"""

from functools import cache

from psycopg import sql

from metering.attribution.judging import judged_cte, path_rule_condition
from metering.ledger.call_facts import fact_columns, facts_from_json, typed_fact_columns
from metering.ledger.statements import (
    COUNTED_ROWS,
    KEY_SEEN_CTE,
    LEDGER_CTE,
    quarantined_cte,
    usage_ctes,
)
from metering.models import QuarantineReason

# Calls older than this on arrival say nothing about their gateway's clock.
LIVE_CALL_MAX_AGE = "1 hour"


# Due deliveries that were never attempted, with about {max_transactions} transactions.
# SKIP LOCKED leaves to other workers what they have taken. What is locked is taken, nearly: the
# sum is known only afterwards, so that LIMIT comes from the size of those that are due first.
UNTRIED_DELIVERIES = sql.SQL("""
    SELECT id FROM (
        SELECT id, sum(transactions) OVER (ORDER BY next_try_at, id) - transactions AS before
        FROM (
            SELECT id, next_try_at, transactions FROM metering_delivery
            WHERE next_try_at <= clock_timestamp() AND attempts = 0 AND last_error = ''
            ORDER BY next_try_at LIMIT (
                SELECT least(1000, 1 + {max_transactions} / greatest(1, avg(transactions)))
                FROM (
                    SELECT transactions FROM metering_delivery
                    WHERE next_try_at <= clock_timestamp() AND attempts = 0 AND last_error = ''
                    ORDER BY next_try_at LIMIT 50
                ) sample
            )
            FOR UPDATE SKIP LOCKED
        ) locked
    ) counted
    WHERE before < {max_transactions}
""")


# Deliveries whose attempt was recorded in an earlier transaction (cautious mode).
ATTEMPTED_DELIVERIES = sql.SQL("""
    SELECT id FROM metering_delivery WHERE id = ANY (%(deliveries)s::uuid[]) FOR UPDATE SKIP LOCKED
""")


# Record an attempt of the next due deliveries, and return them. A delivery that was attempted
# before is taken alone, new ones together. Should the process die, they are due again after a
# pause that doubles with each attempt.
BEGIN_ATTEMPT = """
WITH due AS MATERIALIZED (
    -- in: the inbox; out: at most 20 due deliveries in the range of attempts, locked.
    SELECT id, next_try_at, transactions, attempts FROM metering_delivery
    WHERE next_try_at <= clock_timestamp()
        AND attempts BETWEEN %(fewest_attempts)s AND coalesce(%(most_attempts)s::int, attempts)
    ORDER BY next_try_at LIMIT 20
    FOR UPDATE SKIP LOCKED
), batch AS (
    -- in: due; out: the same with their place in the queue and the transactions before each.
    SELECT
        id, attempts, row_number() OVER queue AS place, first_value(attempts) OVER queue AS first,
        sum(transactions) OVER queue - transactions AS before
    FROM due WINDOW queue AS (ORDER BY next_try_at, id)
)
UPDATE metering_delivery taken
SET attempts = taken.attempts + 1,
    next_try_at = clock_timestamp() + interval '1 second' * 2 ^ least(taken.attempts, 12)
FROM batch
WHERE taken.id = batch.id
    AND (place = 1 OR (first = 0 AND batch.attempts = 0 AND before < %(max_transactions)s))
RETURNING taken.id, taken.transactions, taken.attempts
"""


# True if one of the first due deliveries was attempted before. UNTRIED_DELIVERIES skips those.
HAS_FAILED = """
SELECT coalesce(bool_or(attempts > 0 OR last_error <> ''), false) FROM (
    SELECT attempts, last_error FROM metering_delivery
    WHERE next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT 20
) first
"""


# The sums of a gateway's hour, and how others are added to them.
INTAKE_STATS_COLUMNS = sql.SQL(
    "hour, gateway_id, accepted, rejected, passed_over, repeated, conflicting, attributed,"
    " quarantined, lag"
)
ADD_TO_INTAKE_STATS = sql.SQL("""ON CONFLICT (hour, gateway_id) DO UPDATE SET
        accepted = standing.accepted + excluded.accepted,
        rejected = standing.rejected + excluded.rejected,
        passed_over = standing.passed_over + excluded.passed_over,
        repeated = standing.repeated + excluded.repeated,
        conflicting = standing.conflicting + excluded.conflicting,
        attributed = standing.attributed + excluded.attributed,
        quarantined = standing.quarantined + excluded.quarantined,
        lag = standing.lag + excluded.lag""")


def process_statement(deliveries: sql.Composable) -> str:
    """Return the statement that processes these deliveries, a SELECT of their ids.

    Its only row: the number of deliveries, and of the transactions in them.
    """
    return (
        sql.SQL("""
WITH taken AS MATERIALIZED (
    -- in: ids of deliveries; out: the deliveries, deleted from the inbox.
    DELETE FROM metering_delivery WHERE id = ANY (ARRAY({deliveries}))
    RETURNING id, gateway_id, received_at, transactions, rejected, passed_over, body
), item AS MATERIALIZED (
    -- in: taken; out: one row a call.
    SELECT
        coalesce(call.made_id, time_ordered_id()) AS id, c.gateway_id, c.received_at,
        c.id AS delivery, call.*
    FROM taken c CROSS JOIN LATERAL ROWS FROM (
        json_to_recordset(c.body::json) AS (
            made_id uuid, dedup_key uuid, shared_id uuid, content_hash uuid, transaction_id text,
            occurred_at timestamptz, fingerprint uuid, hint text, {typed_facts},
            undated boolean, outside boolean, similar_fingerprint uuid, oddities text
        )
    ) WITH ORDINALITY AS call (
        made_id, dedup_key, shared_id, content_hash, transaction_id, occurred_at, fingerprint, hint,
        {facts}, undated, outside, similar_fingerprint, oddities, place
    )
), first AS MATERIALIZED (
    -- in: item; out: of the calls of each dedup key the first to arrive. Without the facts of the
    -- call, since what is sorted is copied.
    SELECT DISTINCT ON (dedup_key)
        dedup_key, shared_id, id, content_hash, occurred_at, received_at
    FROM item ORDER BY dedup_key, received_at, delivery, place
), remembered AS (
    -- in: first; out: rows that are new, and rows that stood before with another content hash. A
    -- plain repeat is not returned. The order by dedup key keeps two workers from waiting for each
    -- other's rows.
    INSERT INTO metering_seentransaction AS standing
        (dedup_key, shared_id, transaction, content_hash, occurred_at, received_at)
    SELECT dedup_key, shared_id, id, content_hash, occurred_at, received_at
    FROM first ORDER BY dedup_key
    ON CONFLICT (dedup_key) DO UPDATE SET content_hash = standing.content_hash
        WHERE standing.content_hash <> excluded.content_hash
    RETURNING dedup_key, transaction, content_hash
), judging AS MATERIALIZED (
    -- in: item, remembered; out: the new calls, with the columns that `judged_cte` and its users
    -- expect. Ids are unique, so that they tell the first call of a dedup key from its repeats.
    SELECT
        item.*, NULL::timestamptz AS quarantined_at, NULL::text AS quarantine_reason,
        NULL::bigint AS claim_id, NULL::uuid AS corrects
    FROM item JOIN remembered r ON r.transaction = item.id
), repeated AS MATERIALIZED (
    -- in: item, first, remembered; out: the other calls, with the transaction that stands and its
    -- content hash. Where `remembered` has no row, the first call is a plain repeat of it.
    SELECT
        item.id, item.dedup_key, r.transaction AS standing,
        item.content_hash <> coalesce(r.content_hash, first.content_hash) AS is_conflicting
    FROM item
    JOIN first ON first.dedup_key = item.dedup_key
    LEFT JOIN remembered r ON r.dedup_key = item.dedup_key
    WHERE r.transaction IS DISTINCT FROM item.id
), conflicting AS MATERIALIZED (
    -- in: repeated, item; out: calls sent before with another content, with the transaction that
    -- stands.
    SELECT
        item.*,
        coalesce(standing, (
            SELECT seen.transaction FROM metering_seentransaction seen
            WHERE seen.dedup_key = repeated.dedup_key
        )) AS transaction
    FROM repeated JOIN item ON item.id = repeated.id WHERE is_conflicting
), conflict AS (
    -- in: conflicting; out: nothing, their content is kept for whoever runs the gateway.
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
), {judged}, {ledger_cte}, {quarantined}, {usage_ctes}, intake_stats AS (
    -- in: taken, conflicting, judged; out: nothing, the sums are added by gateway and hour.
    INSERT INTO metering_intakestats AS standing ({intake_stats_columns})
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
        FROM taken
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
    {add_to_intake_stats}
), {key_seen_cte}, gateway_seen AS (
    -- in: taken, item; out: nothing, when the gateways were last seen and how far ahead their
    -- clocks are. Only calls of LIVE_CALL_MAX_AGE say something of the clock. A gateway that
    -- another worker has locked is skipped: it is written again within seconds, and nobody should
    -- wait for it.
    UPDATE revcred_gateway g
    SET
        last_seen_at = seen.at,
        clock_ahead = coalesce((
            SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY occurred_at - received_at)
            FROM item
            WHERE gateway_id = g.id AND undated IS NOT TRUE
                AND occurred_at > received_at - interval '{live_call_max_age}'
        ), g.clock_ahead)
    FROM (
        SELECT gateway_id, max(received_at) AS at FROM taken
        WHERE transactions > 0 GROUP BY gateway_id
    ) seen
    WHERE g.id = (
        SELECT l.id FROM revcred_gateway l
        WHERE l.id = seen.gateway_id
            AND (l.last_seen_at IS NULL OR l.last_seen_at < seen.at - interval '5 seconds')
        FOR NO KEY UPDATE SKIP LOCKED
    )
)
SELECT (SELECT count(*) FROM taken), (SELECT count(*) FROM item)
""")
        .format(
            deliveries=deliveries,
            judged=judged_cte(),
            ledger_cte=LEDGER_CTE,
            quarantined=quarantined_cte(),
            usage_ctes=usage_ctes(COUNTED_ROWS),
            key_seen_cte=KEY_SEEN_CTE,
            live_call_max_age=sql.SQL(LIVE_CALL_MAX_AGE),
            facts=fact_columns(),
            typed_facts=typed_fact_columns(),
            intake_stats_columns=INTAKE_STATS_COLUMNS,
            add_to_intake_stats=ADD_TO_INTAKE_STATS,
        )
        .as_string()
    )


@cache
def process_untried_statement(max_transactions: int) -> str:
    """Return the statement that processes deliveries that were never attempted.

    It has no parameter: PostgreSQL would plan it for each value anew.
    """
    return process_statement(
        UNTRIED_DELIVERIES.format(max_transactions=sql.Literal(max_transactions))
    )


PROCESS_ATTEMPTED = process_statement(ATTEMPTED_DELIVERIES)


# Add what calls since a moment name, or their paths begin with, that is not a source. Ids are
# ordered by time, so the primary keys give the rows since then. LIMIT bounds what a scanner that
# calls random paths can write.
DISCOVER_SOURCES = (
    sql.SQL("""
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
    ELSE NOT EXISTS (SELECT FROM revcred_pathrule r WHERE {fits_path_rule})
END
GROUP BY name, kind ORDER BY count(*) DESC LIMIT 1000
ON CONFLICT (name, kind) DO UPDATE
SET last_seen_at = greatest(standing.last_seen_at, excluded.last_seen_at)
""")
    .format(fits_path_rule=path_rule_condition("path"))
    .as_string()
)


# Delete what has become a source, what was not seen since %(before)s, and beyond %(most)s rows
# those not seen for the longest time.
FORGET_DISCOVERED_SOURCES = (
    sql.SQL("""
DELETE FROM metering_discoveredsource d
WHERE CASE d.kind
    WHEN 'named' THEN EXISTS (
        SELECT FROM revcred_source s WHERE s.external_key = d.name
        UNION ALL
        SELECT FROM revcred_formername f WHERE f.kind = 'source' AND f.name = d.name
    )
    ELSE EXISTS (SELECT FROM revcred_pathrule r WHERE {fits_path_rule})
END OR d.last_seen_at < %(before)s OR d.id IN (
    SELECT id FROM metering_discoveredsource ORDER BY last_seen_at DESC, id OFFSET %(most)s
)
""")
    .format(fits_path_rule=path_rule_condition("d.name"))
    .as_string()
)


# Split a delivery into one per transaction, so that only the failing one is quarantined. They are
# attempted together again first. A last delivery without transactions keeps the counts of rejected
# and ignored records, so that these are counted once.
SPLIT_DELIVERY = """
WITH whole AS (
    -- in: a delivery's id; out: that delivery, deleted from the inbox, if it holds several calls.
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


# Quarantine the only transaction of a delivery that cannot be processed. Nothing in it is judged,
# and a number that its column cannot hold is left out. %(default_error)s stands for the error if
# none was recorded.
QUARANTINE_POISON = (
    sql.SQL("""
WITH poison AS (
    -- in: a delivery's id; out: its call as JSON, deleted from the inbox.
    DELETE FROM metering_delivery WHERE id = %(delivery)s AND transactions = 1
    RETURNING
        gateway_id, received_at, coalesce(nullif(last_error, ''), %(default_error)s) AS error,
        rejected, passed_over, body::json -> 0 AS call
), remembered AS (
    -- in: poison; out: its transaction's id, or no row for a repeat, which is dropped.
    INSERT INTO metering_seentransaction
        (dedup_key, shared_id, transaction, content_hash, occurred_at, received_at)
    SELECT
        (call ->> 'dedup_key')::uuid, (call ->> 'shared_id')::uuid,
        coalesce((call ->> 'made_id')::uuid, time_ordered_id()),
        (call ->> 'content_hash')::uuid, (call ->> 'occurred_at')::timestamptz, received_at
    FROM poison
    ON CONFLICT (dedup_key) DO NOTHING
    RETURNING transaction
), intake_stats AS (
    -- in: poison, remembered; out: nothing, the call is counted like those that can be processed.
    INSERT INTO metering_intakestats AS standing ({intake_stats_columns})
    SELECT
        date_trunc('hour', received_at, 'UTC'), gateway_id, 1, rejected, passed_over,
        1 - fresh.count, 0, 0, fresh.count,
        extract(epoch FROM clock_timestamp() - received_at)::float
    FROM poison, (SELECT count(*) FROM remembered) fresh
    {add_to_intake_stats}
)
INSERT INTO metering_quarantined (
    id, gateway_id, transaction_id, occurred_at, received_at, {facts},
    fingerprint, hint, outside, reason, quarantined_at, error, code_version,
    released_by, release_note
)
SELECT
    transaction, gateway_id, call ->> 'transaction_id', (call ->> 'occurred_at')::timestamptz,
    received_at, {stored_facts},
    (call ->> 'fingerprint')::uuid,
    coalesce(call ->> 'hint', ''), coalesce((call ->> 'outside')::boolean, false), {poison},
    clock_timestamp(), error, %(code_version)s, '', ''
FROM poison, remembered
""")
    .format(
        facts=fact_columns(),
        stored_facts=facts_from_json("call"),
        poison=sql.Literal(QuarantineReason.POISON.value),
        intake_stats_columns=INTAKE_STATS_COLUMNS,
        add_to_intake_stats=ADD_TO_INTAKE_STATS,
    )
    .as_string()
)
