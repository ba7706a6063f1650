"""Plan for lists of subscriptions. A subscription is identified by its external key."""

from django.utils.translation import gettext_noop

from revcred.uploads.plans.dependents import depended_on_query
from revcred.uploads.plans.plan import (
    CHUNK_TABLE,
    ListPlan,
    UndoPlan,
    delete_created_statement,
    insert_and_record_statement,
    lock_targets_statement,
    plan_query,
    record_changes_statement,
    undone_changes_source,
)

SUBSCRIPTION_TABLE = "revcred_subscription"
SUBSCRIPTION_TARGET = "revcred.subscription"

SUBSCRIPTION_LOOKUP = f"""
SELECT
    row.*,
    e.id AS target_id,
    c.id AS customer_id,
    p.id AS product_id,
    e.customer_id AS old_customer_id,
    o.external_key::text AS old_product,
    e.name AS old_name,
    e.active_from AS old_active_from,
    e.active_until AS old_active_until,
    e.quota AS old_quota,
    -- A new one begins as far back as transactions are accepted, but not before the name is free.
    coalesce(row.active_from, e.active_from, greatest(%(oldest)s, free.at)) AS begins,
    EXISTS (
        SELECT FROM revcred_formername f
        WHERE f.kind = 'subscription' AND f.name = row.external_key
            AND f.target_id IS DISTINCT FROM e.id
    ) AS takes_former_name,
    CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row
FROM {{source}} row
LEFT JOIN twice t ON t.same = row.external_key
LEFT JOIN revcred_customer c ON c.external_key = row.customer
LEFT JOIN revcred_product p ON p.external_key = row.product
LEFT JOIN LATERAL (
    -- Several may have this name one after the other. The one whose period overlaps the row's
    -- dates is meant; if the row has no dates, the one that has the name now. After its end the
    -- name is free for others.
    SELECT * FROM {SUBSCRIPTION_TABLE} x
    WHERE x.external_key = row.external_key
        AND (
            row.active_from IS NULL
            AND (x.customer_id = c.id OR coalesce(x.active_until > %(now)s, true))
            OR x.active_until IS NULL OR x.active_until > row.active_from
        )
        AND (row.active_until IS NULL OR x.active_from < row.active_until)
    ORDER BY tstzrange(x.active_from, x.active_until) @> %(now)s::timestamptz DESC,
        x.active_from DESC
    LIMIT 1
) e ON true
LEFT JOIN LATERAL (
    -- free: the end of the last subscription that had this name
    SELECT max(x.active_until) AS at FROM {SUBSCRIPTION_TABLE} x
    WHERE x.external_key = row.external_key AND x.active_until <= %(now)s
) free ON true
LEFT JOIN revcred_product o ON o.id = e.product_id
"""

INSERT_SUBSCRIPTIONS = f"""
INSERT INTO {SUBSCRIPTION_TABLE} (
    id, external_key, customer_id, product_id, name, active_from, active_until, quota, created_at
)
SELECT
    new_id, external_key, customer_id, product_id, coalesce(name, ''),
    begins, active_until, quota, clock_timestamp()
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

UPDATE_SUBSCRIPTIONS = f"""
UPDATE {SUBSCRIPTION_TABLE} e SET
    product_id = row.product_id,
    name = coalesce(row.name, e.name),
    active_from = coalesce(row.active_from, e.active_from),
    active_until = coalesce(row.active_until, e.active_until),
    quota = coalesce(row.quota, e.quota)
FROM {CHUNK_TABLE} row WHERE e.id = target_id
"""

INSERT_CUSTOMERS_OF_SUBSCRIPTIONS = insert_and_record_statement(
    "revcred.customer",
    """
    INSERT INTO revcred_customer (name, external_key, email_domains, tags, metadata, created_at)
    SELECT
        coalesce(
            (array_agg(customer_name ORDER BY number) FILTER (WHERE customer_name <> ''))[1],
            customer
        ), customer, '{{}}', '{{}}', '{{}}', %(now)s
    FROM {source} row
    WHERE %(create_customers)s
    GROUP BY customer
    ON CONFLICT (external_key) DO NOTHING
    """,
)

# The earliest moment that counts for the old period, product or name and not for the new one, or
# the other way round: attribution may differ from then on.
SUBSCRIPTIONS_AFFECTED_SINCE = f"""
SELECT least(
    min(least(active_from, old_active_from)) FILTER (WHERE after ? 'active_from'),
    min(least(active_until, old_active_until)) FILTER (WHERE after ? 'active_until'),
    min(old_active_from) FILTER (WHERE after ? 'product'),
    min(begins) FILTER (WHERE is_new AND takes_former_name)
) FROM {CHUNK_TABLE}
"""

# Values that are NULL in `before` are stripped from it: only `after` shows that they changed.
RESTORE_SUBSCRIPTIONS = f"""
UPDATE {SUBSCRIPTION_TABLE} e SET
    product_id = coalesce(
        (SELECT p.id FROM revcred_product p WHERE p.external_key = before ->> 'product'),
        e.product_id
    ),
    name = coalesce(before ->> 'name', e.name),
    active_from = coalesce((before ->> 'active_from')::timestamptz, e.active_from),
    active_until = CASE
        WHEN after ? 'active_until' THEN (before ->> 'active_until')::timestamptz
        ELSE e.active_until
    END,
    quota = CASE WHEN after ? 'quota' THEN (before ->> 'quota')::bigint ELSE e.quota END
