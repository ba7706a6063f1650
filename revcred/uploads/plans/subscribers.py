"""Plan for lists of subscribers.

A subscriber is identified by the e-mail address. A list makes people members of customers; it
never ends a membership.
"""

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

SUBSCRIBER_TABLE = "revcred_subscriber"
SUBSCRIBER_TARGET = "revcred.subscriber"
MEMBERSHIP_TARGET = "revcred.membership"

# The same rule as `actions.subscribers.check_login_available`: a login belongs to one person, so
# a new subscriber could not sign in with this address.
LOGIN_OF_ANOTHER = """(
    SELECT CASE
        WHEN u.is_staff OR u.is_superuser THEN 'email:of_staff'
        WHEN EXISTS (SELECT FROM revcred_subscriber x WHERE x.user_id = u.id)
        THEN 'email:of_another'
    END
    FROM revcred_user u WHERE lower(u.email) = {email}
)"""

NAMED_CUSTOMERS_CTES = """
customers AS MATERIALIZED (
    -- in: different texts of `customer`; out: each with the customers that it names
    SELECT
        given,
        array_agg(named::text ORDER BY named COLLATE "C") AS names,
        array_agg(c.id ORDER BY named COLLATE "C") AS ids,
        bool_or(c.id IS NULL) AS some_unknown
    FROM (SELECT DISTINCT customer AS given FROM {source} row WHERE customer IS NOT NULL) d
    CROSS JOIN unnest(string_to_array(given, '|')) named
    LEFT JOIN revcred_customer c ON c.external_key = named
    GROUP BY given
), same_external_key AS MATERIALIZED (
    -- in: rows; out: external keys that several rows have
    SELECT external_key, min(number) AS first, max(number) AS last
    FROM {source} row WHERE external_key IS NOT NULL GROUP BY external_key HAVING count(*) > 1
),
"""

SUBSCRIBER_LOOKUP = f"""
SELECT
    row.*,
    e.id AS target_id,
    e.name AS old_name,
    e.external_key AS old_external_key,
    customers.ids AS customer_ids,
    customers.some_unknown,
    -- customers that the person would belong to, and those that the person belongs to now
    CASE WHEN customer IS NOT NULL THEN ARRAY(
        SELECT each FROM unnest(customers.names || belongs.names) each
        GROUP BY each ORDER BY each COLLATE "C"
    ) END AS customer_names,
    belongs.names AS old_customer_names,
    customers.ids IS NOT NULL AND NOT customers.ids <@ coalesce(belongs.ids, '{{{{}}}}')
        AS is_joining,
    CASE WHEN role <> ALL (belongs.roles) THEN role END AS new_role,
    belongs.roles[1] AS old_role,
    coalesce(
        CASE WHEN row.number = t.first THEN t.last ELSE t.first END,
        CASE WHEN row.number = k.first THEN k.last ELSE k.first END
    ) AS other_row,
    t.first IS NULL AND k.first IS NOT NULL AS is_external_key_twice
FROM {{source}} row
LEFT JOIN twice t ON t.same = row.email
LEFT JOIN same_external_key k ON k.external_key = row.external_key
LEFT JOIN customers ON customers.given = row.customer
LEFT JOIN LATERAL (
    SELECT * FROM {SUBSCRIBER_TABLE} x WHERE lower(x.email) = row.email OFFSET 0
) e ON true
LEFT JOIN LATERAL (
    SELECT
        coalesce(array_agg(c.external_key::text ORDER BY c.external_key COLLATE "C"), '{{{{}}}}')
            AS names,
        array_agg(c.id) AS ids,
        array_agg(m.role::text) FILTER (WHERE c.id = ANY (customers.ids) AND m.role <> row.role)
            AS roles
    FROM revcred_membership m JOIN revcred_customer c ON c.id = m.customer_id
    WHERE m.subscriber_id = e.id AND row.customer IS NOT NULL
) belongs ON true
"""

INSERT_SUBSCRIBERS = f"""
INSERT INTO {SUBSCRIBER_TABLE} (id, email, name, external_key, created_at)
SELECT new_id, email, coalesce(name, ''), external_key, clock_timestamp()
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

UPDATE_SUBSCRIBERS = f"""
UPDATE {SUBSCRIBER_TABLE} e SET
    name = coalesce(row.name, e.name),
    external_key = coalesce(row.external_key, e.external_key)
