"""SQL of re-attribution: judge again what waits in quarantine and what stands in the ledger."""

from psycopg import sql

from metering.attribution.judging import (
    NAMED_SUBSCRIPTION_ID,
    SOURCED_ROWS,
    coverage_condition,
    judged_cte,
    period_condition,
)
from metering.ledger.call_facts import facts_as_reported
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
from revcred.public_ids import FINGERPRINTS_OF_CREDENTIALS, public_id_in_sql

# Conditions for the rows `q` of the quarantine that a claim concerns: with the keys of a
# credential, or of all credentials of a subscription or product; that name such a subscription;
# and all that give names of other kinds, since these may lead anywhere.
QUARANTINE_OF_CREDENTIAL = sql.SQL("""
    q.fingerprint IN (
        SELECT k.fingerprint FROM {fingerprints} k WHERE k.credential_id = %(credential)s
    ) OR q.names IS NOT NULL
""").format(fingerprints=FINGERPRINTS_OF_CREDENTIALS)


def quarantine_of_subscriptions(which: str) -> sql.Composed:
    """Return the condition for calls of these subscriptions `s`, or of their credentials."""
    return sql.SQL("""
    q.fingerprint IN (
        SELECT k.fingerprint FROM {fingerprints} k
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
""").format(which=sql.SQL(which), fingerprints=FINGERPRINTS_OF_CREDENTIALS)


QUARANTINE_OF_SUBSCRIPTION = quarantine_of_subscriptions("s.id = %(subscription)s")
QUARANTINE_OF_PRODUCT = quarantine_of_subscriptions("s.product_id = %(product)s")


# Assignments for which the source of a call matters: those of credentials with a subscription to a
# product that does not count every call.
ASSIGNED_WITH_SOURCES = sql.SQL("""
    SELECT other.{wanted} FROM revcred_subscription s
    JOIN revcred_assignment a ON a.subscription_id = s.id
    JOIN revcred_assignment other ON other.credential_id = a.credential_id
    WHERE s.product_id IN (SELECT id FROM revcred_product WHERE restricted)
""")


QUARANTINE_WITH_SOURCES = quarantine_of_subscriptions(
    "s.product_id IN (SELECT id FROM revcred_product WHERE restricted)"
)


# Subscriptions of products that an upload changed; if it changed sources or path rules, those of
# all products that do not count every call.
SUBSCRIPTIONS_OF_CHANGED_PRODUCTS = sql.SQL("""
    SELECT s.id, s.external_key FROM revcred_uploadchange u
    JOIN revcred_subscription s ON s.product_id = u.target_id
    WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.product'
    UNION
    SELECT s.id, s.external_key FROM revcred_subscription s
    WHERE s.product_id IN (SELECT id FROM revcred_product WHERE restricted) AND EXISTS (
        SELECT FROM revcred_uploadchange u
        WHERE u.upload_id = %(upload)s
            AND u.target_type IN ('revcred.source', 'revcred.pathrule')
    )
""")