FROM {undone_changes_source(SUBSCRIPTION_TARGET, "update")} WHERE e.id = target_id
"""

SUBSCRIPTIONS_PLAN = ListPlan(
    target=SUBSCRIPTION_TARGET,
    title_column="external_key",
    query=plan_query(
        SUBSCRIPTION_LOOKUP,
        same="external_key",
        compares={
            "product": ("product", "old_product"),
            "name": ("name", "old_name"),
            "active_from": ("active_from", "old_active_from"),
            "active_until": ("active_until", "old_active_until"),
            "quota": ("quota", "old_quota"),
        },
        effects={"create": "is_new", "update": "NOT is_new AND after <> '{{}}'"},
        problems=(
            """
            CASE
                WHEN customer_id IS NULL AND NOT %(create_customers)s THEN 'customer:unknown'
                WHEN customer_id IS DISTINCT FROM old_customer_id AND target_id IS NOT NULL
                THEN 'customer:another'
            END
            """,
            "CASE WHEN product_id IS NULL THEN 'product:unknown' END",
            """
            CASE
                WHEN coalesce(active_until, old_active_until) <= begins
                THEN 'active_until:too_early'
                WHEN EXISTS (
                    SELECT FROM revcred_subscription x
                    WHERE x.external_key = seen.external_key AND x.id IS DISTINCT FROM target_id
                        AND tstzrange(x.active_from, x.active_until)
                            && tstzrange(
                                seen.begins, coalesce(seen.active_until, seen.old_active_until)
                            )
                ) THEN 'external_key:in_use'
            END
            """,
        ),
    ),
    id_sequences={"new_id": "revcred_subscription_id_seq"},
    lock=lock_targets_statement(SUBSCRIPTION_TABLE),
    prepare=(INSERT_CUSTOMERS_OF_SUBSCRIPTIONS,),
    write=(
        INSERT_SUBSCRIPTIONS,
        UPDATE_SUBSCRIPTIONS,
        record_changes_statement(SUBSCRIPTION_TARGET),
    ),
    affected_since_query=SUBSCRIPTIONS_AFFECTED_SINCE,
    waiting_query="SELECT customer, NULL::uuid AS fingerprint, external_key AS subscription "
    "FROM {source} row",
    also_created_queries={
        "customers": """
            SELECT count(DISTINCT customer) FROM {source} row
            WHERE %(create_customers)s AND NOT EXISTS (
                SELECT FROM revcred_customer c WHERE c.external_key = row.customer
            )
        """
    },
    messages={
        "external_key:twice": gettext_noop("The same external key is also in {other_row}."),
        "external_key:in_use": gettext_noop(
            "Another subscription has this external key in that time."
        ),
        "customer:unknown": gettext_noop("No customer has this external key."),
        "customer:another": gettext_noop("This subscription belongs to another customer."),
        "product:unknown": gettext_noop("No product has this external key."),
        "active_until:too_early": gettext_noop("The end has to be after the start."),
    },
)

UNDO_SUBSCRIPTIONS = UndoPlan(
    target=SUBSCRIPTION_TARGET,
    table=SUBSCRIPTION_TABLE,
    obstacle_queries={
        "Other credentials are charged to the subscription": depended_on_query(
            SUBSCRIPTION_TARGET,
            "revcred_assignment a",
            "revcred.credential",
            "a.credential_id",
            "a.subscription_id",
        )
    },
    usage_query=f"""
        SELECT id AS number, NULL::bigint AS credential_id, ARRAY[target_id] AS subscription_ids,
            NULL::timestamptz AS since
        FROM {{changes}} c WHERE target_type = '{SUBSCRIPTION_TARGET}' AND action = 'create'
    """,
    statements=(
        delete_created_statement(SUBSCRIPTION_TABLE, SUBSCRIPTION_TARGET),
        RESTORE_SUBSCRIPTIONS,
    ),
)