FROM {CHUNK_TABLE} row WHERE e.id = target_id AND after ?| ARRAY['name', 'external_key']
"""

# + 0 keeps the planner from going through all members of a large customer for each row.
UPDATE_ROLES = f"""
WITH other AS (
    -- in: rows of the chunk; out: memberships with another role, locked in one order
    SELECT m.id, m.role AS old, row.role AS new, row.number
    FROM {CHUNK_TABLE} row JOIN revcred_membership m
        ON m.subscriber_id = target_id AND m.customer_id + 0 = ANY (customer_ids)
    WHERE after ? 'role' AND m.role <> row.role
    ORDER BY m.id
    FOR NO KEY UPDATE OF m
), changed AS (
    -- in: these memberships; out: nothing, the statement below records them
    UPDATE revcred_membership m SET role = other.new FROM other WHERE m.id = other.id
)
INSERT INTO revcred_uploadchange (upload_id, row, action, target_type, target_id, before, after)
SELECT
    %(upload)s, number, 'update', '{MEMBERSHIP_TARGET}', id, jsonb_build_object('role', old),
    jsonb_build_object('role', new)
FROM other ORDER BY id
"""

# People who are members already keep their membership: ON CONFLICT DO NOTHING returns no row, so
# it is not recorded, and undo does not delete it.
INSERT_MEMBERSHIPS = insert_and_record_statement(
    MEMBERSHIP_TARGET,
    f"""
    INSERT INTO revcred_membership (customer_id, subscriber_id, role)
    SELECT
        joined, CASE WHEN is_new THEN new_id ELSE target_id END, coalesce(role, 'member')
    FROM {CHUNK_TABLE} CROSS JOIN unnest(customer_ids) joined
    ORDER BY number
    ON CONFLICT DO NOTHING
    """,
)

# A customer that rows only name gets its external key as its name.
INSERT_CUSTOMERS_OF_SUBSCRIBERS = insert_and_record_statement(
    "revcred.customer",
    """
    INSERT INTO revcred_customer (name, external_key, email_domains, tags, metadata, created_at)
    SELECT DISTINCT named, named, ARRAY[]::text[], ARRAY[]::text[], '{{}}'::jsonb, %(now)s
    FROM {source} row CROSS JOIN unnest(string_to_array(customer, '|')) named
    WHERE %(create_customers)s
    ON CONFLICT (external_key) DO NOTHING
    """,
)

RESTORE_SUBSCRIBERS = f"""
UPDATE {SUBSCRIBER_TABLE} e SET
    name = coalesce(before ->> 'name', e.name),
    external_key = CASE
        WHEN after ? 'external_key' THEN before ->> 'external_key' ELSE e.external_key
    END
