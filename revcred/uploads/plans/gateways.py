"""Plan for lists of gateways. A gateway is identified by its name; no list issues a token."""

from django.utils.translation import gettext_noop

from revcred.models import Gateway
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

GATEWAY_TABLE = "revcred_gateway"
GATEWAY_TARGET = "revcred.gateway"

# Column → its type, and the value of a new gateway whose cell is blank, as SQL.
PLAIN_SETTINGS = {
    "kind": ("text", "'other'"),
    "suspended_at": ("timestamptz", "NULL"),
    "accepted_days": ("integer", "NULL"),
    "ids_from_callers": (
        "boolean",
        "coalesce(kind, 'other') IN ({})".format(
            ", ".join(f"'{kind.value}'" for kind in sorted(Gateway.KINDS_WITH_IDS_FROM_CALLERS))
        ),
    ),
    "event_subject": ("text", "'key'"),
    "check_mode": ("text", "'off'"),
    "key_place": ("text", "'header'"),
    "key_name": ("text", "'X-Api-Key'"),
    "check_refuses_over_quota": ("boolean", "false"),
    "check_fails_open": ("boolean", "false"),
    "signs_claims": ("boolean", "false"),
}
SETTINGS_OF_SEVERAL = ("event_elements", "counted_records", "kept_attributes")
ALL_SETTINGS = (*PLAIN_SETTINGS, *SETTINGS_OF_SEVERAL)

GATEWAY_LOOKUP = f"""
SELECT
    row.*,
    e.id AS target_id,
    {", ".join(f"e.{name} AS old_{name}" for name in PLAIN_SETTINGS)},
    {", ".join(f"e.{name}::text[] AS old_{name}" for name in SETTINGS_OF_SEVERAL)},
    CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row
FROM {{source}} row
LEFT JOIN twice t ON t.same = row.name
LEFT JOIN LATERAL (
    SELECT * FROM {GATEWAY_TABLE} x WHERE x.name = row.name OFFSET 0
) e ON true
"""

INSERT_GATEWAYS = f"""
INSERT INTO {GATEWAY_TABLE} (id, name, {", ".join(ALL_SETTINGS)}, created_at)
SELECT
    new_id, name,
    {", ".join(f"coalesce({name}, {default})" for name, (_, default) in PLAIN_SETTINGS.items())},
    {", ".join(f"coalesce(string_to_array({n}, '|'), '{{}}')" for n in SETTINGS_OF_SEVERAL)},
    clock_timestamp()
FROM {CHUNK_TABLE} WHERE is_new ORDER BY number
"""

UPDATE_GATEWAYS = f"""
UPDATE {GATEWAY_TABLE} e SET
    -- a blank cell changes nothing
    {", ".join(f"{name} = coalesce(row.{name}, e.{name})" for name in PLAIN_SETTINGS)},
    {
    ", ".join(
        f"{name} = coalesce(string_to_array(row.{name}, '|'), e.{name})"
        for name in SETTINGS_OF_SEVERAL
    )
}
FROM {CHUNK_TABLE} row WHERE e.id = target_id
"""

# Values that are NULL in `before` are stripped from it: only `after` shows that they changed.
RESTORE_GATEWAYS = f"""
UPDATE {GATEWAY_TABLE} e SET
    {
    ", ".join(
        f"{name} = CASE WHEN after ? '{name}' THEN (before ->> '{name}')::{of_type}"
        f" ELSE e.{name} END"
        for name, (of_type, _) in PLAIN_SETTINGS.items()
    )
},
    {
    ", ".join(
        f"{name} = CASE WHEN before ? '{name}'"
        f" THEN ARRAY(SELECT jsonb_array_elements_text(before -> '{name}')) ELSE e.{name} END"
        for name in SETTINGS_OF_SEVERAL
    )
}
FROM {undone_changes_source(GATEWAY_TARGET, "update")} WHERE e.id = target_id
"""

GATEWAYS_PLAN = ListPlan(
    target=GATEWAY_TARGET,
    title_column="name",
    query=plan_query(
        GATEWAY_LOOKUP,
        same="name",
        compares={
            **{name: (name, f"old_{name}") for name in PLAIN_SETTINGS},
            **{
                name: (f"string_to_array({name}, '|')", f"old_{name}")
                for name in SETTINGS_OF_SEVERAL
            },
        },
        effects={"create": "is_new", "update": "NOT is_new AND after <> '{{}}'"},
        problems=(),
    ),
    id_sequences={"new_id": "revcred_gateway_id_seq"},
    lock=lock_targets_statement(GATEWAY_TABLE),
    write=(INSERT_GATEWAYS, UPDATE_GATEWAYS, record_changes_statement(GATEWAY_TARGET)),
    messages={"name:twice": gettext_noop("The same name is also in {other_row}.")},
)

UNDO_GATEWAYS = UndoPlan(
    target=GATEWAY_TARGET,
    table=GATEWAY_TABLE,
    obstacle_queries={
        "Keys count only at the gateway": depended_on_query(
            GATEWAY_TARGET,
            "revcred_externalkey k",
            "revcred.credential",
            "k.credential_id",
            "k.gateway_id",
        ),
    },
    gateways_query=f"""
        SELECT id AS number, target_id AS gateway_id
        FROM {{changes}} c WHERE target_type = '{GATEWAY_TARGET}' AND action = 'create'
    """,
    statements=(delete_created_statement(GATEWAY_TABLE, GATEWAY_TARGET), RESTORE_GATEWAYS),
)
