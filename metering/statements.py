"""What attribution says to PostgreSQL: whole chunks in one statement, never a row at a time.

The verdict is the rule of `metering.attribution.verdict`, for many rows at once; tests hold the
two together. Each look-up is LATERAL and by index: for a set the planner cannot estimate, it
would otherwise read every credential there is.
"""

DISAGREES = """
(j.by_name).is_strict AND (
                (j.by_name).credential_id <> key.credential_id
                OR (j.by_name).customer_id <> coalesce(fed.customer_id, direct.customer_id)
                OR (j.by_name).product_id <> coalesce(fed.product_id, direct.product_id)
            )
""".strip()


def fits(path: str) -> str:
    """Whether a rule `r` fits the path, an SQL expression. Expressions are read by PostgreSQL."""
    return f"""CASE r.match
                        WHEN 'equals' THEN {path} = r.text
                        WHEN 'begins_with' THEN starts_with({path}, r.text)
                        WHEN 'ends_with' THEN right({path}, length(r.text)) = r.text
                        WHEN 'contains' THEN strpos({path}, r.text) > 0
                        ELSE {path} ~ r.text
                    END"""


# The last moment that `occurred_at` may stand for: said in whole seconds, it may have been any of
# its second. What holds at some moment of it counts.
LAST_POSSIBLE = """
CASE
                WHEN judging.occurred_at::timestamptz(0) = judging.occurred_at
                THEN judging.occurred_at + interval '0.999999 seconds'
                ELSE judging.occurred_at
            END
""".strip()


def holds(period: str, call: str = "j") -> str:
    """A condition: the period holds at some moment that the call may be of; both are aliases."""
    begins, ends = f"{period}.active_from", f"{period}.active_until"
    return f"""{begins} <= {call}.last_at
                    AND ({ends} IS NULL OR {call}.occurred_at < {ends})"""


# The subscription that has, or else last had, the name that the call says: see FormerName.
NAMED = f"""coalesce(
                (
                    SELECT o.id FROM revcred_subscription o
                    WHERE o.external_key = sourced.subscription_named AND {holds("o", "sourced")}
                    ORDER BY o.active_from DESC LIMIT 1
                ), (
                    SELECT o.id FROM revcred_formername f
                    JOIN revcred_subscription o ON o.id = f.target_id
                    WHERE f.kind = 'subscription' AND f.name = sourced.subscription_named
                        AND (f.counts_until IS NULL OR sourced.occurred_at < f.counts_until)
                        AND {holds("o", "sourced")}
                    ORDER BY f.former_since DESC LIMIT 1
                )
            )"""

# The source that has, or else last had, the name that the call says.
SOURCE_NAMED = """coalesce(
                    (SELECT s.id FROM revcred_source s WHERE s.external_key = source_named),
                    (
                        SELECT f.target_id FROM revcred_formername f
                        WHERE f.kind = 'source' AND f.name = source_named
                            AND (f.counts_until IS NULL OR occurred_at < f.counts_until)
                        ORDER BY f.former_since DESC LIMIT 1
                    )
                )"""


def covers(product: str, source: str, source_named: str) -> str:
    """A condition: the product counts calls to that source, each an SQL expression.

    Asked once a statement whether there is a product that does not count all calls.
    """
    return f"""(
                    NOT EXISTS (SELECT FROM revcred_product WHERE restricted)
                    OR (
                        SELECT NOT p.restricted OR CASE
                            WHEN {source} IS NOT NULL THEN EXISTS (
                                SELECT FROM revcred_product_sources x
                                WHERE x.product_id = p.id AND x.source_id = {source}
                            )
                            ELSE p.also_without_source AND {source_named} IS NULL
                        END
                        FROM revcred_product p WHERE p.id = {product}
                    )
                )"""