QUARANTINE_OF_UPLOAD = sql.SQL("""
    q.fingerprint IN (
        SELECT k.fingerprint FROM revcred_uploadchange u
        JOIN {fingerprints} k ON k.credential_id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.credential'
    ) OR q.fingerprint IN (
        -- Keys that another credential has again, once the list that took them was undone.
        SELECT k.fingerprint FROM revcred_uploadchange u
        JOIN revcred_externalkey k ON k.id = (u.undo_data ->> 'taken')::bigint
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.credential'
    ) OR q.fingerprint IN (
        -- Keys that are charged to changed subscriptions: dates or products decide, too.
        SELECT k.fingerprint FROM revcred_uploadchange u
        JOIN revcred_assignment a ON a.subscription_id = u.target_id
        JOIN {fingerprints} k ON k.credential_id = a.credential_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
    ) OR q.subscription_named IN (
        SELECT s.external_key FROM revcred_uploadchange u
        JOIN revcred_subscription s ON s.id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
        UNION ALL
        SELECT f.name FROM revcred_uploadchange u
        JOIN revcred_formername f ON f.kind = 'subscription' AND f.target_id = u.target_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
    ) OR q.fingerprint IN (
        SELECT k.fingerprint FROM ({of_products}) s
        JOIN revcred_assignment a ON a.subscription_id = s.id
        JOIN {fingerprints} k ON k.credential_id = a.credential_id
    ) OR q.subscription_named IN (
        SELECT s.external_key FROM ({of_products}) s
        UNION ALL
        SELECT f.name FROM ({of_products}) s
        JOIN revcred_formername f ON f.kind = 'subscription' AND f.target_id = s.id
    -- Names of other kinds may lead anywhere: any list may create or end what they stand for.
    ) OR q.names IS NOT NULL
""").format(of_products=SUBSCRIPTIONS_OF_CHANGED_PRODUCTS, fingerprints=FINGERPRINTS_OF_CREDENTIALS)


# Poison is judged again only when an admin asks for it, which clears its error.
NOT_POISON = sql.SQL("q.error = ''")


# The ledger has no place any more for older calls, which wait for their partition to be dropped.
LEDGER_KEEPS_ITS_DAY = sql.SQL("q.occurred_at >= %(first_kept_day)s")


def first_in_scope_statement(scope: sql.Composable) -> str:
    """Return the SELECT of the first id that `claim_statement` would judge."""
    return (
        sql.SQL("""
SELECT q.id FROM metering_quarantined q WHERE q.id > %(after)s AND ({scope}) ORDER BY q.id LIMIT 1
""")
        .format(scope=scope)
        .as_string()
    )


def paths_in_scope_statement(scope: sql.Composable, *, of_ledger: bool) -> str:
    """Return the SELECT of %(most)s paths, the longest first, that the next step would judge."""
    rows = "metering_quarantined q WHERE q.id > %(after)s"
    if of_ledger:
        rows = "metering_transaction t WHERE t.id > %(after)s AND t.occurred_at >= %(since)s"
    return (
        sql.SQL("""
SELECT path FROM (
    SELECT id, path, source_named FROM {rows} AND ({scope}) ORDER BY id LIMIT %(max_rows)s
) next
WHERE path <> '' AND source_named = '' ORDER BY length(path) DESC LIMIT %(most)s
""")
        .format(rows=sql.SQL(rows), scope=scope)
        .as_string()
    )


def judging_from_quarantine_cte(scope: sql.Composable, *, lock: str = "FOR UPDATE") -> sql.Composed:
    """Return the CTE `judging` of the next %(max_rows)s in quarantine after the id %(after)s."""
    return sql.SQL("""
judging AS MATERIALIZED (
    -- in: the quarantine; out: the next rows in scope, with the columns that `judged_cte` expects.
    SELECT
        q.id, q.gateway_id, q.transaction_id, q.occurred_at, q.received_at, q.fingerprint, q.hint,
        {facts}, q.corrects, q.outside,
        q.quarantined_at, q.reason AS quarantine_reason, %(claim)s::bigint AS claim_id
    FROM metering_quarantined q
    WHERE q.id > %(after)s AND ({scope})
    ORDER BY q.id LIMIT %(max_rows)s
    {lock}
)
""").format(scope=scope, lock=sql.SQL(lock), facts=facts_as_reported("q"))


