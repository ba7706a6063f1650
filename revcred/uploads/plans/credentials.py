"""Plan for lists of credentials.

A credential is identified by its key or, where a row has none, by its name within the customer.
"""

from django.utils.translation import gettext_noop

from revcred.uploads.plans.plan import (
    CHUNK_TABLE,
    SEALED_TABLE,
    UNDONE_TABLE,
    ListPlan,
    UndoPlan,
    effects_array,
    insert_and_record_statement,
    lock_targets_statement,
)
from revcred.uploads.plans.plan_subscriptions import RESOLVE_PLANS
from revcred.uploads.plans.products import (
    INSERT_PRODUCTS_OF_PLANS,
    PRODUCT_OF_PLAN,
    PRODUCTS_ALSO_CREATED,
    SUBSCRIPTIONS_WITH_PLANS,
)

CREDENTIAL_TARGET = "revcred.credential"

# By code: the column that a problem belongs to, and the problem.
CREDENTIAL_MESSAGES = {
    "customer:unknown": gettext_noop("No customer has this external key."),
    "key:twice": gettext_noop("The same key is also in {other_row}."),
    "key:of_another": gettext_noop("This key belongs to another customer."),
    "key:in_use": gettext_noop("Another credential has this key in the same time."),
    "key:revoked": gettext_noop(
        "A revoked credential had this key. To use it again, allow keys of revoked credentials."
    ),
    "name:twice": gettext_noop("This customer has the same name in {other_row}."),
    "name:in_use": gettext_noop("This customer has another credential with this name."),
    "aliases:twice": gettext_noop("One of the aliases is also a key or an alias in another row."),
    "aliases:in_use": gettext_noop(
        "One of the aliases is a key or an alias of another credential."
    ),
    "secret:no_key": gettext_noop("The credential has no key, so it cannot have a secret."),
    "subscription:unknown": gettext_noop("No subscription has this external key."),
    "subscription:comma": gettext_noop(
        "No subscription has this external key. Separate several by | or ;."
    ),
    "plan:no_subscription": gettext_noop(
        "The customer has no subscription of this plan. To create it, choose so."
    ),
    "subscription:product": gettext_noop("Choose the product of new subscriptions."),
    "subscription:of_another": gettext_noop("The subscription belongs to another customer."),
    "key:none": gettext_noop("It has no key. To generate one for each such row, choose so."),
    "state:inactive": gettext_noop(
        "It is suspended, revoked or expired. To bring it in this state, choose so."
    ),
    "state:differs": gettext_noop(
        "The credential is in another state here. Change it on its page."
    ),
    "plan:unknown": gettext_noop("No product has this external key or name."),
    "plan:unclear": gettext_noop(
        "Several products have this name, or the customer has several subscriptions of the"
        " product. Name the subscription instead."
    ),
    "holders:unknown": gettext_noop("No subscriber has this address."),
    "holders:login": gettext_noop(
        "A new holder's address is already the login of a staff member or of another subscriber."
    ),
    "holders:of_another": gettext_noop(
        "A holder belongs to another customer and would become a member of this one. To permit"
        " this, allow people of other customers."
    ),
    "gateway:unknown": gettext_noop("No gateway has this name."),
    "gateway:several": gettext_noop(
        "This key belongs to different credentials at several gateways. Name the gateway."
    ),
    "gateway:other": gettext_noop("The key already counts at all gateways."),
    "key_active_from:fixed": gettext_noop("The start of an existing key cannot be changed."),
    "key_active_from:in_use": gettext_noop("The key belonged to another credential at that time."),
    "assigned_from:before_key": gettext_noop(
        "The key was not active yet at the other customer at that time."
    ),
}

# The same rule as `ExternalKeyQuerySet.ever_counting`: a key that was withdrawn before it counted
# is nobody's, so that everybody may have it.
IS_EVER_COUNTING = "x.active_until IS DISTINCT FROM x.active_from"

