"""Plan for lists of customers. A customer is identified by its external key."""

from django.utils.translation import gettext_noop

from revcred.uploads.plans.dependents import depended_on_query
from revcred.uploads.plans.plan import (
    CHUNK_TABLE,
    ListPlan,
    UndoPlan,
    delete_created_statement,
    lock_targets_statement,
    plan_query,
    record_changes_statement,
    undone_changes_source,
)

CUSTOMER_TABLE = "revcred_customer"
CUSTOMER_TARGET = "revcred.customer"

CUSTOMER_LOOKUP = f"""
SELECT
    row.*,
    e.id AS target_id,
    e.name AS old_name,
    e.email_domains::text[] AS old_email_domains,
    e.tags::text[] AS old_tags,
    -- a cell that takes all tags away is a separator
    array_remove(string_to_array(row.tags, '|'), '') AS given_tags,
    e.metadata AS old_metadata,
    CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row
FROM {{source}} row
LEFT JOIN twice t ON t.same = row.external_key
LEFT JOIN LATERAL (
    SELECT * FROM {CUSTOMER_TABLE} x WHERE x.external_key = row.external_key OFFSET 0
) e ON true
"""

INSERT_CUSTOMERS = f"""
INSERT INTO {CUSTOMER_TABLE} (id, name, external_key, email_domains, tags, metadata, created_at)
SELECT
    new_id, name, external_key, coalesce(string_to_array(email_domains, '|'), '{{}}'),
    coalesce(given_tags, '{{}}'), coalesce(metadata, '{{}}'), clock_timestamp()
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

UPDATE_CUSTOMERS = f"""
UPDATE {CUSTOMER_TABLE} e SET
    name = row.name,
    -- a blank cell changes nothing
    email_domains = coalesce(string_to_array(row.email_domains, '|'), e.email_domains),
    tags = coalesce(row.given_tags, e.tags),
    metadata = coalesce(row.metadata, e.metadata)
FROM {CHUNK_TABLE} row WHERE e.id = target_id
"""

# `before` holds only the fields that the upload changed; others keep what they have now.
RESTORE_CUSTOMERS = f"""
UPDATE {CUSTOMER_TABLE} e SET
    name = coalesce(before ->> 'name', e.name),
    email_domains = CASE WHEN before ? 'email_domains'
        THEN ARRAY(SELECT jsonb_array_elements_text(before -> 'email_domains'))
        ELSE e.email_domains END,
    tags = CASE WHEN before ? 'tags'
        THEN ARRAY(SELECT jsonb_array_elements_text(before -> 'tags')) ELSE e.tags END,
    metadata = coalesce(before -> 'metadata', e.metadata)
FROM {undone_changes_source(CUSTOMER_TARGET, "update")} WHERE e.id = target_id
"""

CUSTOMERS_PLAN = ListPlan(
    target=CUSTOMER_TARGET,
    title_column="external_key",
    query=plan_query(
        CUSTOMER_LOOKUP,
        same="external_key",
        compares={
            "name": ("name", "old_name"),
            "email_domains": ("string_to_array(email_domains, '|')", "old_email_domains"),
            "tags": ("given_tags", "old_tags"),
            "metadata": ("metadata", "old_metadata"),
        },
        effects={"create": "is_new", "update": "NOT is_new AND after <> '{{}}'"},
        problems=(),
    ),
    id_sequences={"new_id": "revcred_customer_id_seq"},
    lock=lock_targets_statement(CUSTOMER_TABLE),
    write=(INSERT_CUSTOMERS, UPDATE_CUSTOMERS, record_changes_statement(CUSTOMER_TARGET)),
    messages={"external_key:twice": gettext_noop("The same external key is also in {other_row}.")},
)

UNDO_CUSTOMERS = UndoPlan(
    target=CUSTOMER_TARGET,
    table=CUSTOMER_TABLE,
    obstacle_queries={
        "The customer has other credentials": depended_on_query(
            CUSTOMER_TARGET, "revcred_credential k", "revcred.credential", "k.id", "k.customer_id"
        ),
        "The customer has other subscriptions": depended_on_query(
            CUSTOMER_TARGET,
            "revcred_subscription s",
            "revcred.subscription",
            "s.id",
            "s.customer_id",
        ),
        "The customer has other members": depended_on_query(
            CUSTOMER_TARGET, "revcred_membership m", "revcred.membership", "m.id", "m.customer_id"
        ),
    },
    statements=(delete_created_statement(CUSTOMER_TABLE, CUSTOMER_TARGET), RESTORE_CUSTOMERS),
)
