"""SQL that writes judged calls: to the ledger, to quarantine, and to the sums of usage."""

from psycopg import sql

from metering.ledger.call_facts import fact_columns, facts_to_store
from metering.models import MatchedBy, QuarantineReason
from revcred.fingerprints import HINT_LENGTH
from revcred.public_ids import fingerprint_in_sql

METERED_COLUMNS = sql.SQL(
    "id, gateway_id, transaction_id, occurred_at, received_at, {facts}, corrects"
).format(facts=fact_columns())


# Their values in `judged`, where what a call does not have is NULL.
METERED_VALUES_OF_JUDGED = sql.SQL(
    "id, gateway_id, transaction_id, occurred_at, received_at, {facts}, corrects"
).format(facts=facts_to_store())


ATTRIBUTION_COLUMNS = sql.SQL("""
    attributed_at, matched_by, external_key_id, credential_id, assignment_id, subscription_id,
    customer_id, product_id, source_id, quarantined_at, quarantine_reason, claim_id, sign
""")


LEDGER_CTE = sql.SQL("""
ledger AS (
    -- in: judged; out: nothing, what has an owner is written to the ledger.
    INSERT INTO metering_transaction ({metered_columns}, {attribution_columns})
    SELECT
        {metered_values_of_judged},
        clock_timestamp(), matched_by, external_key_id, credential_id, assignment_id,
        subscription_id, customer_id, product_id, source_id, quarantined_at, quarantine_reason,
        claim_id, 1
    FROM judged WHERE reason IS NULL
)
""").format(
    metered_columns=METERED_COLUMNS,
    attribution_columns=ATTRIBUTION_COLUMNS,
    metered_values_of_judged=METERED_VALUES_OF_JUDGED,
)


def quarantined_cte(only: str = "true") -> sql.Composed:
    """Return the CTE that writes what has no owner, if `only` (SQL) holds, to the quarantine."""
    return sql.SQL("""
quarantined AS (
    -- in: judged; out: nothing, what has no owner is written to the quarantine.
    INSERT INTO metering_quarantined (
        {metered_columns}, fingerprint, hint, outside, similar_fingerprint, oddities, reason,
        quarantined_at, error, released_by, release_note
    )
    SELECT
        {metered_values_of_judged}, fingerprint, coalesce(hint, ''), coalesce(outside, false),
        similar_fingerprint, coalesce(oddities, ''), reason, clock_timestamp(), '', '', ''
    FROM judged WHERE reason IS NOT NULL AND {only}
)
""").format(
        metered_columns=METERED_COLUMNS,
        metered_values_of_judged=METERED_VALUES_OF_JUDGED,
        only=sql.SQL(only),
    )


def usage_ctes(counted: sql.Composable) -> sql.Composed:
    """Return the CTEs that add rows of the ledger, with their sign, to usage.

    `counted`: a SELECT such as COUNTED_ROWS.
    """
    return sql.SQL("""
usage AS (
    -- in: rows of the ledger; out: nothing, they are summed by hour and element. All workers write
    -- in the order of the unique index, so that none waits for a row while holding a later one.
    INSERT INTO metering_usage AS standing (
        subscription_id, hour, element, credential_id, customer_id, product_id, count, quantity
    )
    SELECT
        subscription_id, hour, element, credential_id, customer_id, product_id, sum(sign),
        sum(sign * (elements ->> element)::numeric)
    FROM (
        -- Cheaper than a function in FROM, which is called anew for each row.
        SELECT
            subscription_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
            jsonb_object_keys(elements) AS element, credential_id, customer_id, product_id, sign,
            elements
        FROM ({counted}) c
    ) counted
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (subscription_id, hour, element, credential_id) DO UPDATE SET
        count = standing.count + excluded.count,
        quantity = standing.quantity + excluded.quantity
), stale_day AS (
    -- in: rows of the ledger; out: nothing, days that are over are noted, to be summed up again.
    -- Usually there are none.
    INSERT INTO metering_staleusageday (subscription_id, day)
    SELECT DISTINCT c.subscription_id, (c.occurred_at AT TIME ZONE 'UTC')::date
    FROM ({counted}) c
    WHERE c.occurred_at < date_trunc('day', statement_timestamp(), 'UTC')
)
""").format(counted=counted)