def claim_statement(scope: sql.Composable) -> str:
    """Return the statement that judges the quarantine again, and moves out what has an owner.

    It takes the next %(max_rows)s rows. Its only row: number looked at, number attributed, and the
    last one's id.
    """
    return (
        sql.SQL("""
WITH {judging_from_quarantine_cte}, {judged}, {ledger_cte}, {usage_ctes},
{key_seen_cte}, left_quarantine AS (
    -- in: judged; out: nothing, what is now attributed leaves the quarantine.
    DELETE FROM metering_quarantined q USING judged WHERE q.id = judged.id AND judged.reason IS NULL
), for_another_reason AS (
    -- in: judged; out: nothing, what stays gets its present reason.
    UPDATE metering_quarantined q SET reason = judged.reason
    FROM judged WHERE q.id = judged.id AND q.reason <> judged.reason
)
SELECT
    (SELECT count(*) FROM judged),
    (SELECT count(*) FROM judged WHERE reason IS NULL),
    (SELECT id FROM judging ORDER BY id DESC LIMIT 1)
""")
        .format(
            judging_from_quarantine_cte=judging_from_quarantine_cte(scope),
            judged=judged_cte(),
            ledger_cte=LEDGER_CTE,
            usage_ctes=usage_ctes(COUNTED_ROWS),
            key_seen_cte=KEY_SEEN_CTE,
        )
        .as_string()
    )


def count_claimed_statement(scope: sql.Composable) -> str:
    """Return the statement that counts what `claim_statement` would move, and changes nothing.

    Its rows, at least one: number looked at, the last one's id, and of each movement the reason
    before, the subscription after, calls, first and last moment.
    """
    return (
        sql.SQL("""
WITH {judging_from_quarantine_cte}, {judged}, moved AS (
    -- in: judged; out: one row for each reason before and subscription after.
    SELECT
        quarantine_reason, subscription_id, count(*) AS calls,
        min(occurred_at) AS first, max(occurred_at) AS last
    FROM judged WHERE reason IS NULL GROUP BY 1, 2
)
SELECT
    (SELECT count(*) FROM judging), (SELECT id FROM judging ORDER BY id DESC LIMIT 1),
    moved.quarantine_reason, moved.subscription_id, moved.calls, moved.first, moved.last
FROM (SELECT) always LEFT JOIN moved ON true
""")
        .format(
            judging_from_quarantine_cte=judging_from_quarantine_cte(scope, lock=""),
            judged=judged_cte(),
        )
        .as_string()
    )


# Conditions for the rows `t` of the ledger that a change may have made wrong. All name the
# subscriptions, because that is the ledger's index.

# Another credential may have the same key for any gateway: a key bound to one takes over its calls.
# The credential itself has a public id, though it may have no key.
CREDENTIALS_SHARING_KEYS = sql.SQL("""
    SELECT %(credential)s::bigint
    UNION ALL
    SELECT other.credential_id FROM revcred_externalkey k
    JOIN revcred_externalkey other ON other.fingerprint = k.fingerprint
    WHERE k.credential_id = %(credential)s
""")


LEDGER_OF_CREDENTIAL = sql.SQL("""
    t.credential_id IN ({credentials_sharing_keys}) AND t.subscription_id IN (
        SELECT subscription_id FROM metering_usage
        WHERE credential_id IN ({credentials_sharing_keys})
    )
""").format(credentials_sharing_keys=CREDENTIALS_SHARING_KEYS)


LEDGER_OF_SUBSCRIPTION = sql.SQL("""
    t.subscription_id = %(subscription)s
    OR t.subscription_id IN (
        SELECT other.subscription_id FROM revcred_assignment a
        JOIN revcred_assignment other ON other.credential_id = a.credential_id
        WHERE a.subscription_id = %(subscription)s
    )
    OR t.subscription_id IN (
        -- Other subscriptions that had a name which this one has or had.
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
""")


LEDGER_OF_PRODUCT = sql.SQL("""
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
""")


LEDGER_WITH_SOURCES = sql.SQL("""
    t.subscription_id IN ({part})
    OR t.subscription_id IN (
        SELECT s.id FROM revcred_subscription s
        WHERE s.product_id IN (SELECT id FROM revcred_product WHERE restricted)
    )
""").format(part=ASSIGNED_WITH_SOURCES.format(wanted=sql.Identifier("subscription_id")))


