"""Products: the plan for lists of them, those that rows of other lists name, and undoing both."""

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

PRODUCT_TABLE = "revcred_product"
PRODUCT_TARGET = "revcred.product"

# A FROM item `p` for a plan: the product with this external key, else the only one of this name.
# `id` is NULL where there is none, and `is_unclear` true where several products have the name.
PRODUCT_OF_PLAN = """
LATERAL (
    SELECT
        coalesce(by_key.id, CASE WHEN by_name.count = 1 THEN by_name.id END) AS id,
        coalesce(by_key.external_key, CASE WHEN by_name.count = 1 THEN by_name.external_key END)
            AS external_key,
        by_key.id IS NULL AND by_name.count > 1 AS is_unclear
    FROM (
        SELECT count(*) AS count, min(x.id) AS id, min(x.external_key::text) AS external_key
        FROM revcred_product x WHERE lower(x.name) = lower(planned)
    ) by_name
    LEFT JOIN revcred_product by_key ON by_key.external_key = planned
) p
"""

# A row's plans with the external keys of their subscriptions, as a FROM item `t`. A single plan is
# that of every subscription that the row names.
SUBSCRIPTIONS_WITH_PLANS = """
LATERAL (
    SELECT named, coalesce(given, CASE WHEN plan NOT LIKE '%%|%%' THEN plan END) AS planned
    FROM unnest(string_to_array(subscription, '|'), string_to_array(plan, '|')) u (named, given)
    WHERE named IS NOT NULL
) t
"""

# A product that rows only name gets its plan's name as external key and as name.
INSERT_PRODUCTS_OF_PLANS = insert_and_record_statement(
    PRODUCT_TARGET,
    f"""
    INSERT INTO {PRODUCT_TABLE} (
        external_key, name, version, published, also_without_source, restricted
    )
    SELECT planned, planned, '', true, false, false
    FROM (
        SELECT planned, min(number) AS number
        FROM {{source}} row CROSS JOIN {SUBSCRIPTIONS_WITH_PLANS}
        WHERE planned IS NOT NULL AND NOT EXISTS (
            SELECT FROM revcred_subscription s WHERE s.external_key = named
        )
        GROUP BY planned
    ) d
    CROSS JOIN {PRODUCT_OF_PLAN}
    WHERE %(create_plans)s AND p.id IS NULL AND NOT p.is_unclear
    ORDER BY number
    ON CONFLICT (external_key) DO NOTHING
    """,
)

PRODUCTS_ALSO_CREATED = f"""
SELECT count(*) FROM (
    SELECT DISTINCT planned
    FROM {{source}} row CROSS JOIN {SUBSCRIPTIONS_WITH_PLANS}
    WHERE planned IS NOT NULL AND NOT EXISTS (
        SELECT FROM revcred_subscription s WHERE s.external_key = named
    )
) d
CROSS JOIN {PRODUCT_OF_PLAN}
WHERE %(create_plans)s AND p.id IS NULL AND NOT p.is_unclear
"""

# --- Lists of products ----------------------------------------------------------------------------

# A product is identified by its external key.
PRODUCT_LOOKUP = f"""
SELECT
    row.*,
    e.id AS target_id,
    e.name AS old_name,
    e.version AS old_version,
    e.also_without_source AS old_also_without_source,
    e.restricted AS old_restricted,
    CASE WHEN row.sources IS NOT NULL THEN true END AS restricts,
    ARRAY(
        SELECT x.external_key::text FROM revcred_product_sources l
        JOIN revcred_source x ON x.id = l.source_id
        WHERE l.product_id = e.id ORDER BY 1
    ) AS old_sources,
    named.sources AS new_sources,
    named.are_known,
    CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row
FROM {{source}} row
LEFT JOIN twice t ON t.same = row.external_key
LEFT JOIN LATERAL (
    SELECT * FROM {PRODUCT_TABLE} x WHERE x.external_key = row.external_key OFFSET 0
) e ON true
CROSS JOIN LATERAL (
    SELECT
        array_agg(DISTINCT d.key ORDER BY d.key) AS sources,
        coalesce(bool_and(x.id IS NOT NULL), true) AS are_known
    FROM unnest(string_to_array(row.sources, '|')) d (key)
    LEFT JOIN revcred_source x ON x.external_key = d.key
) named
"""

INSERT_PRODUCTS = f"""
INSERT INTO {PRODUCT_TABLE} (
    id, external_key, name, version, published, also_without_source, restricted
)
SELECT
    new_id, external_key, name, coalesce(product_version, ''), true,
    coalesce(also_without_source, false), false
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

UPDATE_PRODUCTS = f"""
UPDATE {PRODUCT_TABLE} e SET
    name = row.name,
    -- a blank cell changes nothing
    version = coalesce(row.product_version, e.version),
    also_without_source = coalesce(row.also_without_source, e.also_without_source)