# From `judging` (id, gateway_id, occurred_at, fingerprint, subscription_named, source_named,
# path, names, outside, …) to `judged`: the same with whose it is, or the reason why it is nobody's.
# OFFSET 0 keeps the planner from copying an expression to every place that names it.
# Where a key or a subscription ends and another begins in the second of a call that is said in
# whole seconds, the later one takes it.
JUDGED = f"""
judged AS MATERIALIZED (
    SELECT
        j.*,
        CASE
            WHEN j.outside THEN 'moment_outside'
            WHEN (j.by_name).decides THEN (j.by_name).reason
            WHEN j.fingerprint IS NULL AND j.subscription_named IS NULL THEN 'anonymous'
            WHEN j.fingerprint IS NULL THEN
                CASE
                    WHEN direct.id IS NULL THEN 'no_subscription'
                    WHEN {DISAGREES} THEN 'names_disagree'
                END
            WHEN key.id IS NULL THEN
                CASE WHEN EXISTS (
                    SELECT FROM revcred_externalkey k
                    WHERE k.fingerprint = j.fingerprint
                        AND (k.gateway_id IS NULL OR k.gateway_id = j.gateway_id)
                ) THEN 'key_not_valid' ELSE 'unknown_key' END
            WHEN NOT key.credential_valid THEN 'key_not_valid'
            WHEN fed.candidates = 0 THEN 'no_subscription'
            WHEN fed.named = 0 THEN 'subscription_mismatch'
            WHEN fed.fitting = 0 THEN 'no_subscription'
            WHEN fed.fitting > 1 THEN 'ambiguous'
            WHEN {DISAGREES} THEN 'names_disagree'
        END AS reason,
        CASE
            WHEN (j.by_name).decides THEN 'name'
            WHEN j.fingerprint IS NULL THEN 'subscription'
            ELSE key.kind
        END AS matched_by,
        key.id AS external_key_id,
        CASE WHEN (j.by_name).decides THEN (j.by_name).credential_id ELSE key.credential_id END
            AS credential_id,
        coalesce(fed.assignment_id, (j.by_name).assignment_id) AS assignment_id,
        coalesce(fed.subscription_id, direct.id, (j.by_name).subscription_id) AS subscription_id,
        coalesce(fed.customer_id, direct.customer_id, (j.by_name).customer_id) AS customer_id,
        coalesce(fed.product_id, direct.product_id, (j.by_name).product_id) AS product_id
    FROM (
        SELECT
            sourced.*,
            -- With a key, what has the name now is told by its name, and former names are asked
            -- for where there are any: that is asked once a statement.
            CASE
                WHEN subscription_named IS NOT NULL AND (
                    fingerprint IS NULL
                    OR EXISTS (SELECT FROM revcred_formername WHERE kind = 'subscription')
                ) THEN {NAMED}
            END AS named_id,
            CASE
                WHEN names IS NOT NULL THEN owner_by_name(
                    names, occurred_at, last_at,
                    fingerprint IS NULL AND subscription_named IS NULL, source_named, source_id
                )
            END AS by_name
        FROM (
            SELECT
                judging.*,
                {LAST_POSSIBLE} AS last_at,
                CASE
                    WHEN source_named IS NOT NULL THEN {SOURCE_NAMED}
                    -- Asked once a statement: most installations have no rules.
                    WHEN EXISTS (SELECT FROM revcred_pathrule) THEN (
                        SELECT r.source_id FROM revcred_pathrule r WHERE {fits("judging.path")}
                        ORDER BY
                            array_position(
                                '{{equals,begins_with,ends_with,contains}}', r.match::text
                            ),
                            length(r.text) DESC, r.id
                        LIMIT 1
                    )
                END AS source_id
            FROM judging
            OFFSET 0
        ) sourced
        OFFSET 0
    ) j
    LEFT JOIN LATERAL (
        SELECT
            k.id, k.kind, k.credential_id,
            (c.revoked_at IS NULL OR j.occurred_at < c.revoked_at)
            AND (c.expires_at IS NULL OR j.occurred_at < c.expires_at)
            AND NOT EXISTS (
                SELECT FROM revcred_suspension p
                WHERE p.credential_id = c.id
                    AND p.active_from <= j.occurred_at
                    AND (p.active_until IS NULL OR j.last_at < p.active_until)
            ) AS credential_valid
        FROM revcred_externalkey k
        JOIN revcred_credential c ON c.id = k.credential_id
        WHERE k.fingerprint = j.fingerprint
            AND (k.gateway_id IS NULL OR k.gateway_id = j.gateway_id)
            AND k.active_from <= j.last_at
            AND (
                k.active_until IS NULL OR j.last_at < k.active_until
                OR j.occurred_at < k.active_until AND k.active_from < k.active_until
                -- In its second another takes over: not by order, which the index gives.
                AND NOT EXISTS (
                    SELECT FROM revcred_externalkey n
                    WHERE n.fingerprint = k.fingerprint
                        AND n.gateway_id IS NOT DISTINCT FROM k.gateway_id
                        AND n.active_from > k.active_from AND n.active_from <= j.last_at
                        AND (n.active_until IS NULL OR n.active_from < n.active_until)
                )
            )
        ORDER BY k.gateway_id
        LIMIT 1
    ) key ON true
    LEFT JOIN LATERAL (
        SELECT
            count(*) AS candidates,
            count(*) FILTER (WHERE is_named) AS named,
            coalesce(
                nullif(count(*) FILTER (WHERE is_fitting AND outlasts), 0),
                count(*) FILTER (WHERE is_fitting)
            ) AS fitting,
            coalesce(
                min(assignment_id) FILTER (WHERE is_fitting AND outlasts),
                min(assignment_id) FILTER (WHERE is_fitting)
            ) AS assignment_id,
            coalesce(
                min(subscription_id) FILTER (WHERE is_fitting AND outlasts),
                min(subscription_id) FILTER (WHERE is_fitting)
            ) AS subscription_id,
            coalesce(
                min(customer_id) FILTER (WHERE is_fitting AND outlasts),
                min(customer_id) FILTER (WHERE is_fitting)
            ) AS customer_id,
            coalesce(
                min(product_id) FILTER (WHERE is_fitting AND outlasts),
                min(product_id) FILTER (WHERE is_fitting)
            ) AS product_id
        FROM (
            SELECT
                candidate.*,
                is_named AND {covers("candidate.product_id", "j.source_id", "j.source_named")}
                    AS is_fitting
            FROM (
                SELECT
                    a.id AS assignment_id, s.id AS subscription_id, s.customer_id, s.product_id,
                    (a.active_until IS NULL OR j.last_at < a.active_until)
                    AND (s.active_until IS NULL OR j.last_at < s.active_until) AS outlasts,
                    j.subscription_named IS NULL OR s.external_key = j.subscription_named
                    OR s.id = j.named_id AS is_named
                FROM revcred_assignment a
                JOIN revcred_subscription s ON s.id = a.subscription_id
                WHERE a.credential_id = key.credential_id
                    AND {holds("a")}
                    AND {holds("s")}
            ) candidate
            OFFSET 0
        ) fitted
    ) fed ON true
    LEFT JOIN LATERAL (
        SELECT s.id, s.customer_id, s.product_id
        FROM revcred_subscription s
        WHERE j.fingerprint IS NULL AND s.id = j.named_id
            AND {covers("s.product_id", "j.source_id", "j.source_named")}
        LIMIT 1  -- so that nothing is looked up for calls with a key
    ) direct ON true
)
"""