# What `judged` adds to usage.
COUNTED_ROWS = sql.SQL("""
    SELECT occurred_at, subscription_id, credential_id, customer_id, product_id, elements, 1 AS sign
    FROM judged WHERE reason IS NULL
""")


# Fingerprint and hint of what a row `t` of the ledger came under. Without any there is no row.
KEY_OF_LEDGER_ROW = sql.SQL("""LEFT JOIN LATERAL (
        SELECT fingerprint, hint FROM revcred_externalkey WHERE id = t.external_key_id
        UNION ALL
        SELECT {fingerprint}, right(public_id, {hint_length}) FROM revcred_credential
        WHERE t.matched_by = {by_public_id} AND id = t.credential_id
    ) k ON true""").format(
    fingerprint=fingerprint_in_sql("public_id"),
    hint_length=sql.Literal(HINT_LENGTH),
    by_public_id=sql.Literal(MatchedBy.PUBLIC_ID.value),
)


# Moments in the future count as now: a gateway's clock may be ahead.
KEY_SEEN_CTE = sql.SQL("""
key_seen AS (
    -- in: judged; out: nothing, the last use of each key is noted, to the minute: so a busy key is
    -- not written with every batch.
    INSERT INTO revcred_keyuse AS standing (external_key_id, last_used_at)
    SELECT seen.external_key_id, seen.at
    FROM (
        SELECT external_key_id, max(least(occurred_at, clock_timestamp())) AS at
        FROM judged
        WHERE external_key_id IS NOT NULL AND reason IS DISTINCT FROM {moment_outside}
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
""").format(moment_outside=sql.Literal(QuarantineReason.MOMENT_OUTSIDE.value))


REVERSAL_CTE = sql.SQL("""
reversal AS (
    -- in: standing, judged; out: nothing, each corrected row is taken back by one with sign -1.
    INSERT INTO metering_transaction ({metered_columns}, {attribution_columns})
    SELECT
        time_ordered_id(), t.gateway_id, t.transaction_id, t.occurred_at, t.received_at,
        {facts}, t.id,
        clock_timestamp(), t.matched_by, t.external_key_id, t.credential_id, t.assignment_id,
        t.subscription_id, t.customer_id, t.product_id, t.source_id, t.quarantined_at,
        t.quarantine_reason, %(claim)s, -1
    FROM standing t JOIN judged j ON j.corrects = t.id
)
""").format(
    metered_columns=METERED_COLUMNS,
    attribution_columns=ATTRIBUTION_COLUMNS,
    facts=fact_columns("t"),
)


# What the reversals of `judged` take back from usage, to be added to COUNTED_ROWS.
REVERSED_ROWS = sql.SQL("""
    UNION ALL
    SELECT t.occurred_at, t.subscription_id, t.credential_id, t.customer_id, t.product_id,
        t.elements, -1
    FROM standing t JOIN judged j ON j.corrects = t.id
""")


# Hours in which usage differs from the sums of the ledger.
USAGE_DIFFERENCES = """
WITH ledger AS (
    -- in: the ledger; out: its sums by hour, subscription, credential and element.
    SELECT
        t.subscription_id, date_trunc('hour', t.occurred_at, 'UTC') AS hour, element.key AS element,
        t.credential_id, sum(t.sign) AS count, sum(t.sign * element.value::numeric) AS quantity
    FROM metering_transaction t CROSS JOIN LATERAL jsonb_each_text(t.elements) element
    WHERE t.occurred_at >= %(start)s AND t.occurred_at < %(end)s
    GROUP BY 1, 2, 3, 4
), kept AS (
    -- in: usage; out: the same hours as they are stored.
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