# Each different text is looked up once, however many rows have it. Fingerprints are compared with
# = ANY (ARRAY[…]), so that the B-tree index on them serves: the index of the exclusion constraint
# would serve = as well, but only by a bitmap scan, and these are off here. OFFSET 0 keeps the
# planner from copying an expression to every place that names it, and from reading all
# credentials for a few.
CREDENTIALS_PLAN_QUERY = (
    """
WITH of_product AS MATERIALIZED (
    -- in: different plans; out: each with its product
    SELECT planned, p.id
    FROM (
        SELECT DISTINCT planned FROM (SELECT DISTINCT plan FROM {source} row) d
        CROSS JOIN unnest(string_to_array(plan, '|')) planned
    ) e CROSS JOIN {product_of_plan}
), subs AS MATERIALIZED (
    -- in: different texts of `subscription`; out: each with the subscriptions that it names
    SELECT
        given,
        array_agg(named::text ORDER BY named COLLATE "C") AS names,
        array_agg(s.id ORDER BY named COLLATE "C") AS ids,
        bool_or(s.id IS NULL) AS some_unknown,
        min(s.customer_id) AS least_customer,
        max(s.customer_id) AS greatest_customer
    FROM (SELECT DISTINCT subscription AS given FROM {source} row WHERE subscription IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(given, '|')) named
    LEFT JOIN LATERAL (
        -- Several may have this name one after the other: the one that has it now is meant.
        SELECT x.id, x.customer_id FROM revcred_subscription x WHERE x.external_key = named
        ORDER BY tstzrange(x.active_from, x.active_until) @> %(now)s::timestamptz DESC,
            x.active_from DESC
        LIMIT 1
    ) s ON true
    GROUP BY given
), contested AS MATERIALIZED (
    -- in: names of subscriptions; out: those that rows of different customers name
    SELECT named
    FROM (SELECT DISTINCT subscription, customer FROM {source} row WHERE subscription IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(subscription, '|')) named
    GROUP BY named HAVING min(customer) <> max(customer)
), planned AS MATERIALIZED (
    -- in: different texts of `subscription` with `plan`; out: those with new ones of no product
    SELECT d.subscription, d.plan
    FROM (
        SELECT DISTINCT subscription, plan FROM {source} row
        WHERE subscription IS NOT NULL AND plan IS NOT NULL
    ) d
    CROSS JOIN {subscriptions_with_plans}
    WHERE planned IS NOT NULL
        AND NOT EXISTS (SELECT FROM revcred_subscription s WHERE s.external_key = named)
        AND planned NOT IN (SELECT of_product.planned FROM of_product WHERE id IS NOT NULL)
    GROUP BY d.subscription, d.plan
), people AS MATERIALIZED (
    -- in: different texts of `holders`; out: each with the subscribers that it names
    SELECT
        given,
        array_agg(named::text ORDER BY named COLLATE "C") AS names,
        array_agg(p.id ORDER BY named COLLATE "C") AS ids,
        bool_or(p.id IS NULL) AS some_unknown,
        -- The same rule as `actions.subscribers.check_login_available`, for new subscribers.
        bool_or(p.id IS NULL AND EXISTS (
            SELECT FROM revcred_user u WHERE lower(u.email) = named AND (
                u.is_staff OR u.is_superuser
                OR EXISTS (SELECT FROM revcred_subscriber x WHERE x.user_id = u.id)
            )
        )) AS some_login
    FROM (SELECT DISTINCT holders AS given FROM {source} row WHERE holders IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(given, '|')) named
    LEFT JOIN revcred_subscriber p ON lower(p.email) = named
    GROUP BY given
), newcomers AS MATERIALIZED (
    -- in: each text of `holders` at a customer; out: the people who are not members there yet
    SELECT d.given, d.customer, named, p.id AS subscriber_id
    FROM (
        SELECT DISTINCT holders AS given, customer FROM {source} row WHERE holders IS NOT NULL
    ) d
    CROSS JOIN unnest(string_to_array(given, '|')) named
    LEFT JOIN revcred_subscriber p ON lower(p.email) = named
    LEFT JOIN revcred_customer c ON c.external_key = d.customer
    WHERE NOT EXISTS (
        SELECT FROM revcred_membership m WHERE m.customer_id = c.id AND m.subscriber_id = p.id
    )
), in_several AS MATERIALIZED (
    -- in: newcomers; out: those named for two customers, so that nobody can say where they belong
    SELECT named FROM newcomers GROUP BY named HAVING min(customer) <> max(customer)
), joining AS MATERIALIZED (
    -- in: newcomers; out: texts of `holders` that bring new members, and if some belong elsewhere
    SELECT
        given, customer,
        bool_or(
            EXISTS (SELECT FROM revcred_membership m WHERE m.subscriber_id = n.subscriber_id)
            OR EXISTS (SELECT FROM in_several i WHERE i.named = n.named)
        ) AS some_elsewhere
    FROM newcomers n GROUP BY given, customer
), same_key AS MATERIALIZED (
    -- in: rows; out: keys that several rows have, with the first and the last of these rows
    SELECT fingerprint, min(number) AS first, max(number) AS last
    FROM {source} row WHERE fingerprint IS NOT NULL GROUP BY fingerprint
    HAVING count(*) > count(DISTINCT gateway) AND count(*) > 1  -- one key for each gateway is fine
), same_alias AS MATERIALIZED (
    -- in: rows; out: aliases that other rows have, too, as a key or as an alias
    SELECT fingerprint
    FROM (
        SELECT number, gateway, fingerprint FROM {source} row
        WHERE EXISTS (SELECT FROM {source} o WHERE o.alias_fingerprints IS NOT NULL)
        UNION SELECT number, gateway, unnest(alias_fingerprints) FROM {source} row
    ) d
    WHERE fingerprint IS NOT NULL
    GROUP BY fingerprint HAVING count(*) > count(DISTINCT gateway) AND count(*) > 1
), same_name AS MATERIALIZED (
    -- in: rows; out: names that a customer has in several rows
    SELECT customer, name, min(number) AS first, max(number) AS last
    FROM {source} row GROUP BY customer, name HAVING count(*) > 1
), seen AS (
    -- in: rows; out: each row with the credential, key and names that it is about, as they are now
    SELECT
        row.*,
        c.id AS customer_id,
        g.id AS gateway_id,
        subs.names AS subscription_names,
        subs.ids AS subscription_ids,
        people.names AS holder_names,
        people.ids AS holder_ids,
        coalesce(k.id, n.key_id) AS key_id,
        k.gateway_id AS key_gateway_id,
        coalesce(k.is_one_of_several, false) AS is_one_of_several,
        k.active_from AS key_began,
        k.active_until AS key_ends,
        e.id AS target_id,
        e.name AS old_name,
        e.environment AS old_environment,
        e.tags::text[] AS old_tags,
        -- a cell that takes all tags away is a separator
        array_remove(string_to_array(row.tags, '|'), '') AS given_tags,
        e.expires_at AS old_expires_at,
        CASE
            WHEN e.id IS NULL THEN NULL
            WHEN e.expires_at <= %(now)s THEN 'expired'
            WHEN EXISTS (
                SELECT FROM revcred_suspension x WHERE x.credential_id = e.id
                    AND x.active_from <= %(now)s
                    AND (x.active_until IS NULL OR x.active_until > %(now)s)
            ) THEN 'suspended'
            ELSE 'active'
        END AS old_state,
        revoked.credential_id AS revoked_owner,
        revoked.at AS revoked_at,
        o.external_key AS owner,
        e.customer_id IS DISTINCT FROM c.id AND e.id IS NOT NULL AS is_of_another,
        v.secret_fingerprint AS old_secret_fingerprint,
        coalesce(v.had_secret, false) AS had_secret,
        others.fingerprints AS new_alias_fingerprints,
        others.hints AS new_alias_hints,
        fed.names AS old_subscription_names,
        held.names AS old_holder_names,
        coalesce(row.assigned_from, %(now)s) AS moved_at,
        subs.some_unknown AS some_subscription_unknown,
        planned.plan IS NOT NULL AS some_plan_unknown,
        people.some_unknown AS some_holder_unknown,
        coalesce(people.some_login, false) AS some_login,
        joining.given IS NOT NULL AS some_join,
        coalesce(joining.some_elsewhere, false) AS some_elsewhere,
        subs.least_customer IS NOT NULL AND (
            c.id IS NULL OR subs.least_customer <> c.id OR subs.greatest_customer <> c.id
        ) AS feeds_another,
        coalesce(
            CASE WHEN row.number = same_key.first THEN same_key.last ELSE same_key.first END,
            CASE WHEN row.number = same_name.first THEN same_name.last ELSE same_name.first END
        ) AS other_row,
        same_key.first IS NOT NULL AS is_key_twice,
        CASE %(duplicates)s
            WHEN 'first' THEN row.number > least(same_key.first, same_name.first)
            WHEN 'last' THEN row.number < greatest(same_key.last, same_name.last)
            ELSE false
        END IS TRUE AS is_superseded,
        same_name.first IS NOT NULL AND same_key.first IS NULL AS is_name_twice
    FROM {source} row
    LEFT JOIN LATERAL (
        SELECT x.id FROM revcred_customer x WHERE x.external_key = row.customer OFFSET 0
    ) c ON true
    LEFT JOIN revcred_gateway g ON g.name = row.gateway
    LEFT JOIN subs ON subs.given = row.subscription
    LEFT JOIN planned ON planned.subscription = row.subscription AND planned.plan = row.plan
    LEFT JOIN people ON people.given = row.holders
    LEFT JOIN joining ON joining.given = row.holders AND joining.customer = row.customer
    LEFT JOIN same_key ON same_key.fingerprint = row.fingerprint
    LEFT JOIN same_name ON same_name.customer = row.customer AND same_name.name = row.name
    LEFT JOIN LATERAL (
        -- k: the current key with this fingerprint
        SELECT
            x.id, x.credential_id, x.gateway_id, x.active_from, x.active_until,
            count(*) FILTER (WHERE x.gateway_id IS NOT NULL) OVER () > 1
                AND row.gateway IS NULL AND x.gateway_id IS NOT NULL AS is_one_of_several
        FROM revcred_externalkey x
        WHERE x.fingerprint = ANY (ARRAY[row.fingerprint])
            AND (x.active_until IS NULL OR x.active_until > %(now)s)
            AND {ever_counting}
            -- At another gateway, the same text is another key (see `actions.credentials`).
            AND (row.gateway IS NULL OR x.gateway_id IS NULL OR x.gateway_id = g.id)
            AND NOT EXISTS (
                SELECT FROM revcred_credential y
                WHERE y.id = x.credential_id AND y.revoked_at IS NOT NULL
            )
        ORDER BY (x.gateway_id IS NOT DISTINCT FROM g.id) DESC, x.active_from
        LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL (
        -- revoked: the last revoked credential that had this key, if none has it since. The same
        -- rule as `actions.credentials.keys_of_revoked_credentials`.
        SELECT x.credential_id, y.revoked_at AS at
        FROM revcred_externalkey x JOIN revcred_credential y ON y.id = x.credential_id
        WHERE x.fingerprint = ANY (ARRAY[row.fingerprint]) AND y.revoked_at IS NOT NULL
            AND (g.id IS NULL OR x.gateway_id IS NULL OR x.gateway_id = g.id)
            AND NOT EXISTS (
                SELECT FROM revcred_externalkey n
                JOIN revcred_credential z ON z.id = n.credential_id
                WHERE n.fingerprint = ANY (ARRAY[row.fingerprint]) AND z.revoked_at IS NULL
                    AND n.active_from >= y.revoked_at
            )
        ORDER BY y.revoked_at DESC LIMIT 1
    ) revoked ON true
    LEFT JOIN LATERAL (
        -- n: for a row without a key, the credential of that name
        SELECT x.id, (
            SELECT y.id FROM revcred_externalkey y
            WHERE y.credential_id = x.id AND y.kind = 'key' AND y.active_from <= %(now)s
                AND (y.active_until IS NULL OR y.active_until > %(now)s)
            ORDER BY y.active_from DESC, y.id DESC LIMIT 1
        ) AS key_id
        FROM revcred_credential x
        WHERE row.fingerprint IS NULL AND x.customer_id = c.id AND x.name = row.name
            AND x.revoked_at IS NULL
        OFFSET 0
    ) n ON true
    LEFT JOIN LATERAL (
        -- e: the existing credential, found by key or by name
        SELECT * FROM revcred_credential x WHERE x.id = coalesce(k.credential_id, n.id) OFFSET 0
    ) e ON true
    LEFT JOIN revcred_customer o ON o.id = e.customer_id
    LEFT JOIN LATERAL (
        SELECT x.secret_fingerprint, x.secret IS NOT NULL AS had_secret FROM revcred_sealedvalue x
        WHERE x.external_key_id = coalesce(k.id, n.key_id)
        OFFSET 0
    ) v ON true
    LEFT JOIN LATERAL (
        -- others: aliases of the row that the credential does not have yet
        SELECT array_agg(alias ORDER BY nth) AS fingerprints, array_agg(hint ORDER BY nth) AS hints
        FROM unnest(row.alias_fingerprints, row.alias_hints) WITH ORDINALITY a (alias, hint, nth)
        WHERE alias IS DISTINCT FROM row.fingerprint AND NOT EXISTS (
            SELECT FROM revcred_externalkey x
            WHERE x.fingerprint = ANY (ARRAY[alias]) AND x.credential_id = e.id
                AND (x.active_until IS NULL OR x.active_until > %(now)s)
        )
    ) others ON true
    LEFT JOIN LATERAL (
        -- fed: subscriptions that it is assigned to at the moment of the move, or later
        SELECT array_agg(s.external_key::text ORDER BY s.external_key COLLATE "C") AS names
        FROM (
            -- DISTINCT: several periods may be of one subscription.
            SELECT DISTINCT s.external_key
            FROM revcred_assignment a JOIN revcred_subscription s ON s.id = a.subscription_id
            WHERE a.credential_id = ANY (ARRAY[e.id]) AND row.subscription IS NOT NULL AND (
                a.active_until IS NULL OR a.active_until > coalesce(row.assigned_from, %(now)s)
            )
        ) s
    ) fed ON true
    LEFT JOIN LATERAL (
        SELECT array_agg(lower(p.email) ORDER BY lower(p.email) COLLATE "C") AS names
        FROM revcred_credential_holders h JOIN revcred_subscriber p ON p.id = h.subscriber_id
        WHERE h.credential_id = e.id AND row.holders IS NOT NULL
    ) held ON true
    OFFSET 0
), compared AS (
    -- in: rows with what exists; out: the same with what would change, and with problems
    SELECT
        seen.*,
        target_id IS NULL OR is_of_another AS is_new,
        -- Just when INSERT_HOLDER_MEMBERSHIPS writes: with new credentials and changed holders.
        some_join AND (
            target_id IS NULL OR is_of_another OR holder_names IS DISTINCT FROM old_holder_names
        ) AS is_joining,
        CASE WHEN target_id IS NOT NULL THEN jsonb_strip_nulls(CASE
            WHEN is_of_another THEN jsonb_build_object('customer', owner)
            ELSE jsonb_build_object(
                'name', CASE WHEN name <> old_name THEN old_name END,
                'environment', CASE WHEN environment <> old_environment THEN old_environment END,
                'tags', CASE WHEN given_tags <> old_tags THEN old_tags END,
                'expires_at', CASE WHEN expires_at <> old_expires_at THEN old_expires_at END,
                'secret', CASE
                    WHEN had_secret AND secret_fingerprint IS NOT NULL
                        AND secret_fingerprint IS DISTINCT FROM old_secret_fingerprint
                    THEN true
                END,
                'subscription', CASE
                    WHEN subscription_names <> old_subscription_names THEN old_subscription_names
                END,
                'holders', CASE WHEN holder_names <> old_holder_names THEN old_holder_names END
            )
        END) END AS before,
        CASE WHEN target_id IS NOT NULL THEN jsonb_strip_nulls(CASE
            WHEN is_of_another THEN jsonb_build_object('customer', customer)
            ELSE jsonb_build_object(
                'name', CASE WHEN name <> old_name THEN name END,
                'environment', CASE WHEN environment <> old_environment THEN environment END,
                'tags', CASE
                    WHEN given_tags <> old_tags THEN given_tags
                END,
                'expires_at', CASE
                    WHEN expires_at IS NOT NULL AND expires_at IS DISTINCT FROM old_expires_at
                    THEN expires_at
                END,
                'secret', CASE
                    WHEN secret_fingerprint IS NOT NULL
                        AND secret_fingerprint IS DISTINCT FROM old_secret_fingerprint
                    THEN true
                END,
                'aliases', (SELECT array_agg('…' || each) FROM unnest(new_alias_hints) each),
                'subscription', CASE
                    WHEN subscription_names IS DISTINCT FROM old_subscription_names
                    THEN subscription_names
                END,
                'holders', CASE
                    WHEN holder_names IS DISTINCT FROM old_holder_names THEN holder_names
                END
            )
        END) END AS after,
        array_remove(ARRAY[
            CASE WHEN customer_id IS NULL AND NOT %(create_customers)s THEN 'customer:unknown' END,
            CASE WHEN is_key_twice AND %(duplicates)s = 'reject' THEN 'key:twice' END,
            CASE
                WHEN fingerprint IS NULL AND target_id IS NULL AND invalid IS NULL
                    AND NOT %(generate_keys)s
                THEN 'key:none'
            END,
            CASE
                WHEN (target_id IS NULL OR is_of_another) AND state <> 'active'
                    AND NOT %(keep_inactive)s
                THEN 'state:inactive'
                WHEN target_id IS NOT NULL AND state <> old_state THEN 'state:differs'
            END,
            CASE WHEN is_one_of_several THEN 'gateway:several' END,
            CASE WHEN is_name_twice AND %(duplicates)s = 'reject' THEN 'name:twice' END,
            CASE WHEN is_of_another AND NOT %(take_over)s THEN 'key:of_another' END,
            CASE
                WHEN (target_id IS NULL OR is_of_another) AND revoked_owner IS NOT NULL
                    AND NOT %(use_again)s
                THEN 'key:revoked'
            END,
            CASE WHEN EXISTS (
                SELECT FROM revcred_credential x
                WHERE x.customer_id = seen.customer_id AND x.name = seen.name
                    AND x.revoked_at IS NULL
                    AND (x.id <> target_id OR target_id IS NULL)
            ) THEN 'name:in_use' END,
            CASE
                WHEN new_alias_fingerprints IS NULL THEN NULL
                WHEN EXISTS (
                    SELECT FROM same_alias WHERE fingerprint = ANY (new_alias_fingerprints)
                ) THEN 'aliases:twice'
                WHEN EXISTS (
                    -- The same rule as for keys that begin as far back as they can.
                    SELECT FROM revcred_externalkey x
                    WHERE x.fingerprint = ANY (new_alias_fingerprints)
                        AND x.gateway_id IS NOT DISTINCT FROM seen.gateway_id
                        AND (x.active_until IS NULL OR x.active_until > %(now)s)
                        AND {ever_counting}
                ) THEN 'aliases:in_use'
            END,
            CASE
                WHEN secret_fingerprint IS NOT NULL AND target_id IS NOT NULL AND key_id IS NULL
                THEN 'secret:no_key'
            END,
            CASE
                WHEN some_subscription_unknown AND NOT %(create_subscriptions)s
                THEN CASE
                    WHEN plan IS NOT NULL THEN 'plan:no_subscription'
                    WHEN strpos(subscription, ',') > 0 THEN 'subscription:comma'
                    ELSE 'subscription:unknown'
                END
                WHEN some_subscription_unknown AND plan IS NULL AND %(product)s::bigint IS NULL
                THEN 'subscription:product'
                WHEN feeds_another OR some_subscription_unknown AND EXISTS (
                    SELECT FROM contested WHERE contested.named = ANY (subscription_names)
                )
                THEN 'subscription:of_another'
            END,
            CASE
                WHEN plan IS NOT NULL AND subscription IS NULL AND customer IS NOT NULL
                THEN 'plan:unclear'
                WHEN some_plan_unknown AND NOT %(create_plans)s THEN 'plan:unknown'
            END,
            CASE
                WHEN some_holder_unknown AND NOT %(create_subscribers)s THEN 'holders:unknown'
                WHEN some_login THEN 'holders:login'
            END,
            CASE
                WHEN some_join AND some_elsewhere AND NOT %(people_of_others)s AND (
                    target_id IS NULL OR is_of_another
                    OR holder_names IS DISTINCT FROM old_holder_names
                )
                THEN 'holders:of_another'
            END,
            CASE
                WHEN gateway IS NOT NULL AND gateway_id IS NULL THEN 'gateway:unknown'
                WHEN gateway IS NOT NULL AND target_id IS NOT NULL AND fingerprint IS NOT NULL
                    AND gateway_id IS DISTINCT FROM key_gateway_id THEN 'gateway:other'
            END,
            CASE
                WHEN target_id IS NOT NULL AND NOT is_of_another AND fingerprint IS NOT NULL
                    AND key_active_from <> key_began THEN 'key_active_from:fixed'
                WHEN (target_id IS NULL OR is_of_another) AND EXISTS (
                    -- The new key has no end, so nobody may have this key after its start. Keys
                    -- of revoked credentials are ended by END_REVOKED_KEYS, if they are not yet.
                    SELECT FROM revcred_externalkey x
                    JOIN revcred_credential y ON y.id = x.credential_id
                    CROSS JOIN LATERAL (
                        SELECT CASE
                            WHEN revoked_owner IS NOT NULL AND y.revoked_at IS NOT NULL
                            THEN least(x.active_until, greatest(y.revoked_at, x.active_from))
                            ELSE x.active_until
                        END AS at
                    ) ends
                    WHERE x.fingerprint = ANY (ARRAY[seen.fingerprint])
                        AND x.gateway_id IS NOT DISTINCT FROM coalesce(
                            seen.gateway_id, CASE WHEN is_of_another THEN key_gateway_id END
                        )
                        AND x.id IS DISTINCT FROM seen.key_id
                        AND ends.at IS DISTINCT FROM x.active_from -- else it never counts
                        AND (ends.at IS NULL OR ends.at > CASE
                            WHEN is_of_another THEN moved_at
                            WHEN revoked_owner IS NOT NULL THEN coalesce(key_active_from, %(now)s)
                            ELSE key_active_from
                        END)
                ) THEN CASE
                    WHEN key_active_from IS NULL OR is_of_another THEN 'key:in_use'
                    ELSE 'key_active_from:in_use'
                END
            END,
            CASE WHEN is_of_another AND moved_at <= key_began THEN 'assigned_from:before_key' END
        ], NULL) AS problems
    FROM seen
    OFFSET 0
)
SELECT
    compared.*,
    -- An assignment that ends is a move; one that is only added is an update.
    CASE
        WHEN is_superseded THEN 'unchanged'
        WHEN invalid IS NOT NULL OR problems <> '{{}}' THEN 'rejected'
        WHEN is_of_another THEN 'move'
        WHEN target_id IS NULL THEN 'create'
        WHEN after = '{{}}' THEN 'unchanged'
        WHEN before -> 'subscription' IS NOT NULL
            AND NOT old_subscription_names <@ subscription_names THEN 'move'
        ELSE 'update'
    END AS action,
    -- Applying compares this hash, to find rows whose credential has changed since the check.
    CASE WHEN target_id IS NOT NULL THEN
        md5(concat_ws(' ', target_id, key_id, old_secret_fingerprint, before, after))
    END AS version,
    {effects} AS effects
FROM compared
""".replace("{ever_counting}", IS_EVER_COUNTING)
    .replace("{product_of_plan}", PRODUCT_OF_PLAN)
    .replace("{subscriptions_with_plans}", SUBSCRIPTIONS_WITH_PLANS)
    .replace(
        "{effects}",
        effects_array(
            {
                "create": "target_id IS NULL",
                "take_over": "is_of_another",
                "use_again": "is_new AND revoked_owner IS NOT NULL",
                "set_state": "(target_id IS NULL OR is_of_another) AND state <> 'active'",
                "move": "target_id IS NOT NULL AND NOT is_of_another AND after ? 'subscription'",
                "update": "target_id IS NOT NULL AND NOT is_of_another AND "
                "after ?| ARRAY['name', 'environment', 'tags', 'expires_at', 'secret', 'holders', "
                "'aliases']",
                "join": "is_joining",
            }
        ),
    )
)