# Only objects that can have usage: what the upload created had none, but may share a key or a name
# with what has.
LEDGER_OF_UPLOAD = sql.SQL("""
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
        -- Other subscriptions of the same credentials: a call may fit both now, or only one.
        SELECT other.subscription_id FROM revcred_uploadchange u
        JOIN revcred_assignment a ON a.subscription_id = u.target_id
        JOIN revcred_assignment other ON other.credential_id = a.credential_id
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
        UNION
        SELECT f.target_id FROM revcred_uploadchange u
        JOIN revcred_subscription s ON s.id = u.target_id
        JOIN revcred_formername f ON f.kind = 'subscription' AND f.name = s.external_key
        WHERE u.upload_id = %(upload)s AND u.target_type = 'revcred.subscription'
        UNION
        SELECT s.id FROM ({of_products}) s
        UNION
        SELECT other.subscription_id FROM ({of_products}) s
        JOIN revcred_assignment a ON a.subscription_id = s.id
        JOIN revcred_assignment other ON other.credential_id = a.credential_id
        UNION
        -- Calls that give only names may have been of another subscription of the customer.
        SELECT o.id FROM ({of_products}) s
        JOIN revcred_subscription c ON c.id = s.id
        JOIN revcred_subscription o ON o.customer_id = c.customer_id
    )
""").format(of_products=SUBSCRIPTIONS_OF_CHANGED_PRODUCTS)


# Transactions that wait under the keys and names of an upload, by the customer they would go to.
COUNT_WAITING_FOR = """
WITH waiting AS (
    -- in: rows of customer, fingerprint and subscription, the quarantine; out: one row a
    -- transaction, with the customer.
    SELECT n.customer, q.occurred_at
    FROM {rows} n JOIN metering_quarantined q ON q.fingerprint = n.fingerprint
    WHERE NOT q.outside
    UNION ALL
    SELECT n.customer, q.occurred_at
    FROM {rows} n JOIN metering_quarantined q ON q.subscription_named = n.subscription
    WHERE q.fingerprint IS NULL AND NOT q.outside
)
SELECT customer, count(*), min(occurred_at) FROM waiting GROUP BY customer ORDER BY 2 DESC, 1
"""


# The outcome for calls outside the window if they counted at the moment they say, or at their
# arrival. Rows: subscription, or the reason why there is none, and number of calls.
PREVIEW_MOMENT_CHOICE = {
    at: sql.SQL("""
WITH judging AS (
    -- in: ids in quarantine; out: these calls as if they were inside the window.
    SELECT
        q.id, q.gateway_id, {moment} AS occurred_at, q.fingerprint,
        nullif(q.subscription_named, '') AS subscription_named,
        nullif(q.source_named, '') AS source_named, nullif(q.path, '') AS path, q.names,
        false AS outside
    FROM metering_quarantined q WHERE q.id = ANY (%(chosen)s::uuid[])
), {judged}
SELECT CASE WHEN reason IS NULL THEN subscription_id END, reason, count(*)
FROM judged GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
""")
    .format(moment=sql.SQL(moment), judged=judged_cte())
    .as_string()
    for at, moment in (("said", "q.occurred_at"), ("arrival", "q.received_at"))
}


# The moment that the call came with is kept in its metadata.
COUNT_AT_ARRIVAL = """
UPDATE metering_quarantined q SET
    outside = false, occurred_at = q.received_at,
    metadata = coalesce(q.metadata, '{}') || jsonb_build_object('occurred_at_said', q.occurred_at)
WHERE q.id = ANY (%(chosen)s::uuid[])
"""


