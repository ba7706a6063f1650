"""Rules of attribution as SQL, for thousands of calls in one statement.

`metering.attribution.rules` states the same rules for one call, and tests hold the two together.
Each look-up is LATERAL and uses an index: the planner cannot estimate how few rows a batch needs,
and would otherwise read every credential there is.
"""

from psycopg import sql

from metering.models import MatchedBy, QuarantineReason
from revcred.models.sources import MAX_MATCHED_CHARACTERS
from revcred.public_ids import public_id_in_sql


def _name(name: str) -> sql.Identifier:
    """Return the name of a table, or with a dot of its column."""
    return sql.Identifier(*name.split("."))


# With STRICT_NAMES, names beside a key or a subscription have to lead to the same owner.
NAMES_DISAGREE_CONDITION = sql.SQL("""(j.by_name).is_strict AND (
                (j.by_name).credential_id <> key.credential_id
                OR (j.by_name).customer_id
                    <> coalesce(assigned.customer_id, named_subscription.customer_id)
                OR (j.by_name).product_id
                    <> coalesce(assigned.product_id, named_subscription.product_id)
            )""")


def path_rule_condition(path: str) -> sql.Composed:
    """Return the condition that rule `r` is on and matches `path`, a column as `judging.path`.

    Only PostgreSQL matches regular expressions, so that no second engine can read one differently.
    """
    return sql.SQL("""NOT r.switched_off AND CASE r.match
                        WHEN 'equals' THEN {path} = r.text
                        WHEN 'begins_with' THEN starts_with({path}, r.text)
                        WHEN 'ends_with' THEN right({path}, length(r.text)) = r.text
                        WHEN 'contains' THEN strpos({path}, r.text) > 0
                        ELSE left({path}, {max_characters}) ~ r.text
                    END""").format(
        path=_name(path), max_characters=sql.Literal(MAX_MATCHED_CHARACTERS)
    )


# Of the rules `r` that match, the first one decides.
PATH_RULE_ORDER = sql.SQL("""ORDER BY
                            array_position(
                                '{equals,begins_with,ends_with,contains}', r.match::text
                            ),
                            length(r.text) DESC, r.id""")


# The last moment that `occurred_at` may stand for: in whole seconds, any moment of its second. What
# holds at one of these moments counts.
LAST_POSSIBLE_MOMENT = sql.SQL("""CASE
                WHEN judging.occurred_at::timestamptz(0) = judging.occurred_at
                THEN judging.occurred_at + interval '0.999999 seconds'
                ELSE judging.occurred_at
            END""")


def period_condition(period: str, call: str = "j") -> sql.Composed:
    """Return the condition that a period holds at some moment that the call may be of.

    Both are aliases of tables: `period` of dated rows, `call` of rows with `last_at`.
    """
    return sql.SQL("""{period}.active_from <= {call}.last_at AND (
                        {period}.active_until IS NULL OR {call}.occurred_at < {period}.active_until
                    )""").format(period=_name(period), call=_name(call))


# The subscription that has, or else last had, the name that the call gives: see FormerName.
NAMED_SUBSCRIPTION_ID = sql.SQL("""coalesce(
                (
                    SELECT o.id FROM revcred_subscription o
                    WHERE o.external_key = sourced.subscription_named
                        AND {subscription_holds}
                    ORDER BY o.active_from DESC LIMIT 1
                ), (
                    SELECT o.id FROM revcred_formername f
                    JOIN revcred_subscription o ON o.id = f.target_id
                    WHERE f.kind = 'subscription' AND f.name = sourced.subscription_named
                        AND (f.counts_until IS NULL OR sourced.occurred_at < f.counts_until)
                        AND {subscription_holds}
                    ORDER BY f.former_since DESC LIMIT 1
                )
            )""").format(subscription_holds=period_condition("o", "sourced"))