# --- Things that rows name and that do not exist yet ----------------------------------------------

INSERT_CUSTOMERS_OF_CREDENTIALS = insert_and_record_statement(
    "revcred.customer",
    """
    INSERT INTO revcred_customer (name, external_key, email_domains, tags, metadata, created_at)
    SELECT coalesce(title, named), named, '{{}}', '{{}}', '{{}}', %(now)s
    FROM (
        SELECT
            customer AS named, min(number) AS number,
            (array_agg(customer_name ORDER BY number) FILTER (WHERE customer_name <> ''))[1]
                AS title
        FROM {source} row GROUP BY customer
    ) d
    WHERE %(create_customers)s
    ORDER BY number
    ON CONFLICT (external_key) DO NOTHING
    """,
)

# ON CONFLICT: another upload, or a person, may create the same at this moment.
INSERT_UNKNOWN_HOLDERS = insert_and_record_statement(
    "revcred.subscriber",
    """
    INSERT INTO revcred_subscriber (email, name, created_at)
    SELECT DISTINCT named, '', %(now)s::timestamptz
    FROM (SELECT DISTINCT holders FROM {source} row WHERE holders IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(holders, '|')) named
    WHERE %(create_subscribers)s
        AND NOT EXISTS (SELECT FROM revcred_subscriber p WHERE lower(p.email) = named)
    ON CONFLICT DO NOTHING
    """,
)