FROM {undone_changes_source(SUBSCRIBER_TARGET, "update")} WHERE e.id = target_id
"""

COMPLETE_NAMES = """
UPDATE {source} row SET name = concat_ws(' ', first_name, last_name)
WHERE name IS NULL AND (first_name IS NOT NULL OR last_name IS NOT NULL)
"""

SUBSCRIBERS_PLAN = ListPlan(
    target=SUBSCRIBER_TARGET,
    title_column="email",
    query=plan_query(
        SUBSCRIBER_LOOKUP,
        ctes=NAMED_CUSTOMERS_CTES,
        same="email",
        compares={
            "name": ("name", "old_name"),
            "external_key": ("external_key", "old_external_key"),
            "customer": ("customer_names", "old_customer_names"),
            "role": ("new_role", "old_role"),
        },
        effects={
            "create": "is_new",
            "update": "after ?| ARRAY['name', 'external_key']",
            "join": "is_joining AND role IS DISTINCT FROM 'owner'",
            "join_as_owner": "is_joining AND role = 'owner'",
            "change_role": "after ? 'role'",
        },
        # Expressions of the query, tested in the order of the columns.
        problems=(
            "CASE WHEN is_external_key_twice THEN 'external_key:twice' END",
            f"""
            CASE WHEN external_key IS NOT NULL AND EXISTS (
                SELECT FROM {SUBSCRIBER_TABLE} x
                WHERE x.external_key = seen.external_key
                    AND (x.id <> target_id OR target_id IS NULL)
            ) THEN 'external_key:in_use' END
            """,
            "CASE WHEN some_unknown AND NOT %(create_customers)s THEN 'customer:unknown' END",
            f"CASE WHEN target_id IS NULL THEN {LOGIN_OF_ANOTHER.format(email='seen.email')} END",
            """
            CASE
                WHEN is_joining AND old_customer_names <> '{{}}' AND NOT %(people_of_others)s
                THEN 'customer:of_another'
            END
            """,
        ),
    ),
    id_sequences={"new_id": "revcred_subscriber_id_seq"},
    lock=lock_targets_statement(SUBSCRIBER_TABLE),
    resolve=(COMPLETE_NAMES,),
    prepare=(INSERT_CUSTOMERS_OF_SUBSCRIBERS,),
    write=(
        INSERT_SUBSCRIBERS,
        UPDATE_SUBSCRIBERS,
        UPDATE_ROLES,
        INSERT_MEMBERSHIPS,
        record_changes_statement(SUBSCRIBER_TARGET),
    ),
    joining_query="""
        SELECT
            email, named AS customer, coalesce(role, 'member') AS role, number, action
        FROM {source} row CROSS JOIN unnest(string_to_array(customer, '|')) named
    """,
    also_created_queries={
        "customers": """
            SELECT count(DISTINCT named)
            FROM {source} row CROSS JOIN unnest(string_to_array(customer, '|')) named
            WHERE %(create_customers)s AND NOT EXISTS (
                SELECT FROM revcred_customer c WHERE c.external_key = named
            )
        """
    },
    messages={
        "email:of_staff": gettext_noop("A staff member signs in with this address."),
        "email:of_another": gettext_noop("Another subscriber signs in with this address."),
        "email:twice": gettext_noop("The same address is also in {other_row}."),
        "external_key:twice": gettext_noop("The same external key is also in {other_row}."),
        "external_key:in_use": gettext_noop("Another subscriber has this external key."),
        "customer:unknown": gettext_noop("No customer has this external key."),
        "customer:of_another": gettext_noop(
            "This person belongs to another customer and would become a member of this one, too."
            " To permit this, allow people of other customers."
        ),
    },
)

UNDO_SUBSCRIBERS = UndoPlan(
    target=SUBSCRIBER_TARGET,
    table=SUBSCRIBER_TABLE,
    obstacle_queries={
        "The subscriber has been invited": depended_on_query(
            SUBSCRIBER_TARGET,
            f"{SUBSCRIBER_TABLE} s",
            "revcred.user",
            "s.user_id",
            "s.id",
            "s.user_id IS NOT NULL",
        ),
        "The subscriber belongs to other customers": depended_on_query(
            SUBSCRIBER_TARGET, "revcred_membership m", MEMBERSHIP_TARGET, "m.id", "m.subscriber_id"
        ),
        "The subscriber holds other credentials": depended_on_query(
            SUBSCRIBER_TARGET,
            "revcred_credential_holders h",
            "revcred.credential",
            "h.credential_id",
            "h.subscriber_id",
        ),
    },
    statements=(delete_created_statement(SUBSCRIBER_TABLE, SUBSCRIBER_TARGET), RESTORE_SUBSCRIBERS),
)

# Memberships are changes of their own, so that undo can keep one and take back another.
UNDO_MEMBERSHIPS = UndoPlan(
    target=MEMBERSHIP_TARGET,
    table="revcred_membership",
    obstacle_queries={
        "The subscriber holds other credentials of that customer": depended_on_query(
            MEMBERSHIP_TARGET,
            """
            revcred_membership m
            JOIN revcred_credential_holders h ON h.subscriber_id = m.subscriber_id
            JOIN revcred_credential k ON k.id = h.credential_id AND k.customer_id = m.customer_id
            """,
            "revcred.credential",
            "k.id",
            "m.id",
        )
    },
    statements=(
        delete_created_statement("revcred_membership", MEMBERSHIP_TARGET),
        f"""
        UPDATE revcred_membership m SET role = before ->> 'role'
        FROM {undone_changes_source(MEMBERSHIP_TARGET, "update")} WHERE m.id = target_id
        """,
    ),
)