# The source that has, or else last had, the name that the call gives.
NAMED_SOURCE_ID = sql.SQL("""coalesce(
                    (SELECT s.id FROM revcred_source s WHERE s.external_key = source_named),
                    (
                        SELECT f.target_id FROM revcred_formername f
                        WHERE f.kind = 'source' AND f.name = source_named
                            AND (f.counts_until IS NULL OR occurred_at < f.counts_until)
                        ORDER BY f.former_since DESC LIMIT 1
                    )
                )""")


def coverage_condition(product: str, source: str, source_named: str) -> sql.Composed:
    """Return the condition that the product counts calls to that source.

    The arguments are names of columns, such as `candidate.product_id`.

    Its first half is evaluated once a statement: most installations restrict no product.
    """
    return sql.SQL("""(
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
                )""").format(
        source=_name(source), source_named=_name(source_named), product=_name(product)
    )


def _sourced_rows(columns: str, rows: str) -> sql.Composed:
    """Return a SELECT of `rows` with `last_at`, and with the source that each call belongs to."""
    return sql.SQL("""
            SELECT
                {columns},
                {last_possible_moment} AS last_at,
                CASE
                    WHEN source_named IS NOT NULL THEN {named_source_id}
                    -- Evaluated once a statement: most installations have no rules.
                    WHEN EXISTS (SELECT FROM revcred_pathrule) THEN (
                        SELECT r.source_id FROM revcred_pathrule r
                        WHERE {fits_path_rule}
                        {path_rule_order}
                        LIMIT 1
                    )
                END AS source_id
            FROM {rows}
            OFFSET 0
""").format(
        columns=sql.SQL(columns),
        rows=sql.SQL(rows),
        last_possible_moment=LAST_POSSIBLE_MOMENT,
        named_source_id=NAMED_SOURCE_ID,
        fits_path_rule=path_rule_condition("judging.path"),
        path_rule_order=PATH_RULE_ORDER,
    )


SOURCED_ROWS = _sourced_rows("judging.*", "judging")


def judged_cte(name: str = "judged") -> sql.Composed:
    """Return the CTEs that add the owner, or the reason why there is none, to `judging`."""
    return sql.SQL("{}, {} AS MATERIALIZED ({})").format(
        ONLY_OWNER_CTE, sql.Identifier(name), JUDGED_ROWS
    )


# Most keys lead to one owner whenever they are used, and a batch names many keys several times.
# Their owners are looked up once a batch, all else is judged call by call.
ONLY_OWNER_CTE = sql.SQL("""
only_owner AS MATERIALIZED (
    -- in: judging; out: the owner of each key that only ever had this one, and the period in which
    -- key, credential, assignment and subscription all hold.
    SELECT
        asked.fingerprint, asked.gateway_id, key.id AS only_key_id, key.kind AS only_kind,
        key.credential_id AS only_credential_id, assigned.id AS only_assignment_id,
        assigned.subscription_id AS only_subscription_id,
        assigned.customer_id AS only_customer_id, assigned.product_id AS only_product_id,
        greatest(key.active_from, assigned.active_from) AS only_from,
        least(key.active_until, assigned.active_until) AS only_until  -- NULLs do not count
    FROM (
        SELECT DISTINCT fingerprint, gateway_id FROM judging WHERE fingerprint IS NOT NULL
    ) asked
    CROSS JOIN LATERAL (
        SELECT
            min(k.id) AS id, min(k.kind) AS kind, min(k.credential_id) AS credential_id,
            min(k.active_from) AS active_from,
            min(least(k.active_until, c.revoked_at, c.expires_at)) AS active_until
        FROM revcred_externalkey k
        JOIN revcred_credential c ON c.id = k.credential_id
        WHERE k.fingerprint = asked.fingerprint
            AND (k.gateway_id IS NULL OR k.gateway_id = asked.gateway_id)
        HAVING count(*) = 1
            AND NOT bool_or(EXISTS (
                SELECT FROM revcred_suspension p WHERE p.credential_id = c.id
            ))
    ) key
    CROSS JOIN LATERAL (
        SELECT
            min(a.id) AS id, min(s.id) AS subscription_id, min(s.customer_id) AS customer_id,
            min(s.product_id) AS product_id,
            min(greatest(a.active_from, s.active_from)) AS active_from,
            min(least(a.active_until, s.active_until)) AS active_until
        FROM revcred_assignment a
        JOIN revcred_subscription s ON s.id = a.subscription_id
        WHERE a.credential_id = key.credential_id
        HAVING count(*) = 1
    ) assigned
    WHERE NOT EXISTS (SELECT FROM revcred_product WHERE restricted)
)
""")