# min(c.id): rows of different customers that name the same one have been rejected by now.
INSERT_UNKNOWN_SUBSCRIPTIONS = insert_and_record_statement(
    "revcred.subscription",
    f"""
    INSERT INTO revcred_subscription
        (external_key, name, customer_id, product_id, active_from, created_at)
    SELECT named, '', customer_id, coalesce(p.id, %(product)s::bigint), %(oldest)s, %(now)s
    FROM (
        SELECT named, min(c.id) AS customer_id, min(planned) AS planned
        FROM (
            SELECT DISTINCT subscription, plan, customer FROM {{source}} row
            WHERE subscription IS NOT NULL
        ) d
        CROSS JOIN {SUBSCRIPTIONS_WITH_PLANS}
        JOIN revcred_customer c ON c.external_key = customer
        WHERE %(create_subscriptions)s
            AND NOT EXISTS (SELECT FROM revcred_subscription s WHERE s.external_key = named)
        GROUP BY named
    ) d
    LEFT JOIN (
        SELECT planned, p.id FROM (
            SELECT DISTINCT planned FROM (SELECT DISTINCT plan FROM {{source}} row) d
            CROSS JOIN unnest(string_to_array(plan, '|')) planned
        ) d CROSS JOIN {PRODUCT_OF_PLAN}
    ) p USING (planned)
    ON CONFLICT DO NOTHING
    """,
)

