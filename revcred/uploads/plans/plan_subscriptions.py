"""Subscriptions of the plans that rows name.

Other systems let many customers share a plan. Here a plan is a product, and each customer has one
subscription of it. Before rows are planned, each plan that they name is replaced by the external
key of that subscription: the one that exists, or a new one by the pattern that the admin chose.
"""

from django.utils.translation import gettext_noop

from revcred.uploads.plans.products import PRODUCT_OF_PLAN

DEFAULT_KEY_PATTERN = "{customer}-{plan}"
MAX_PATTERN_CHARACTERS = 100
KEY_PATTERN_NEEDED = gettext_noop(
    "The pattern needs {customer} and {plan}, such as {customer}-{plan}."
)
MAX_NUMBERED_KEYS_TRIED = 100  # -2, -3 … of one external key that others have

# 190 characters leave room for a number.
RESOLVE_PLANS = f"""
-- in: rows that name plans and no subscription; out: each customer with each plan, once
WITH named AS MATERIALIZED (
    SELECT customer, planned, min(number) AS number
    FROM {{source}} row CROSS JOIN unnest(string_to_array(plan, '|')) planned
    WHERE plan IS NOT NULL AND subscription IS NULL AND customer IS NOT NULL
    GROUP BY customer, planned
), products AS MATERIALIZED (
    -- in: different plans; out: each with its product
    SELECT planned, p.id, coalesce(p.external_key, planned) AS product, p.is_unclear
    FROM (SELECT DISTINCT planned FROM named) d CROSS JOIN {PRODUCT_OF_PLAN}
), found AS MATERIALIZED (
    -- in: customers with plans; out: the same with the subscription that exists, or a key for it
    SELECT
        n.customer, n.planned, n.number, products.product, w.wanted,
        coalesce(own.key, CASE
            WHEN same.has_wanted THEN w.wanted WHEN same.count = 1 THEN same.key
        END) AS known,
        own.key IS NULL AND (
            products.is_unclear OR same.count > 1 AND NOT same.has_wanted
        ) AS is_unclear
    FROM named n
    JOIN products USING (planned)
    LEFT JOIN revcred_customer c ON c.external_key = n.customer
    CROSS JOIN LATERAL (
        SELECT left(replace(replace(
            %(plan_keys)s, '{{{{customer}}}}', n.customer
        ), '{{{{plan}}}}', regexp_replace(n.planned, '[[:space:],;]+', '-', 'g')), 190) AS wanted
    ) w
    LEFT JOIN LATERAL (
        -- own: a subscription of this customer that is called like the plan
        SELECT s.external_key::text AS key FROM revcred_subscription s
        WHERE s.external_key = n.planned AND s.customer_id = c.id LIMIT 1
    ) own ON true
    CROSS JOIN LATERAL (
        -- same: the customer's subscriptions of the product
        SELECT
            count(*) AS count, min(s.external_key::text) AS key,
            coalesce(bool_or(s.external_key = w.wanted), false) AS has_wanted
        FROM revcred_subscription s
        WHERE s.customer_id = c.id AND s.product_id = products.id
            AND (s.active_until IS NULL OR s.active_until > %(now)s)
    ) same
), new AS MATERIALIZED (
    -- in: customers without a subscription of a plan; out: one for each customer and product
    SELECT
        customer, product, wanted,
        row_number() OVER (PARTITION BY wanted ORDER BY number, customer, product) AS nth
    FROM (
        SELECT customer, product, min(wanted) AS wanted, min(number) AS number
        FROM found WHERE known IS NULL AND NOT is_unclear GROUP BY customer, product
    ) d
), keyed AS MATERIALIZED (
    -- in: new subscriptions; out: the same with external keys that nobody has or had
    -- Almost all are free: only for others are numbers tried.
    SELECT customer, product, CASE WHEN nth = 1
        AND NOT EXISTS (SELECT FROM revcred_subscription s WHERE s.external_key = wanted)
        AND NOT EXISTS (
            SELECT FROM revcred_formername f WHERE f.kind = 'subscription' AND f.name = wanted
        )
    THEN wanted ELSE (
        SELECT candidate
        FROM generate_series(1, nth + %(numbered_keys_tried)s) g
        CROSS JOIN LATERAL (
            SELECT CASE WHEN g = 1 THEN wanted ELSE wanted || '-' || g END AS candidate
        ) d
        WHERE NOT EXISTS (SELECT FROM revcred_subscription s WHERE s.external_key = candidate)
            AND NOT EXISTS (
                SELECT FROM revcred_formername f
                WHERE f.kind = 'subscription' AND f.name = candidate
            )
            AND (g = 1 OR NOT EXISTS (SELECT FROM new o WHERE o.wanted = candidate))
        ORDER BY g OFFSET nth - 1 LIMIT 1
    ) END AS key
    FROM new
), replaced AS MATERIALIZED (
    -- in: texts of `plan` of a customer; out: what takes their place, each subscription once
    SELECT
        customer, plan,
        string_agg(key, '|' ORDER BY nth) AS keys,
        string_agg(planned, '|' ORDER BY nth) AS plans
    FROM (
        SELECT DISTINCT ON (d.customer, d.plan, key)
            d.customer, d.plan, coalesce(found.known, keyed.key) AS key, u.planned, u.nth,
            bool_or(coalesce(found.known, keyed.key) IS NULL)
                OVER (PARTITION BY d.customer, d.plan) AS some_unclear
        FROM (
            SELECT DISTINCT customer, plan FROM {{source}} row
            WHERE plan IS NOT NULL AND subscription IS NULL
        ) d
        CROSS JOIN unnest(string_to_array(d.plan, '|')) WITH ORDINALITY u (planned, nth)
        JOIN found ON found.customer = d.customer AND found.planned = u.planned
        LEFT JOIN keyed ON keyed.customer = found.customer AND keyed.product = found.product
        ORDER BY d.customer, d.plan, key, u.nth
    ) each
    WHERE NOT some_unclear
    GROUP BY customer, plan
)
UPDATE {{source}} row SET subscription = replaced.keys, plan = replaced.plans
FROM replaced
WHERE row.subscription IS NULL AND row.customer = replaced.customer AND row.plan = replaced.plan
"""


def is_key_pattern(text: str) -> bool:
    """Return True if external keys by this pattern differ by customer and by plan."""
    return len(text) <= MAX_PATTERN_CHARACTERS and "{customer}" in text and "{plan}" in text