# Why a call of now would be nobody's, or nothing.
WOULD_BE = f"""
WITH judging AS (
    SELECT
        %(gateway)s::bigint AS gateway_id, clock_timestamp() AS occurred_at,
        %(fingerprint)s::uuid AS fingerprint, %(subscription_named)s::text AS subscription_named,
        NULL::text AS source_named, NULL::text AS path, NULL::jsonb AS names, false AS outside
), {JUDGED}
SELECT reason FROM judged
"""

# How old a call may be on arrival to say anything of its gateway's clock.
LIVE = "1 hour"

METERED = """
    id, gateway_id, transaction_id, occurred_at, received_at, subscription_named, source_named,
    method, path, status, request_bytes, response_bytes, latency_ms, elements, metadata, names,
    corrects
"""

METERED_OF_JUDGED = """
    id, gateway_id, transaction_id, occurred_at, received_at, coalesce(subscription_named, ''),
    coalesce(source_named, ''), coalesce(method, ''), coalesce(path, ''), status, request_bytes,
    response_bytes, latency_ms, elements, metadata, names, corrects
"""

# What a gateway says of a call, without what tells it from others.
FACTS = """
    gateway_id, transaction_id, occurred_at, received_at, fingerprint, hint, subscription_named,
    source_named, method, path, status, request_bytes, response_bytes, latency_ms, elements,
    metadata, names
"""

ATTRIBUTED = """
    attributed_at, matched_by, external_key_id, credential_id, assignment_id, subscription_id,
    customer_id, product_id, source_id, quarantined_at, quarantine_reason, claim_id, sign
"""

LEDGER = f"""
ledger AS (
    INSERT INTO metering_transaction ({METERED}, {ATTRIBUTED})
    SELECT
        {METERED_OF_JUDGED},
        clock_timestamp(), matched_by, external_key_id, credential_id, assignment_id,
        subscription_id, customer_id, product_id, source_id, quarantined_at, quarantine_reason,
        claim_id, 1
    FROM judged WHERE reason IS NULL
)
"""

QUARANTINED = f"""
quarantined AS (
    INSERT INTO metering_quarantined (
        {METERED}, fingerprint, hint, outside, similar_fingerprint, oddities, reason,
        quarantined_at, error, released_by, release_note
    )
    SELECT
        {METERED_OF_JUDGED}, fingerprint, coalesce(hint, ''), coalesce(outside, false),
        similar_fingerprint, coalesce(oddities, ''), reason, clock_timestamp(), '', '', ''
    FROM judged WHERE reason IS NOT NULL
)
"""


def usage_of(counted: str) -> str:
    """Add `counted` (rows of the ledger with their sign) to usage, every worker in one order."""
    return f"""
usage AS (
    INSERT INTO metering_usage AS standing (
        subscription_id, hour, element, credential_id, customer_id, product_id, count, quantity
    )
    SELECT
        c.subscription_id, date_trunc('hour', c.occurred_at, 'UTC'), element.key, c.credential_id,
        c.customer_id, c.product_id, sum(c.sign), sum(c.sign * element.value::numeric)
    FROM ({counted}) c CROSS JOIN LATERAL jsonb_each_text(c.elements) element
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (subscription_id, hour, element, credential_id) DO UPDATE SET
        count = standing.count + excluded.count,
        quantity = standing.quantity + excluded.quantity
)
"""


COUNTED = """
    SELECT occurred_at, subscription_id, credential_id, customer_id, product_id, elements, 1 AS sign
    FROM judged WHERE reason IS NULL
"""

# When keys were last used, by the moments of the calls; a clock that runs ahead is not believed.
# To the minute, so that a busy key is not written with every settlement.
KEY_SEEN = """
key_seen AS (
    INSERT INTO revcred_keyuse AS standing (external_key_id, last_used_at)
    SELECT seen.external_key_id, seen.at
    FROM (
        SELECT external_key_id, max(least(occurred_at, clock_timestamp())) AS at
        FROM judged
        WHERE external_key_id IS NOT NULL AND reason IS DISTINCT FROM 'moment_outside'
        GROUP BY 1
    ) seen
    LEFT JOIN LATERAL (
        SELECT u.last_used_at FROM revcred_keyuse u
        WHERE u.external_key_id = seen.external_key_id
        OFFSET 0
    ) before ON true
    WHERE before.last_used_at IS NULL OR before.last_used_at < seen.at - interval '1 minute'
    ORDER BY seen.external_key_id
    ON CONFLICT (external_key_id) DO UPDATE SET
        last_used_at = greatest(standing.last_used_at, excluded.last_used_at)
)
"""