ALSO_CREATED_QUERIES = {
    # The conditions of the INSERTs above, counted for the preview.
    "customers": """
        SELECT count(DISTINCT customer) FROM {source} row
        WHERE %(create_customers)s AND NOT EXISTS (
            SELECT FROM revcred_customer c WHERE c.external_key = row.customer
        )
    """,
    "subscribers": """
        SELECT count(DISTINCT named)
        FROM {source} row CROSS JOIN unnest(string_to_array(holders, '|')) named
        WHERE %(create_subscribers)s AND NOT EXISTS (
            SELECT FROM revcred_subscriber p WHERE lower(p.email) = named
        )
    """,
    "products": PRODUCTS_ALSO_CREATED,
    "subscriptions": """
        SELECT count(DISTINCT named)
        FROM {source} row CROSS JOIN unnest(string_to_array(subscription, '|')) named
        WHERE %(create_subscriptions)s AND NOT EXISTS (
            SELECT FROM revcred_subscription s WHERE s.external_key = named
        )
    """,
}

# --- Writing a chunk ------------------------------------------------------------------------------

# Undo needs more than `before`: the assignments that end, the old secret, the owner of the key.
# It is collected first, because the statements below overwrite it.
COLLECT_UNDO_DATA = f"""
UPDATE {CHUNK_TABLE} row SET
    undo_data = jsonb_strip_nulls(jsonb_build_object(
        'taken', CASE WHEN is_new THEN key_id END,
        'until', CASE WHEN is_new THEN key_ends END,
        'key', CASE WHEN after ? 'secret' THEN key_id END,
        'secret_fingerprint', CASE WHEN after ? 'secret' THEN old_secret_fingerprint END,
        'aliases', CASE WHEN NOT is_new AND after ? 'aliases' THEN to_jsonb(new_alias_ids) END,
        'at', CASE WHEN after ? 'subscription' THEN moved_at END,
        'ended', CASE WHEN after ? 'subscription' THEN (
            SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.id), '[]')
            FROM revcred_assignment a
            WHERE a.credential_id = target_id AND NOT a.subscription_id = ANY (subscription_ids)
                AND (a.active_until IS NULL OR a.active_until > moved_at)
        ) END
    )),
    old_secret = CASE WHEN after ? 'secret' THEN (
        SELECT v.secret FROM revcred_sealedvalue v WHERE v.external_key_id = key_id
    ) END
WHERE target_id IS NOT NULL
"""

