"""Products that rows name by their plan, and how undoing a list treats them."""

from revcred.uploads.plans.dependents import depended_on_query
from revcred.uploads.plans.plan import (
    UndoPlan,
    delete_created_statement,
    insert_and_record_statement,
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
        "The product has sources": depended_on_query(
            PRODUCT_TARGET,
            "revcred_product_sources l",
            "revcred.source",
            "l.source_id",
            "l.product_id",
        ),
    },
    statements=(delete_created_statement(PRODUCT_TABLE, PRODUCT_TARGET),),
)