# OFFSET 0 keeps the planner from copying an expression to every place that uses it.
# Where a key or a subscription ends and another begins within the second of a call, the later one
# takes the call.
JUDGED_ROWS = sql.SQL("""
    -- in: judging (id, gateway_id, occurred_at, fingerprint, subscription_named, source_named,
    -- path, names, outside, …); out: the same with the owner, or the reason why there is none.
    SELECT
        j.*,
        CASE
            WHEN j.has_only_owner THEN NULL
            WHEN j.outside THEN {moment_outside}
            WHEN (j.by_name).decides THEN (j.by_name).reason
            WHEN j.fingerprint IS NULL AND j.subscription_named IS NULL THEN {anonymous}
            WHEN j.fingerprint IS NULL THEN
                CASE
                    WHEN named_subscription.id IS NULL THEN {no_subscription}
                    WHEN {names_disagree_condition} THEN {names_disagree}
                END
            WHEN key.credential_id IS NULL THEN
                CASE WHEN EXISTS (
                    SELECT FROM revcred_externalkey k
                    WHERE k.fingerprint = j.fingerprint
                        AND (k.gateway_id IS NULL OR k.gateway_id = j.gateway_id)
                ) THEN {key_not_valid} ELSE {unknown_key} END
            WHEN NOT key.credential_valid THEN {key_not_valid}
            WHEN assigned.candidates = 0 THEN {no_subscription}
            WHEN assigned.named = 0 THEN {subscription_mismatch}
            WHEN assigned.fitting = 0 THEN {no_subscription}
            WHEN assigned.fitting > 1 THEN {ambiguous}
            WHEN {names_disagree_condition} THEN {names_disagree}
        END AS reason,
        CASE
            WHEN j.has_only_owner THEN j.only_kind
            WHEN (j.by_name).decides THEN {by_name}
            WHEN j.fingerprint IS NULL THEN {by_subscription}
            ELSE key.kind
        END AS matched_by,
        CASE WHEN j.has_only_owner THEN j.only_key_id ELSE key.id END AS external_key_id,
        CASE
            WHEN j.has_only_owner THEN j.only_credential_id
            WHEN (j.by_name).decides THEN (j.by_name).credential_id
            ELSE key.credential_id
        END AS credential_id,
        CASE
            WHEN j.has_only_owner THEN j.only_assignment_id
            ELSE coalesce(assigned.assignment_id, (j.by_name).assignment_id)
        END AS assignment_id,
        CASE
            WHEN j.has_only_owner THEN j.only_subscription_id
            ELSE coalesce(
                assigned.subscription_id, named_subscription.id,
                (j.by_name).subscription_id
            )
        END AS subscription_id,
        CASE
            WHEN j.has_only_owner THEN j.only_customer_id
            ELSE coalesce(
                assigned.customer_id, named_subscription.customer_id,
                (j.by_name).customer_id
            )
        END AS customer_id,
        CASE
            WHEN j.has_only_owner THEN j.only_product_id
            ELSE coalesce(
                assigned.product_id, named_subscription.product_id,
                (j.by_name).product_id
            )
        END AS product_id
    FROM (
        SELECT
            sourced.*,
            coalesce(
                outside IS NOT TRUE AND subscription_named IS NULL AND names IS NULL
                AND only_from <= last_at AND (only_until IS NULL OR last_at < only_until),
                false
            ) AS has_only_owner,
            -- A call with a key compares the present name below, without a look-up. It needs this
            -- one only if there are former names, which is evaluated once a statement.
            CASE
                WHEN subscription_named IS NOT NULL AND (
                    fingerprint IS NULL
                    OR EXISTS (SELECT FROM revcred_formername WHERE kind = 'subscription')
                ) THEN {named_subscription_id}
            END AS named_id,
            CASE
                WHEN names IS NOT NULL THEN owner_by_name(
                    names, occurred_at, last_at,
                    fingerprint IS NULL AND subscription_named IS NULL, source_named, source_id
                )
            END AS by_name
        FROM (
{sourced_rows}
        ) sourced
        OFFSET 0
    ) j
    -- The external key: one bound to this gateway before one for any, since NULL sorts last.
    LEFT JOIN LATERAL (
        SELECT k.id, k.kind, k.credential_id
        FROM revcred_externalkey k
        WHERE NOT j.has_only_owner AND k.fingerprint = j.fingerprint
            AND (k.gateway_id IS NULL OR k.gateway_id = j.gateway_id)
            AND k.active_from <= j.last_at
            AND (
                k.active_until IS NULL OR j.last_at < k.active_until
                OR j.occurred_at < k.active_until AND k.active_from < k.active_until
                -- No other key takes over within the second. Sorting by active_from would tell,
                -- too, but not in the order of the index.
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
    ) external_key ON true
    -- The key with its credential: that of the external key, or else the one with the public id.
    LEFT JOIN LATERAL (
        SELECT
            external_key.id, coalesce(external_key.kind, {by_public_id}) AS kind,
            c.id AS credential_id,
            (c.revoked_at IS NULL OR j.occurred_at < c.revoked_at)
            AND (c.expires_at IS NULL OR j.occurred_at < c.expires_at)
            AND NOT EXISTS (
                SELECT FROM revcred_suspension p
                WHERE p.credential_id = c.id
                    AND p.active_from <= j.occurred_at
                    AND (p.active_until IS NULL OR j.last_at < p.active_until)
            ) AS credential_valid
        FROM revcred_credential c
        WHERE NOT j.has_only_owner AND c.id = coalesce(external_key.credential_id, (
            SELECT o.id FROM revcred_credential o WHERE o.public_id = {public_id}
        ))
    ) key ON true
    -- The subscriptions its credential is assigned to then, as counts for each reason above. Where
    -- exactly one fits, min() is that one.
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
                is_named AND {candidate_is_covered} AS is_fitting
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
                    AND {assignment_holds}
                    AND {subscription_holds}
            ) candidate
            OFFSET 0
        ) fitted
    ) assigned ON true
    -- The subscription that a call without a key names.
    LEFT JOIN LATERAL (
        SELECT s.id, s.customer_id, s.product_id
        FROM revcred_subscription s
        WHERE j.fingerprint IS NULL AND s.id = j.named_id
            AND {named_is_covered}
        LIMIT 1  -- so that the planner looks nothing up for calls with a key
    ) named_subscription ON true
""").format(
    **{reason.value: sql.Literal(reason.value) for reason in QuarantineReason},
    by_name=sql.Literal(MatchedBy.NAME.value),
    by_subscription=sql.Literal(MatchedBy.SUBSCRIPTION.value),
    by_public_id=sql.Literal(MatchedBy.PUBLIC_ID.value),
    public_id=public_id_in_sql("j.fingerprint"),
    names_disagree_condition=NAMES_DISAGREE_CONDITION,
    named_subscription_id=NAMED_SUBSCRIPTION_ID,
    sourced_rows=_sourced_rows(
        "judging.*, only_key_id, only_kind, only_credential_id, only_assignment_id,"
        " only_subscription_id, only_customer_id, only_product_id, only_from, only_until",
        "judging LEFT JOIN only_owner USING (fingerprint, gateway_id)",
    ),
    candidate_is_covered=coverage_condition(
        "candidate.product_id", "j.source_id", "j.source_named"
    ),
    assignment_holds=period_condition("a"),
    subscription_holds=period_condition("s"),
    named_is_covered=coverage_condition("s.product_id", "j.source_id", "j.source_named"),
)