INSERT_CREDENTIALS = f"""
INSERT INTO revcred_credential (
    id, customer_id, name, environment, tags, expires_at, revoked_at, revocation_reason, created_at
)
SELECT
    new_id, customer_id, name, coalesce(environment, ''),
    coalesce(given_tags, '{{}}'),
    CASE WHEN state = 'expired' THEN least(expires_at, %(now)s) ELSE expires_at END,
    CASE WHEN state = 'revoked' THEN %(now)s::timestamptz END,
    CASE WHEN state = 'revoked' THEN 'It was revoked when a list brought it.' ELSE '' END,
    clock_timestamp()
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

# A key belongs to one credential at a time (an exclusion constraint). So the key of the old owner
# ends before the new owner's begins.
END_TAKEN_KEYS = f"""
UPDATE revcred_externalkey x SET active_until = least(x.active_until, moved_at)
FROM {CHUNK_TABLE} WHERE x.id = key_id AND is_of_another
"""

# A key that is used again was charged to nobody since its credential was revoked. The same rule as
# `actions.credentials._take_from_revoked`.
END_REVOKED_KEYS = f"""
UPDATE revcred_externalkey x SET active_until = greatest(y.revoked_at, x.active_from)
FROM {CHUNK_TABLE} row, revcred_credential y
WHERE row.is_new AND row.revoked_owner IS NOT NULL
    AND x.fingerprint = ANY (ARRAY[row.fingerprint])
    AND (row.gateway_id IS NULL OR x.gateway_id IS NULL OR x.gateway_id = row.gateway_id)
    AND y.id = x.credential_id AND y.revoked_at IS NOT NULL
    AND (x.active_until IS NULL OR x.active_until > greatest(y.revoked_at, x.active_from))
"""

COLLECT_REUSED_UNDO_DATA = f"""
UPDATE {CHUNK_TABLE}
SET undo_data = coalesce(undo_data, '{{}}') || jsonb_build_object('used_again_of', revoked_owner)
WHERE is_new AND revoked_owner IS NOT NULL
"""

# A new key counts as far back as transactions are accepted, but not before its last owner's ended.
# A generated one (without a fingerprint in the row) and one that is used again count from now on.
INSERT_EXTERNAL_KEYS = f"""
INSERT INTO revcred_externalkey (
    id, credential_id, kind, gateway_id, fingerprint, hint, active_from, created_at
)
SELECT
    new_key_id, new_id, 'key', coalesce(row.gateway_id, key_gateway_id), s.fingerprint, s.hint,
    CASE
        WHEN is_of_another THEN moved_at
        WHEN row.fingerprint IS NULL OR revoked_owner IS NOT NULL
        THEN coalesce(key_active_from, %(now)s)
        ELSE coalesce(key_active_from, greatest(%(oldest)s, (
            SELECT max(x.active_until) FROM revcred_externalkey x
            WHERE x.fingerprint = ANY (ARRAY[row.fingerprint])
                AND x.gateway_id IS NOT DISTINCT FROM row.gateway_id AND {IS_EVER_COUNTING}
        )))
    END,
    clock_timestamp()
FROM {CHUNK_TABLE} row JOIN {SEALED_TABLE} s USING (number) WHERE is_new ORDER BY number
"""

# As an alias that is added by hand: as far back as it can count.
INSERT_ALIASES = f"""
INSERT INTO revcred_externalkey (
    id, credential_id, kind, gateway_id, fingerprint, hint, active_from, created_at
)
SELECT
    a.id, CASE WHEN is_new THEN new_id ELSE target_id END, 'alias', row.gateway_id, a.fingerprint,
    a.hint,
    greatest(%(oldest)s, (
        SELECT max(x.active_until) FROM revcred_externalkey x
        WHERE x.fingerprint = ANY (ARRAY[a.fingerprint])
            AND x.gateway_id IS NOT DISTINCT FROM row.gateway_id AND {IS_EVER_COUNTING}
    )),
    clock_timestamp()
FROM {CHUNK_TABLE} row
CROSS JOIN unnest(new_alias_ids, new_alias_fingerprints, new_alias_hints) a (id, fingerprint, hint)
WHERE is_new OR after ? 'aliases' ORDER BY number, a.id
"""

INSERT_SEALED_ALIASES = f"""
INSERT INTO revcred_sealedvalue (external_key_id, value)
SELECT a.id, a.sealed
FROM {CHUNK_TABLE} row JOIN {SEALED_TABLE} s USING (number)
CROSS JOIN unnest(new_alias_ids, s.aliases) a (id, sealed)
WHERE a.id IS NOT NULL AND (is_new OR after ? 'aliases') ORDER BY number, a.id
"""

INSERT_SEALED_VALUES = f"""
INSERT INTO revcred_sealedvalue (external_key_id, value, secret, secret_fingerprint)
-- Fingerprints, not secrets, are compared later.
SELECT new_key_id, s.value, s.secret, row.secret_fingerprint
FROM {CHUNK_TABLE} row JOIN {SEALED_TABLE} s USING (number) WHERE is_new ORDER BY number
"""

# A key without anything sealed has no row in this table yet.
REPLACE_SECRETS = f"""
INSERT INTO revcred_sealedvalue (external_key_id, secret, secret_fingerprint)
SELECT key_id, s.secret, row.secret_fingerprint
FROM {CHUNK_TABLE} row JOIN {SEALED_TABLE} s USING (number)
WHERE NOT is_new AND after ? 'secret' ORDER BY key_id
ON CONFLICT (external_key_id) DO UPDATE
SET secret = excluded.secret, secret_fingerprint = excluded.secret_fingerprint
"""

UPDATE_CREDENTIALS = f"""
UPDATE revcred_credential e SET
    name = row.name,
    environment = coalesce(row.environment, e.environment),
    tags = coalesce(row.given_tags, e.tags),
    expires_at = coalesce(row.expires_at, e.expires_at)
FROM {CHUNK_TABLE} row
WHERE e.id = target_id AND NOT is_new
    AND after ?| ARRAY['name', 'environment', 'tags', 'expires_at']
"""

# An assignment that would end before it begins would break its check constraint.
DELETE_UNSTARTED_ASSIGNMENTS = f"""
DELETE FROM revcred_assignment a USING {CHUNK_TABLE} row
WHERE a.credential_id = target_id AND NOT is_new AND after ? 'subscription'
    AND a.active_from >= moved_at AND NOT a.subscription_id = ANY (subscription_ids)
"""

END_ASSIGNMENTS = f"""
UPDATE revcred_assignment a SET active_until = moved_at
FROM {CHUNK_TABLE} row
WHERE a.credential_id = target_id AND NOT is_new AND after ? 'subscription'
    AND (a.active_until IS NULL OR a.active_until > moved_at)
    AND NOT a.subscription_id = ANY (subscription_ids)