FROM {CHUNK_TABLE} row WHERE e.id = target_id
"""

REMOVE_SOURCES = f"""
DELETE FROM revcred_product_sources l USING {CHUNK_TABLE} row, revcred_source x
WHERE l.product_id = target_id AND x.id = l.source_id AND row.sources IS NOT NULL
    AND NOT x.external_key::text = ANY (new_sources)
"""

ADD_SOURCES = f"""
INSERT INTO revcred_product_sources (product_id, source_id)
SELECT CASE WHEN is_new THEN new_id ELSE target_id END, x.id
FROM {CHUNK_TABLE} CROSS JOIN unnest(new_sources) named
JOIN revcred_source x ON x.external_key = named
ON CONFLICT (product_id, source_id) DO NOTHING
"""

# Sources have no period: calls from the start of the first subscription on are judged again.
PRODUCTS_AFFECTED_SINCE = f"""
SELECT min(s.active_from)
FROM {CHUNK_TABLE} JOIN revcred_subscription s ON s.product_id = target_id
WHERE after ?| ARRAY['sources', 'also_without_source']
"""

PRODUCTS_PLAN = ListPlan(
    target=PRODUCT_TARGET,
    title_column="external_key",
    query=plan_query(
        PRODUCT_LOOKUP,
        same="external_key",
        compares={
            "name": ("name", "old_name"),
            "product_version": ("product_version", "old_version"),
            "sources": ("new_sources", "old_sources"),
            "also_without_source": ("also_without_source", "old_also_without_source"),
            # A trigger sets it. Undoing has to know whether it was set before.
            "restricted": ("restricts", "old_restricted"),
        },
        effects={"create": "is_new", "update": "NOT is_new AND after <> '{{}}'"},
        problems=("CASE WHEN NOT are_known THEN 'sources:unknown' END",),
    ),
    id_sequences={"new_id": "revcred_product_id_seq"},
    lock=lock_targets_statement(PRODUCT_TABLE),
    write=(
        INSERT_PRODUCTS,
        UPDATE_PRODUCTS,
        REMOVE_SOURCES,
        ADD_SOURCES,
        record_changes_statement(PRODUCT_TARGET),
    ),
    affected_since_query=PRODUCTS_AFFECTED_SINCE,
    messages={
        "external_key:twice": gettext_noop("The same external key is also in {other_row}."),
        "sources:unknown": gettext_noop(
            "No source has one of these external keys. Upload the list of sources first."
        ),
    },
)

DELETE_SOURCES_OF_CREATED = f"""
DELETE FROM revcred_product_sources
WHERE product_id IN (SELECT target_id FROM {undone_changes_source(PRODUCT_TARGET, "create")})
"""

REMOVE_ADDED_SOURCES = f"""
DELETE FROM revcred_product_sources l
USING {undone_changes_source(PRODUCT_TARGET, "update")}, revcred_source x
WHERE l.product_id = target_id AND x.id = l.source_id AND before ? 'sources'
    AND NOT before -> 'sources' ? x.external_key::text
"""

RESTORE_REMOVED_SOURCES = f"""
INSERT INTO revcred_product_sources (product_id, source_id)
SELECT target_id, x.id
FROM {undone_changes_source(PRODUCT_TARGET, "update")}
CROSS JOIN jsonb_array_elements_text(before -> 'sources') named
JOIN revcred_source x ON x.external_key = named
ON CONFLICT (product_id, source_id) DO NOTHING
"""

# After its sources: a trigger keeps a product restricted that has any.
RESTORE_PRODUCTS = f"""
UPDATE {PRODUCT_TABLE} e SET
    name = coalesce(before ->> 'name', e.name),
    version = coalesce(before ->> 'product_version', e.version),
    also_without_source = coalesce(
        (before ->> 'also_without_source')::boolean, e.also_without_source
    ),
    restricted = coalesce((before ->> 'restricted')::boolean, e.restricted)
FROM {undone_changes_source(PRODUCT_TARGET, "update")} WHERE e.id = target_id
"""

UNDO_PRODUCTS = UndoPlan(
    target=PRODUCT_TARGET,
    table=PRODUCT_TABLE,
    obstacle_queries={
        "The product has other subscriptions": depended_on_query(
            PRODUCT_TARGET,
            "revcred_subscription s",
            "revcred.subscription",
            "s.id",
            "s.product_id",
        ),
    },
    statements=(
        DELETE_SOURCES_OF_CREATED,
        delete_created_statement(PRODUCT_TABLE, PRODUCT_TARGET),
        REMOVE_ADDED_SOURCES,
        RESTORE_REMOVED_SOURCES,
        RESTORE_PRODUCTS,
    ),
)