# Which deliveries a settlement takes: those that were never tried, up to %(most)s transactions …
WAITING = """
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
TAKEN = """
    SELECT id FROM metering_delivery WHERE id = ANY (%(deliveries)s::uuid[]) FOR UPDATE SKIP LOCKED
"""

# Put on record that these are tried now: one that was tried before alone, others in small company.
# Should nobody come back from it, they are tried again after a pause, which grows.
TAKE = """
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
TRIED_BEFORE = """
SELECT coalesce(bool_or(attempts > 0 OR last_error <> ''), false) FROM (
    SELECT attempts, last_error FROM metering_delivery
    WHERE next_try_at <= clock_timestamp() ORDER BY next_try_at LIMIT 20
) first
"""


def settle(deliveries: str) -> str:
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
), {JUDGED}, {LEDGER}, {QUARANTINED}, {usage_of(COUNTED)}, tally AS (
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
), {KEY_SEEN}, gateway_seen AS (
    -- Its clock is judged by live calls alone: what is brought later says nothing of it.
    UPDATE revcred_gateway g
    SET last_seen_at = seen.at, clock_ahead = coalesce(seen.ahead, g.clock_ahead)
    FROM (
        SELECT
            gateway_id, max(received_at) AS at,
            percentile_cont(0.5) WITHIN GROUP (ORDER BY occurred_at - received_at) FILTER (
                WHERE undated IS NOT TRUE AND occurred_at > received_at - interval '{LIVE}'
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


SETTLE = settle(WAITING)
SETTLE_TAKEN = settle(TAKEN)

# What a claim concerns: the keys of a credential, of a subscription's credentials, of a
# product's subscriptions' credentials, what names such a subscription itself, and whatever
# names anybody by name.
SCOPE_OF_CREDENTIAL = """
    q.fingerprint IN (
        SELECT fingerprint FROM revcred_externalkey WHERE credential_id = %(credential)s
    ) OR q.names IS NOT NULL
"""
SCOPE_OF_SUBSCRIPTIONS = """
    q.fingerprint IN (
        SELECT k.fingerprint FROM revcred_externalkey k
        JOIN revcred_assignment a ON a.credential_id = k.credential_id
        JOIN revcred_subscription s ON s.id = a.subscription_id
        WHERE {which}
    )
    OR q.subscription_named IN (
        SELECT s.external_key FROM revcred_subscription s WHERE {which}
        UNION ALL
        SELECT f.name FROM revcred_formername f JOIN revcred_subscription s ON s.id = f.target_id
        WHERE f.kind = 'subscription' AND {which}
    )
    OR q.names IS NOT NULL
"""
SCOPE_OF_SUBSCRIPTION = SCOPE_OF_SUBSCRIPTIONS.format(which="s.id = %(subscription)s")
SCOPE_OF_PRODUCT = SCOPE_OF_SUBSCRIPTIONS.format(which="s.product_id = %(product)s")

# Where it matters which source a call belongs to: only of credentials that feed a subscription to
# a product that does not count every call.
FED_WITH_SOURCES = """
    SELECT other.{wanted} FROM revcred_subscription s
    JOIN revcred_assignment a ON a.subscription_id = s.id
    JOIN revcred_assignment other ON other.credential_id = a.credential_id
    WHERE s.product_id IN (SELECT id FROM revcred_product WHERE restricted)
"""
SCOPE_WITH_SOURCES = f"""
    {
    SCOPE_OF_SUBSCRIPTIONS.format(
        which="s.product_id IN (SELECT id FROM revcred_product WHERE restricted)"
    )
}
"""

SCOPE_OF_UPLOAD = """
    q.fingerprint IN (
        SELECT k.fingerprint FROM revcred_uploadchange u
        JOIN revcred_externalkey k ON k.credential_id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.credential'
    ) OR q.subscription_named IN (
        SELECT s.external_key FROM revcred_uploadchange u
        JOIN revcred_subscription s ON s.id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
    ) OR q.names IS NOT NULL AND EXISTS (
        SELECT FROM revcred_uploadchange u
        WHERE u.upload_id = %(upload)s
            AND u.target_type IN ('revcred.customer', 'revcred.subscriber')
    )
"""

# What could not be processed is judged again only when somebody asks, which clears the error.
NOT_POISON = "q.error = ''"


def next_waiting(scope: str) -> str:
    """The id of the first that `claim` would judge."""
    return f"""
SELECT q.id FROM metering_quarantined q WHERE q.id > %(after)s AND ({scope}) ORDER BY q.id LIMIT 1
"""


def waiting_in(scope: str, *, lock: str = "FOR UPDATE") -> str:
    """`judging`: the next %(most)s of the quarantine after %(after)s, as a claim judges them."""
    return f"""
judging AS MATERIALIZED (
    SELECT
        q.id, q.gateway_id, q.transaction_id, q.occurred_at, q.received_at, q.fingerprint, q.hint,
        nullif(q.subscription_named, '') AS subscription_named,
        nullif(q.source_named, '') AS source_named, q.method, nullif(q.path, '') AS path, q.status,
        q.request_bytes, q.response_bytes, q.latency_ms, q.elements, q.metadata, q.names,
        q.corrects, q.outside,
        q.quarantined_at, q.reason AS quarantine_reason, %(claim)s::bigint AS claim_id
    FROM metering_quarantined q
    WHERE q.id > %(after)s AND ({scope})
    ORDER BY q.id LIMIT %(most)s
    {lock}
)
""".strip()


def claim(scope: str) -> str:
    """Judge the next %(most)s waiting in quarantine again, and move out what belongs to somebody.

    Answers one row: looked at, attributed, the last one's id.
    """
    return f"""
WITH {waiting_in(scope)}, {JUDGED}, {LEDGER}, {usage_of(COUNTED)}, {KEY_SEEN}, left_quarantine AS (
    DELETE FROM metering_quarantined q USING judged WHERE q.id = judged.id AND judged.reason IS NULL
), for_another_reason AS (
    UPDATE metering_quarantined q SET reason = judged.reason
    FROM judged WHERE q.id = judged.id AND q.reason <> judged.reason
)
SELECT
    (SELECT count(*) FROM judged),
    (SELECT count(*) FROM judged WHERE reason IS NULL),
    (SELECT id FROM judging ORDER BY id DESC LIMIT 1)
"""


def count_claimed(scope: str) -> str:
    """Count what `claim` would move out of the next %(most)s, and change nothing.

    Answers rows: how many looked at, the last one's id; then of each movement the reason before,
    subscription, calls, first and last moment.
    """
    return f"""
WITH {waiting_in(scope, lock="")}, {JUDGED}, moved AS (
    SELECT
        quarantine_reason, subscription_id, count(*) AS calls,
        min(occurred_at) AS first, max(occurred_at) AS last
    FROM judged WHERE reason IS NULL GROUP BY 1, 2
)
SELECT
    (SELECT count(*) FROM judging), (SELECT id FROM judging ORDER BY id DESC LIMIT 1),
    moved.quarantine_reason, moved.subscription_id, moved.calls, moved.first, moved.last
FROM (SELECT) always LEFT JOIN moved ON true
"""


# The ledger's rows a change may have made wrong: by their subscription, for that is the index.
# A key that is bound to a gateway may take over from another credential's, which is not.
OF_THE_SAME_KEYS = """
    SELECT other.credential_id FROM revcred_externalkey k
    JOIN revcred_externalkey other ON other.fingerprint = k.fingerprint
    WHERE k.credential_id = %(credential)s
"""
LEDGER_OF_CREDENTIAL = f"""
    t.credential_id IN ({OF_THE_SAME_KEYS}) AND t.subscription_id IN (
        SELECT subscription_id FROM metering_usage WHERE credential_id IN ({OF_THE_SAME_KEYS})
    )
"""
LEDGER_OF_SUBSCRIPTION = """
    t.subscription_id = %(subscription)s
    OR t.subscription_id IN (
        SELECT other.subscription_id FROM revcred_assignment a
        JOIN revcred_assignment other ON other.credential_id = a.credential_id
        WHERE a.subscription_id = %(subscription)s
    )
    OR t.subscription_id IN (
        -- Others that had a name that this one has or had.
        SELECT f.target_id FROM revcred_formername f
        WHERE f.kind = 'subscription' AND f.name IN (
            SELECT s.external_key FROM revcred_subscription s WHERE s.id = %(subscription)s
            UNION ALL
            SELECT o.name FROM revcred_formername o
            WHERE o.kind = 'subscription' AND o.target_id = %(subscription)s
        )
    )
    OR t.matched_by = 'name' AND t.subscription_id IN (
        SELECT o.id FROM revcred_subscription s
        JOIN revcred_subscription o ON o.customer_id = s.customer_id
        WHERE s.id = %(subscription)s
    )
"""
LEDGER_OF_PRODUCT = """
    t.subscription_id IN (
        SELECT other.subscription_id FROM revcred_subscription s
        JOIN revcred_assignment a ON a.subscription_id = s.id
        JOIN revcred_assignment other ON other.credential_id = a.credential_id
        WHERE s.product_id = %(product)s
    )
    OR t.subscription_id IN (
        SELECT s.id FROM revcred_subscription s WHERE s.product_id = %(product)s
    )
    OR t.matched_by = 'name' AND t.subscription_id IN (
        SELECT o.id FROM revcred_subscription s
        JOIN revcred_subscription o ON o.customer_id = s.customer_id
        WHERE s.product_id = %(product)s
    )
"""
LEDGER_WITH_SOURCES = f"""
    t.subscription_id IN ({FED_WITH_SOURCES.format(wanted="subscription_id")})
    OR t.subscription_id IN (
        SELECT s.id FROM revcred_subscription s
        WHERE s.product_id IN (SELECT id FROM revcred_product WHERE restricted)
    )
"""
# Only those that what has been attributed may have had: new ones had nothing.
LEDGER_OF_UPLOAD = """
    t.subscription_id IN (
        SELECT s.subscription_id FROM revcred_uploadchange u
        JOIN metering_usage s ON s.credential_id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.credential'
        UNION
        SELECT s.subscription_id FROM revcred_uploadchange u
        JOIN revcred_externalkey k ON k.credential_id = u.target_id
        JOIN revcred_externalkey other
            ON other.fingerprint = k.fingerprint AND other.credential_id <> k.credential_id
        JOIN metering_usage s ON s.credential_id = other.credential_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.credential'
        UNION
        SELECT u.target_id FROM revcred_uploadchange u
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
        UNION
        SELECT f.target_id FROM revcred_uploadchange u
        JOIN revcred_subscription s ON s.id = u.target_id
        JOIN revcred_formername f ON f.kind = 'subscription' AND f.name = s.external_key
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
    )
"""

# How much waits under these keys and names, and whose it would be.
WAITING_FOR = """
WITH named AS NOT MATERIALIZED ({rows}), waiting AS (
    SELECT n.customer, q.occurred_at
    FROM named n JOIN metering_quarantined q ON q.fingerprint = n.fingerprint
    WHERE NOT q.outside
    UNION ALL
    SELECT n.customer, q.occurred_at
    FROM named n JOIN metering_quarantined q ON q.subscription_named = n.subscription
    WHERE q.fingerprint IS NULL AND NOT q.outside
)
SELECT customer, count(*), min(occurred_at) FROM waiting GROUP BY customer ORDER BY 2 DESC, 1
"""

# What would become of these calls in quarantine if they counted at a moment, which is an
# expression. Answers rows: subscription, reason why not, how many.
WOULD_COUNT = {
    at: f"""
WITH judging AS (
    SELECT
        q.id, q.gateway_id, {moment} AS occurred_at, q.fingerprint,
        nullif(q.subscription_named, '') AS subscription_named,
        nullif(q.source_named, '') AS source_named, nullif(q.path, '') AS path, q.names,
        false AS outside
    FROM metering_quarantined q WHERE q.id = ANY (%(chosen)s::uuid[])
), {JUDGED}
SELECT CASE WHEN reason IS NULL THEN subscription_id END, reason, count(*)
FROM judged GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
"""
    for at, moment in (("said", "q.occurred_at"), ("arrival", "q.received_at"))
}

# What a call said of its moment stays with it.
COUNT_AT_ARRIVAL = """
UPDATE metering_quarantined q SET
    outside = false, occurred_at = q.received_at,
    metadata = coalesce(q.metadata, '{}') || jsonb_build_object('occurred_at_said', q.occurred_at)
WHERE q.id = ANY (%(chosen)s::uuid[])
"""

USED = """
SELECT n.number FROM ({rows}) n
WHERE EXISTS (
    SELECT FROM metering_usage u
    WHERE (n.credential_id IS NULL OR u.credential_id = n.credential_id)
        AND (n.subscription_ids IS NULL OR u.subscription_id = ANY (n.subscription_ids))
        AND (n.since IS NULL OR u.hour >= date_trunc('hour', n.since, 'UTC'))
        AND (u.count, u.quantity) <> (0, 0)
)
ORDER BY 1 LIMIT {most}
"""


# What takes back each of `standing` that `judged` corrects.
REVERSAL = f"""
reversal AS (
    INSERT INTO metering_transaction ({METERED}, {ATTRIBUTED})
    SELECT
        time_ordered_id(), t.gateway_id, t.transaction_id, t.occurred_at, t.received_at,
        t.subscription_named, t.source_named, t.method, t.path, t.status, t.request_bytes,
        t.response_bytes, t.latency_ms, t.elements, t.metadata, t.names, t.id,
        clock_timestamp(), t.matched_by, t.external_key_id, t.credential_id, t.assignment_id,
        t.subscription_id, t.customer_id, t.product_id, t.source_id, t.quarantined_at,
        t.quarantine_reason, %(claim)s, -1
    FROM standing t JOIN judged j ON j.corrects = t.id
)
"""
TAKEN_BACK = """
    UNION ALL
    SELECT t.occurred_at, t.subscription_id, t.credential_id, t.customer_id, t.product_id,
        t.elements, -1
    FROM standing t JOIN judged j ON j.corrects = t.id
"""


def standing_in(scope: str, *, bounds: str, limit: str = "") -> str:
    """`standing`, `judging` and `judged`: what of the ledger has another owner by now."""
    return f"""
standing AS MATERIALIZED (
    SELECT t.*, k.fingerprint, k.hint
    FROM metering_transaction t
    LEFT JOIN revcred_externalkey k ON k.id = t.external_key_id
    WHERE {bounds} AND t.sign = 1 AND ({scope})
        AND NOT EXISTS (SELECT FROM metering_transaction c WHERE c.corrects = t.id)
        AND NOT EXISTS (SELECT FROM metering_quarantined c WHERE c.corrects = t.id)
    {limit}
), judging AS MATERIALIZED (
    SELECT
        time_ordered_id() AS id, t.id AS corrects, t.gateway_id, t.transaction_id, t.occurred_at,
        t.received_at, t.fingerprint, t.hint,
        nullif(t.subscription_named, '') AS subscription_named,
        nullif(t.source_named, '') AS source_named, t.method, nullif(t.path, '') AS path, t.status,
        t.request_bytes, t.response_bytes, t.latency_ms, t.elements, t.metadata, t.names,
        NULL::timestamptz AS quarantined_at, NULL::text AS quarantine_reason,
        %(claim)s::bigint AS claim_id, false AS outside, NULL::uuid AS similar_fingerprint,
        NULL::text AS oddities
    FROM standing t
), {JUDGED.replace("judged AS", "judged_again AS", 1)}, judged AS MATERIALIZED (
    SELECT j.* FROM judged_again j JOIN standing t ON t.id = j.corrects
    WHERE j.reason IS NOT NULL
        OR (j.subscription_id, j.credential_id, j.assignment_id)
            IS DISTINCT FROM (t.subscription_id, t.credential_id, t.assignment_id)
)
""".strip()


def correct(scope: str) -> str:
    """Judge the next %(most)s of the ledger again; where the verdict differs, write a correction.

    Answers one row: looked at, corrected, the last one's id.
    """
    which = standing_in(
        scope,
        bounds="t.id > %(after)s AND t.occurred_at >= %(since)s",
        limit="ORDER BY t.id LIMIT %(most)s",
    )
    return f"""
WITH {which}, {LEDGER}, {QUARANTINED}, {REVERSAL}, {usage_of(COUNTED + TAKEN_BACK)}
SELECT
    (SELECT count(*) FROM judged_again),
    (SELECT count(*) FROM judged),
    (SELECT corrects FROM judging ORDER BY corrects DESC LIMIT 1)
"""


def count_corrected(scope: str) -> str:
    """Count what `correct` would write between two moments, and change nothing.

    Answers rows: subscription before, reason and subscription after, credentials before and after
    where only those differ, calls, first and last moment.
    """
    bounds = "t.occurred_at >= %(start)s AND t.occurred_at < %(end)s"
    return f"""
WITH {standing_in(scope, bounds=bounds)}, moved AS (
    SELECT
        t.subscription_id AS before, j.reason, j.subscription_id AS after, t.occurred_at,
        CASE WHEN j.reason IS NULL AND j.subscription_id = t.subscription_id
            THEN t.credential_id END AS credential_before,
        CASE WHEN j.reason IS NULL AND j.subscription_id = t.subscription_id
            THEN j.credential_id END AS credential_after
    FROM judged j JOIN standing t ON t.id = j.corrects
    WHERE j.reason IS NOT NULL OR (j.subscription_id, j.credential_id)
        IS DISTINCT FROM (t.subscription_id, t.credential_id)
)
SELECT
    before, reason, CASE WHEN reason IS NULL THEN after END, credential_before, credential_after,
    count(*), min(occurred_at), max(occurred_at)
FROM moved GROUP BY 1, 2, 3, 4, 5
"""


# Complete what stands of transactions whose other half came late: %(calls)s, with identities. What
# stands says stays; a half that adds nothing changes nothing.
COMPLETE = f"""
WITH RECURSIVE said AS MATERIALIZED (
    SELECT call.*, r.transaction, r.occurred_at, r.received_at
    FROM json_to_recordset(%(calls)s::json) AS call (
        identity uuid, fingerprint uuid, hint text, subscription_named text, source_named text,
        method text, path text, status smallint, request_bytes bigint, response_bytes bigint,
        latency_ms double precision, elements jsonb, metadata jsonb, names jsonb,
        similar_fingerprint uuid, oddities text
    )
    JOIN metering_remembered r ON r.identity = call.identity
), chain AS (
    -- An admin may have counted it at its arrival, and not at the moment it came with.
    SELECT identity, transaction AS id, ARRAY[occurred_at, received_at] AS moments, 0 AS place
    FROM said
    UNION ALL
    SELECT chain.identity, successor.id, chain.moments, place + 1
    FROM chain CROSS JOIN LATERAL (
        SELECT t.id FROM metering_transaction t
        WHERE t.corrects = chain.id AND t.occurred_at = ANY (chain.moments) AND t.sign = 1
        UNION ALL
        SELECT q.id FROM metering_quarantined q WHERE q.corrects = chain.id
    ) successor
), latest AS (
    SELECT DISTINCT ON (identity) identity, id, moments
    FROM chain ORDER BY identity, place DESC
), standing AS MATERIALIZED (
    SELECT t.*, k.fingerprint, k.hint, latest.identity
    FROM latest
    JOIN metering_transaction t ON t.id = latest.id AND t.occurred_at = ANY (latest.moments)
    LEFT JOIN revcred_externalkey k ON k.id = t.external_key_id
), waiting AS MATERIALIZED (
    SELECT q.*, latest.identity
    FROM latest JOIN metering_quarantined q ON q.id = latest.id
    WHERE {NOT_POISON}
    FOR UPDATE OF q
), before AS (
    SELECT
        identity, true AS is_waiting, id, {FACTS}, corrects, quarantined_at,
        reason AS quarantine_reason, outside
    FROM waiting
    UNION ALL
    SELECT identity, false, time_ordered_id(), {FACTS}, id, NULL, NULL, false FROM standing
), judging AS MATERIALIZED (
    SELECT
        before.identity, is_waiting, before.id, gateway_id, transaction_id, before.occurred_at,
        before.received_at, corrects, quarantined_at, quarantine_reason,
        %(claim)s::bigint AS claim_id, outside, said.similar_fingerprint, said.oddities,
        completed.*
    FROM before JOIN said ON said.identity = before.identity
    CROSS JOIN LATERAL (
        SELECT
            coalesce(before.fingerprint, said.fingerprint) AS fingerprint,
            CASE WHEN before.fingerprint IS NULL THEN said.hint ELSE before.hint END AS hint,
            coalesce(nullif(before.subscription_named, ''), said.subscription_named)
                AS subscription_named,
            coalesce(nullif(before.source_named, ''), said.source_named) AS source_named,
            coalesce(nullif(before.method, ''), said.method) AS method,
            coalesce(nullif(before.path, ''), said.path) AS path,
            coalesce(before.status, said.status) AS status,
            coalesce(before.request_bytes, said.request_bytes) AS request_bytes,
            coalesce(before.response_bytes, said.response_bytes) AS response_bytes,
            coalesce(before.latency_ms, said.latency_ms) AS latency_ms,
            coalesce(said.elements, '{{}}') || before.elements AS elements,
            nullif(coalesce(said.metadata, '{{}}') || coalesce(before.metadata, '{{}}'), '{{}}')
                AS metadata,
            coalesce(before.names, said.names) AS names
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
), {JUDGED}, {LEDGER}, {
    QUARANTINED.replace("reason IS NOT NULL", "reason IS NOT NULL AND NOT is_waiting")
}, {REVERSAL}, {usage_of(COUNTED + TAKEN_BACK)}, left_quarantine AS (
    DELETE FROM metering_quarantined q USING judged j
    WHERE q.id = j.id AND j.is_waiting AND j.reason IS NULL
), still_waiting AS (
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

# What was called since a moment, by name or the beginning of its path, and is no source.
DISCOVER = f"""
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
    ELSE NOT EXISTS (SELECT FROM revcred_pathrule r WHERE {fits("path")})
END
GROUP BY name, kind ORDER BY count(*) DESC LIMIT 1000
ON CONFLICT (name, kind) DO UPDATE
SET last_seen_at = greatest(standing.last_seen_at, excluded.last_seen_at)
"""

# What has become a source, and beyond some thousands what was not seen for the longest.
FORGET_DISCOVERED = f"""
DELETE FROM metering_discoveredsource d
WHERE CASE d.kind
    WHEN 'named' THEN EXISTS (
        SELECT FROM revcred_source s WHERE s.external_key = d.name
        UNION ALL
        SELECT FROM revcred_formername f WHERE f.kind = 'source' AND f.name = d.name
    )
    ELSE EXISTS (SELECT FROM revcred_pathrule r WHERE {fits("d.name")})
END OR d.id IN (
    SELECT id FROM metering_discoveredsource ORDER BY last_seen_at DESC, id OFFSET 5000
)
"""

FORGET_HALVES = """
DELETE FROM metering_half
WHERE (identity, side) IN (SELECT * FROM unnest(%s::uuid[], %s::text[]))
"""

# Usage that is not what the ledger says it should be, hour by hour.
DIFFERENCES = """
WITH ledger AS (
    SELECT
        t.subscription_id, date_trunc('hour', t.occurred_at, 'UTC') AS hour, element.key AS element,
        t.credential_id, sum(t.sign) AS count, sum(t.sign * element.value::numeric) AS quantity
    FROM metering_transaction t CROSS JOIN LATERAL jsonb_each_text(t.elements) element
    WHERE t.occurred_at >= %(start)s AND t.occurred_at < %(end)s
    GROUP BY 1, 2, 3, 4
), kept AS (
    SELECT subscription_id, hour, element, credential_id, count, quantity
    FROM metering_usage WHERE hour >= %(start)s AND hour < %(end)s
)
SELECT
    coalesce(kept.subscription_id, ledger.subscription_id), coalesce(kept.hour, ledger.hour),
    coalesce(kept.element, ledger.element), coalesce(kept.credential_id, ledger.credential_id),
    coalesce(kept.count, 0), coalesce(ledger.count, 0),
    coalesce(kept.quantity, 0), coalesce(ledger.quantity, 0)
FROM kept FULL JOIN ledger
    ON kept.subscription_id = ledger.subscription_id AND kept.hour = ledger.hour
    AND kept.element = ledger.element
    AND coalesce(kept.credential_id, 0) = coalesce(ledger.credential_id, 0)
WHERE (coalesce(kept.count, 0), coalesce(kept.quantity, 0))
    <> (coalesce(ledger.count, 0), coalesce(ledger.quantity, 0))
ORDER BY 2, 1, 3, 4
"""

# A delivery taken apart into one per transaction, so that only what fails is put aside. They are
# tried in company again, with care; what was rejected is told of by one that holds nothing else.
TAKE_APART = """
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
PUT_ASIDE = """
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