"""

# Assignments to subscriptions that the cell names again just go on.
INSERT_ASSIGNMENTS = f"""
INSERT INTO revcred_assignment (
    credential_id, customer_id, subscription_id, active_from, created_at
)
SELECT target_id, customer_id, fed, moved_at, clock_timestamp()
FROM {CHUNK_TABLE} row CROSS JOIN unnest(subscription_ids) fed
WHERE NOT is_new AND after ? 'subscription' AND NOT EXISTS (
    SELECT FROM revcred_assignment a
    WHERE a.credential_id = target_id AND a.subscription_id = fed
        AND (a.active_until IS NULL OR a.active_until > moved_at)
)
ORDER BY number
"""

# A new credential is assigned from the moment on that its key counts, unless the row says another.
INSERT_FIRST_ASSIGNMENTS = f"""
INSERT INTO revcred_assignment (
    credential_id, customer_id, subscription_id, active_from, created_at
)
SELECT
    new_id, row.customer_id, fed,
    coalesce(assigned_from, x.active_from), clock_timestamp()
FROM {CHUNK_TABLE} row CROSS JOIN unnest(subscription_ids) fed
JOIN revcred_externalkey x ON x.id = new_key_id
WHERE is_new ORDER BY number
"""

# The cell names all holders, so others stop being holders. Memberships stay.
DELETE_HOLDERS = f"""
DELETE FROM revcred_credential_holders h USING {CHUNK_TABLE} row
WHERE h.credential_id = target_id AND NOT is_new AND after ? 'holders'
    AND NOT h.subscriber_id = ANY (holder_ids)
"""

INSERT_HOLDERS = f"""
INSERT INTO revcred_credential_holders (credential_id, subscriber_id)
SELECT CASE WHEN is_new THEN new_id ELSE target_id END, holder
FROM {CHUNK_TABLE} CROSS JOIN unnest(holder_ids) holder
WHERE is_new OR after ? 'holders'
ORDER BY number
ON CONFLICT DO NOTHING
"""

# A holder is always a member of the credential's customer.
INSERT_HOLDER_MEMBERSHIPS = insert_and_record_statement(
    "revcred.membership",
    f"""
    INSERT INTO revcred_membership (customer_id, subscriber_id, role)
    SELECT DISTINCT customer_id, holder, 'member'
    FROM {CHUNK_TABLE} CROSS JOIN unnest(holder_ids) holder
    WHERE is_new OR after ? 'holders'
    ORDER BY customer_id, holder
    ON CONFLICT DO NOTHING
    """,
)

# Runs last, when undo data is complete.
RECORD_CREDENTIAL_CHANGES = f"""
INSERT INTO revcred_uploadchange (
    upload_id, row, action, target_type, target_id, before, after, undo_data, secret
)
SELECT
    %(upload)s, number, action, '{CREDENTIAL_TARGET}',
    CASE WHEN is_new THEN new_id ELSE target_id END,
    before, after, undo_data, old_secret
FROM {CHUNK_TABLE} ORDER BY number
"""

# The earliest moment from which attribution may have changed: of moves, of changed expiry, and of
# new keys at one gateway, which take calls from keys that count at any.
CREDENTIALS_AFFECTED_SINCE = f"""
SELECT least(
    min(moved_at) FILTER (WHERE is_of_another OR NOT is_new AND after ? 'subscription'),
    min(least(expires_at, old_expires_at)) FILTER (WHERE NOT is_new AND after ? 'expires_at'),
    min(key_active_from) FILTER (WHERE is_new AND gateway_id IS NOT NULL),
    min(%(oldest)s) FILTER (
        WHERE is_new AND gateway_id IS NOT NULL OR NOT is_new AND after ? 'aliases'
    )
) FROM {CHUNK_TABLE}
"""

# A life time counts from the start of the key. Of several columns with a state, the gravest counts.
COMPLETE_STATES_AND_ENDS = """
UPDATE {source} row SET
    expires_at = coalesce(
        expires_at, coalesce(key_active_from, %(now)s) + make_interval(secs => expires_in)
    ),
    state = CASE
        WHEN withdrawn = 'revoked' THEN withdrawn
        WHEN coalesce(state, 'active') = 'active' THEN coalesce(switched_off, withdrawn, state)
        ELSE state
    END
WHERE expires_in IS NOT NULL OR switched_off IS NOT NULL OR withdrawn IS NOT NULL
"""

# In the order of `CredentialState`: only new credentials come in a state.
INSERT_SUSPENSIONS = f"""
INSERT INTO revcred_suspension (credential_id, active_from)
SELECT new_id, %(now)s FROM {CHUNK_TABLE} WHERE is_new AND state = 'suspended' ORDER BY number
"""

CREDENTIALS_PLAN = ListPlan(
    target=CREDENTIAL_TARGET,
    title_column="name",
    query=CREDENTIALS_PLAN_QUERY,
    kept_columns=("key_id", "new_alias_fingerprints"),
    id_sequences={
        "new_id": "revcred_credential_id_seq",
        "new_key_id": "revcred_externalkey_id_seq",
    },
    id_arrays={"new_alias_ids": ("revcred_externalkey_id_seq", "new_alias_fingerprints")},
    lock=lock_targets_statement("revcred_credential"),
    resolve=(RESOLVE_PLANS, COMPLETE_STATES_AND_ENDS),
    prepare=(
        INSERT_CUSTOMERS_OF_CREDENTIALS,
        INSERT_UNKNOWN_HOLDERS,
        INSERT_PRODUCTS_OF_PLANS,
        INSERT_UNKNOWN_SUBSCRIPTIONS,
    ),
    write=(
        COLLECT_UNDO_DATA,
        INSERT_CREDENTIALS,
        INSERT_SUSPENSIONS,
        END_TAKEN_KEYS,
        END_REVOKED_KEYS,
        COLLECT_REUSED_UNDO_DATA,
        INSERT_EXTERNAL_KEYS,
        INSERT_ALIASES,
        INSERT_SEALED_VALUES,
        INSERT_SEALED_ALIASES,
        REPLACE_SECRETS,
        UPDATE_CREDENTIALS,
        DELETE_UNSTARTED_ASSIGNMENTS,
        END_ASSIGNMENTS,
        INSERT_ASSIGNMENTS,
        INSERT_FIRST_ASSIGNMENTS,
        DELETE_HOLDERS,
        INSERT_HOLDERS,
        INSERT_HOLDER_MEMBERSHIPS,
        RECORD_CREDENTIAL_CHANGES,
    ),
    affected_since_query=CREDENTIALS_AFFECTED_SINCE,
    waiting_query="""
        SELECT customer, fingerprint, NULL::text AS subscription FROM {source} row
        UNION ALL SELECT customer, unnest(alias_fingerprints), NULL FROM {source} row
    """,
    joining_query="""
        SELECT named AS email, customer, 'member' AS role, number, action
        FROM {source} row CROSS JOIN unnest(string_to_array(holders, '|')) named
    """,
    seals_keys=True,
    sealing_statements=(INSERT_SEALED_VALUES, INSERT_SEALED_ALIASES, REPLACE_SECRETS),
    also_created_queries=ALSO_CREATED_QUERIES,
    messages=CREDENTIAL_MESSAGES,
)

# --- Undoing --------------------------------------------------------------------------------------

# Conditions over changes. A key that was taken over got a new credential, though its change is no
# "create" but a "move": undo data says so.

IS_CREATED_CREDENTIAL = (
    f"target_type = '{CREDENTIAL_TARGET}' AND (action = 'create' OR undo_data ? 'taken')"
)
IS_CHANGED_CREDENTIAL = (
    f"target_type = '{CREDENTIAL_TARGET}'"
    " AND NOT (action = 'create' OR coalesce(undo_data ? 'taken', false))"
)
CREATED_CREDENTIAL_IDS = f"(SELECT target_id FROM {UNDONE_TABLE} WHERE {IS_CREATED_CREDENTIAL})"
CREATED_KEY_IDS = (
    f"(SELECT id FROM revcred_externalkey WHERE credential_id IN {CREATED_CREDENTIAL_IDS}"
    " UNION ALL SELECT jsonb_array_elements_text(undo_data -> 'aliases')::bigint"
    f" FROM {UNDONE_TABLE} WHERE {IS_CHANGED_CREDENTIAL} AND undo_data ? 'aliases')"
)

# Usage that undoing would pull the ground from: of created credentials, and of subscriptions that
# a credential was assigned to from a moment on.
CREDENTIAL_USAGE_QUERY = f"""
SELECT id AS number, target_id AS credential_id, NULL::bigint[] AS subscription_ids,
    NULL::timestamptz AS since