# Which of the numbered rows have usage that is not taken back. EXISTS stops at the first hour. Rows
# of credentials and rows of subscriptions are asked apart, since no index serves an OR of both.
FIND_ROWS_WITH_USAGE = """
SELECT n.number FROM {rows} n
WHERE n.credential_id IS NOT NULL AND EXISTS (
    SELECT FROM metering_usage u
    WHERE u.credential_id = n.credential_id
        AND (n.subscription_ids IS NULL OR u.subscription_id = ANY (n.subscription_ids))
        AND (n.since IS NULL OR u.hour >= date_trunc('hour', n.since, 'UTC'))
        AND (u.count, u.quantity) <> (0, 0)
)
UNION ALL
-- One row for each subscription, so that tens of thousands of them can be one join: EXISTS over
-- `unnest` would read all usage again for each row.
SELECT DISTINCT n.number
FROM (
    SELECT number, since, unnest(subscription_ids) AS subscription_id FROM {rows}
    WHERE credential_id IS NULL
) n
WHERE EXISTS (
    SELECT FROM metering_usage u
    WHERE u.subscription_id = n.subscription_id
        AND (n.since IS NULL OR u.hour >= date_trunc('hour', n.since, 'UTC'))
        AND (u.count, u.quantity) <> (0, 0)
)
ORDER BY 1 LIMIT %(most)s
"""


def judging_from_ledger_ctes(
    scope: sql.Composable, *, bounds: str, limit: str = ""
) -> sql.Composed:
    """Return CTEs of the ledger's rows whose owner is another by now.

    `standing` and `judging` are the rows looked at, `judged` those that have to be corrected.
    `bounds` and `limit`: SQL that says which part of the ledger is looked at.
    """
    return sql.SQL("""
standing AS MATERIALIZED (
    -- in: the ledger; out: rows in scope that count today, neither reversals nor corrected.
    SELECT t.*, k.fingerprint, k.hint
    FROM metering_transaction t
    {key_of_row}
    WHERE {bounds} AND t.sign = 1 AND ({scope})
        AND NOT EXISTS (SELECT FROM metering_transaction c WHERE c.corrects = t.id)
        AND NOT EXISTS (SELECT FROM metering_quarantined c WHERE c.corrects = t.id)
    {limit}
), judging AS MATERIALIZED (
    -- in: standing; out: the same as new rows that correct them, as `judged_cte` expects them.
    SELECT
        time_ordered_id() AS id, t.id AS corrects, t.gateway_id, t.transaction_id, t.occurred_at,
        t.received_at, t.fingerprint, t.hint,
        {facts},
        NULL::timestamptz AS quarantined_at, NULL::text AS quarantine_reason,
        %(claim)s::bigint AS claim_id, false AS outside, NULL::uuid AS similar_fingerprint,
        NULL::text AS oddities
    FROM standing t
), {judged_again}, judged AS MATERIALIZED (
    -- in: judged_again, standing; out: those whose owner differs. All others stay untouched.
    SELECT j.* FROM judged_again j JOIN standing t ON t.id = j.corrects
    WHERE j.reason IS NOT NULL
        OR (j.subscription_id, j.credential_id, j.assignment_id)
            IS DISTINCT FROM (t.subscription_id, t.credential_id, t.assignment_id)
)
""").format(
        bounds=sql.SQL(bounds),
        scope=scope,
        key_of_row=KEY_OF_LEDGER_ROW,
        limit=sql.SQL(limit),
        facts=facts_as_reported("t"),
        judged_again=judged_cte("judged_again"),
    )


def correction_statement(scope: sql.Composable) -> str:
    """Return the statement that judges the ledger again, and corrects what has another owner.

    It takes the next %(max_rows)s rows. Its only row: number looked at, number corrected, and the
    last one's id.
    """
    which = judging_from_ledger_ctes(
        scope,
        bounds="t.id > %(after)s AND t.occurred_at >= %(since)s",
        limit="ORDER BY t.id LIMIT %(max_rows)s",
    )
    return (
        sql.SQL("""
WITH {which}, {ledger_cte}, {quarantined}, {reversal_cte},
{usage_ctes}, {key_seen_cte}
SELECT
    (SELECT count(*) FROM judged_again),
    (SELECT count(*) FROM judged),
    (SELECT corrects FROM judging ORDER BY corrects DESC LIMIT 1)
""")
        .format(
            which=which,
            ledger_cte=LEDGER_CTE,
            quarantined=quarantined_cte(),
            reversal_cte=REVERSAL_CTE,
            key_seen_cte=KEY_SEEN_CTE,
            usage_ctes=usage_ctes(COUNTED_ROWS + REVERSED_ROWS),
        )
        .as_string()
    )