FROM {{changes}} c WHERE {IS_CREATED_CREDENTIAL}
UNION ALL
SELECT id, target_id, (
    SELECT array_agg(s.id) FROM revcred_subscription s
    WHERE s.external_key IN (SELECT jsonb_array_elements_text(after -> 'subscription'))
        AND NOT coalesce(before -> 'subscription', '[]') ? s.external_key
), (undo_data ->> 'at')::timestamptz
FROM {{changes}} c WHERE target_type = '{CREDENTIAL_TARGET}' AND undo_data ? 'at'
"""

REOPEN_TAKEN_KEYS = f"""
UPDATE revcred_externalkey x SET active_until = (undo_data ->> 'until')::timestamptz
FROM {UNDONE_TABLE}
WHERE target_type = '{CREDENTIAL_TARGET}' AND x.id = (undo_data ->> 'taken')::bigint
"""

RESTORE_CREDENTIALS = f"""
UPDATE revcred_credential e SET
    name = coalesce(before ->> 'name', e.name),
    environment = coalesce(before ->> 'environment', e.environment),
    tags = CASE
        WHEN before ? 'tags' THEN ARRAY(SELECT jsonb_array_elements_text(before -> 'tags'))
        ELSE e.tags
    END,
    expires_at = CASE
        WHEN after ? 'expires_at' THEN (before ->> 'expires_at')::timestamptz ELSE e.expires_at
    END
FROM {UNDONE_TABLE} WHERE {IS_CHANGED_CREDENTIAL} AND e.id = target_id
"""

# The old secret was sealed for this very row, so it opens there.
RESTORE_SECRETS = f"""
UPDATE revcred_sealedvalue v
SET secret = c.secret, secret_fingerprint = (undo_data ->> 'secret_fingerprint')::uuid
FROM {UNDONE_TABLE} c
WHERE {IS_CHANGED_CREDENTIAL} AND v.external_key_id = (undo_data ->> 'key')::bigint
"""

# Recognised by their moment. Those that the credential had before are restored below.
DELETE_ADDED_ASSIGNMENTS = f"""
DELETE FROM revcred_assignment a USING {UNDONE_TABLE}, revcred_subscription s
WHERE {IS_CHANGED_CREDENTIAL} AND a.credential_id = target_id AND s.id = a.subscription_id
    AND a.active_from = (undo_data ->> 'at')::timestamptz
    AND NOT coalesce(before -> 'subscription', '[]') ? s.external_key
"""

# Ended ones are still there and get their end back; deleted ones are inserted under their old id.
RESTORE_ASSIGNMENTS = f"""
INSERT INTO revcred_assignment (
    id, credential_id, customer_id, subscription_id, active_from, active_until, created_at
)
SELECT e.id, e.credential_id, e.customer_id, e.subscription_id, e.active_from, e.active_until,
    e.created_at
FROM {UNDONE_TABLE} CROSS JOIN LATERAL jsonb_populate_recordset(
    NULL::revcred_assignment, undo_data -> 'ended'
) e
WHERE {IS_CHANGED_CREDENTIAL} AND undo_data ? 'ended'
ON CONFLICT (id) DO UPDATE SET active_until = excluded.active_until
"""

DELETE_ADDED_HOLDERS = f"""
DELETE FROM revcred_credential_holders h USING {UNDONE_TABLE}, revcred_subscriber p
WHERE {IS_CHANGED_CREDENTIAL} AND after ? 'holders' AND h.credential_id = target_id
    AND p.id = h.subscriber_id
    AND NOT coalesce(before -> 'holders', '[]') ? lower(p.email)
"""

RESTORE_HOLDERS = f"""
INSERT INTO revcred_credential_holders (credential_id, subscriber_id)
SELECT target_id, p.id
FROM {UNDONE_TABLE} CROSS JOIN jsonb_array_elements_text(before -> 'holders') was_held (by)
JOIN revcred_subscriber p ON lower(p.email) = was_held.by
WHERE {IS_CHANGED_CREDENTIAL} AND after ? 'holders' AND before ? 'holders'
ON CONFLICT DO NOTHING
"""

UNDO_CREDENTIALS = UndoPlan(
    target=CREDENTIAL_TARGET,
    table="revcred_credential",
    usage_query=CREDENTIAL_USAGE_QUERY,
    # Rows that refer to the credential go before it, and new keys before old ones are reopened.
    statements=(
        f"DELETE FROM revcred_credential_holders WHERE credential_id IN {CREATED_CREDENTIAL_IDS}",
        f"DELETE FROM revcred_keyuse WHERE external_key_id IN {CREATED_KEY_IDS}",
        f"DELETE FROM revcred_sealedvalue WHERE external_key_id IN {CREATED_KEY_IDS}",
        f"DELETE FROM revcred_externalkey WHERE id IN {CREATED_KEY_IDS}",
        f"DELETE FROM revcred_assignment WHERE credential_id IN {CREATED_CREDENTIAL_IDS}",
        f"DELETE FROM revcred_suspension WHERE credential_id IN {CREATED_CREDENTIAL_IDS}",
        f"DELETE FROM revcred_credential WHERE id IN {CREATED_CREDENTIAL_IDS}",
        REOPEN_TAKEN_KEYS,
        RESTORE_CREDENTIALS,
        RESTORE_SECRETS,
        DELETE_ADDED_ASSIGNMENTS,
        RESTORE_ASSIGNMENTS,
        DELETE_ADDED_HOLDERS,
        RESTORE_HOLDERS,
    ),
)