def count_corrections_statement(scope: sql.Composable) -> str:
    """Return the statement that counts the corrections between two moments, and writes none.

    Its rows: subscription before, reason and subscription after, credentials before and after
    where only those differ, calls, first and last moment.
    """
    bounds = "t.occurred_at >= %(start)s AND t.occurred_at < %(end)s"
    return (
        sql.SQL("""
WITH {judging_from_ledger_ctes}, moved AS (
    -- in: judged, standing; out: one row a call that is charged elsewhere. A change of the
    -- assignment alone moves nothing.
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
""")
        .format(judging_from_ledger_ctes=judging_from_ledger_ctes(scope, bounds=bounds))
        .as_string()
    )


def uncounted_calls_statement(group: sql.Composable) -> str:
    """Return the SELECT of calls without a subscription, by the product that does not count them.

    It is the product of the subscription that a call names, or that its key is charged to at that
    moment. `group`: the condition for the calls `q`. Of these the latest %(max_calls)s are judged.
    Rows: id of the source or NULL, the source's name in the calls, ids of the product and of the
    subscription, number of calls; the first %(max_rows)s.
    """
    return (
        sql.SQL("""
WITH judging AS (
    -- in: the quarantine; out: the latest calls of the group, with the columns needed below.
    SELECT
        q.id, q.gateway_id, q.occurred_at, q.fingerprint,
        nullif(q.subscription_named, '') AS subscription_named,
        nullif(q.source_named, '') AS source_named, nullif(q.path, '') AS path
    FROM metering_quarantined q
    WHERE q.reason = 'no_subscription' AND {group} ORDER BY q.id DESC LIMIT %(max_calls)s
), sourced AS MATERIALIZED (
    -- in: judging; out: the same with the source of each call.
    {sourced_rows}
), named AS MATERIALIZED (
    -- in: sourced; out: the same with the subscription that each call names.
    SELECT
        sourced.*,
        CASE WHEN subscription_named IS NOT NULL THEN {named_subscription_id} END AS named_id
    FROM sourced
)
SELECT j.source_id, j.source_named, s.product_id, s.id, count(*)
FROM named j
JOIN revcred_subscription s ON {subscription_holds} AND CASE
    WHEN j.fingerprint IS NULL THEN s.id = j.named_id
    ELSE (j.subscription_named IS NULL OR s.id = j.named_id) AND s.id IN (
        SELECT a.subscription_id
        FROM revcred_externalkey k JOIN revcred_assignment a ON a.credential_id = k.credential_id
        WHERE k.fingerprint = j.fingerprint AND {key_holds} AND {assignment_holds}
            AND (k.gateway_id IS NULL OR k.gateway_id = j.gateway_id)
        UNION ALL
        SELECT a.subscription_id
        FROM revcred_credential c JOIN revcred_assignment a ON a.credential_id = c.id
        WHERE c.public_id = {public_id} AND {assignment_holds}
    )
END
WHERE NOT {is_covered}
GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4
LIMIT %(max_rows)s
""")
        .format(
            group=group,
            sourced_rows=SOURCED_ROWS,
            named_subscription_id=NAMED_SUBSCRIPTION_ID,
            subscription_holds=period_condition("s"),
            key_holds=period_condition("k"),
            public_id=public_id_in_sql("j.fingerprint"),
            assignment_holds=period_condition("a"),
            is_covered=coverage_condition("s.product_id", "j.source_id", "j.source_named"),
        )
        .as_string()
    )
