"""Plan for lists of sources and their path rules: each row is a path rule, or only its source.

A path rule is identified by how it compares and by its text, a source by its external key. Sources
are created before the first chunk, since several rows may be about one of them.
"""

from django.core.exceptions import ValidationError
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext_noop

from revcred.models import AuditVerb, PathRule
from revcred.uploads.plans.dependents import depended_on_query
from revcred.uploads.plans.plan import (
    CHUNK_TABLE,
    ListPlan,
    UndoPlan,
    decided_rows,
    delete_created_statement,
    insert_and_record_statement,
    undone_changes_source,
)

SOURCE_TABLE, SOURCE_TARGET = "revcred_source", "revcred.source"
PATH_RULE_TABLE, PATH_RULE_TARGET = "revcred_pathrule", "revcred.pathrule"
# Each is tried on long paths, for up to half a second.
MAX_EXPRESSIONS_PER_LIST = 500
TOO_MANY_EXPRESSIONS = (
    f"A list may have {MAX_EXPRESSIONS_PER_LIST:,} different expressions. Upload the others in"
    " another list."
)


SOURCES_QUERY = f"""
-- in: rows; out: path rules that several rows have, and sources without a path in several rows
WITH twice AS MATERIALIZED (
    SELECT key, kind, path, min(number) AS first, max(number) AS last
    FROM (
        SELECT
            number, path, CASE WHEN path IS NULL THEN external_key END AS key,
            CASE WHEN path IS NOT NULL THEN coalesce(match, 'begins_with') END AS kind
        -- A row whose path cannot be read is not about its source only.
        FROM {{source}} row WHERE invalid IS NULL
    ) d
    GROUP BY key, kind, path HAVING count(*) > 1
), named AS MATERIALIZED (
    -- in: rows; out: external keys with several names
    SELECT external_key AS key FROM {{source}} row
    GROUP BY external_key HAVING count(DISTINCT name) > 1
), seen AS (
    -- in: rows; out: each with the source and the path rule that exist
    SELECT
        row.*,
        e.id AS source_id,
        e.name AS old_name,
        r.id AS rule_id,
        r.source_id AS source_of_rule,
        -- A source that this list created before its first chunk is as new as at the check.
        e.id IS NOT NULL AND NOT EXISTS (
            SELECT FROM revcred_uploadchange c
            WHERE c.upload_id = %(upload)s AND c.target_type = '{SOURCE_TARGET}'
                AND c.target_id = e.id AND c.action = 'create'
        ) AS existed,
        EXISTS (SELECT FROM named WHERE named.key = row.external_key) AS has_names,
        t.first, t.last,
        CASE WHEN row.number = t.first THEN t.last ELSE t.first END AS other_row
    FROM {{source}} row
    LEFT JOIN twice t ON row.invalid IS NULL AND t.path IS NOT DISTINCT FROM row.path AND CASE
        WHEN row.path IS NULL THEN t.key = row.external_key
        ELSE t.kind = coalesce(row.match, 'begins_with')
    END
    LEFT JOIN {SOURCE_TABLE} e ON e.external_key = row.external_key
    LEFT JOIN {PATH_RULE_TABLE} r
        ON r.match = coalesce(row.match, 'begins_with') AND r.text = row.path
    OFFSET 0
), compared AS (
    -- in: rows with what exists of them; out: the same with what would change, and problems
    SELECT
        seen.*,
        CASE WHEN path IS NULL THEN NOT existed ELSE rule_id IS NULL END AS is_new,
        CASE WHEN path IS NULL THEN CASE WHEN existed THEN source_id END ELSE rule_id END
            AS target_id,
        CASE
            WHEN path IS NULL AND existed AND name <> old_name
            THEN jsonb_build_object('name', old_name)
            WHEN path IS NULL AND existed OR rule_id IS NOT NULL THEN '{{{{}}}}'::jsonb
        END AS before,
        CASE
            WHEN path IS NULL AND existed AND name <> old_name THEN jsonb_build_object('name', name)
            WHEN path IS NULL AND existed OR rule_id IS NOT NULL THEN '{{{{}}}}'::jsonb
        END AS after,
        array_remove(ARRAY[
            CASE WHEN other_row IS NOT NULL AND %(duplicates)s = 'reject' THEN
                CASE WHEN path IS NULL THEN 'external_key:twice' ELSE 'path:twice' END
            END,
            CASE WHEN has_names THEN 'name:differs' END,
            CASE WHEN path IS NOT NULL AND existed AND name <> old_name THEN 'name:another' END,
            CASE WHEN path IS NULL AND match IS NOT NULL THEN 'path:missing' END,
            CASE WHEN rule_id IS NOT NULL AND source_of_rule IS DISTINCT FROM source_id
                THEN 'path:of_another' END
        ], NULL) AS problems,
        CASE %(duplicates)s
            WHEN 'first' THEN number > first WHEN 'last' THEN number < last ELSE false
        END IS TRUE AS is_superseded
    FROM seen OFFSET 0
)
{
    decided_rows(
        {
            "add_path_rule": "path IS NOT NULL AND rule_id IS NULL",
            "update": "existed AND (path IS NOT NULL AND rule_id IS NULL OR after <> '{{}}')",
        }
    )
}
"""

# A source whose rows give no name gets its external key as its name.
INSERT_SOURCES = insert_and_record_statement(
    SOURCE_TARGET,
    f"""
    INSERT INTO {SOURCE_TABLE} (external_key, name)
    SELECT external_key, coalesce(max(name), external_key)
    FROM {{source}} row GROUP BY external_key ORDER BY min(number)
    ON CONFLICT (external_key) DO NOTHING
    """,
)

SOURCES_ALSO_CREATED = f"""
SELECT count(DISTINCT external_key) FROM {{source}} row
WHERE NOT EXISTS (SELECT FROM {SOURCE_TABLE} e WHERE e.external_key = row.external_key)
"""

RENAME_SOURCES = f"""
UPDATE {SOURCE_TABLE} e SET name = row.name
FROM {CHUNK_TABLE} row WHERE row.path IS NULL AND e.id = target_id
"""

INSERT_PATH_RULES = f"""
INSERT INTO {PATH_RULE_TABLE} (id, source_id, match, text, switched_off)
SELECT new_id, source_id, coalesce(match, 'begins_with'), path, false
FROM {CHUNK_TABLE} WHERE path IS NOT NULL AND is_new ORDER BY number
"""

# Sources that were created are recorded already.
RECORD_SOURCE_CHANGES = f"""
INSERT INTO revcred_uploadchange (upload_id, row, action, target_type, target_id, before, after)
SELECT
    %(upload)s, number, action,
    CASE WHEN path IS NULL THEN '{SOURCE_TARGET}' ELSE '{PATH_RULE_TARGET}' END,
    CASE WHEN is_new THEN new_id ELSE target_id END, before, after
FROM {CHUNK_TABLE} WHERE path IS NOT NULL OR NOT is_new ORDER BY number
"""

# A call belongs to one source at most, so a new source concerns every product that has any.
SOURCES_AFFECTED_SINCE = f"""
SELECT min(s.active_from)
FROM revcred_subscription s JOIN revcred_product p ON p.id = s.product_id
WHERE p.restricted AND EXISTS (SELECT FROM {CHUNK_TABLE} WHERE is_new)
"""


def reject_bad_path_rules(cursor: CursorWrapper, incoming: str) -> None:
    """Reject the rows of the incoming table whose paths the page of a source would not take."""
    cursor.execute(
        f"""
        SELECT DISTINCT coalesce(match, 'begins_with'), path FROM {incoming}
        WHERE path IS NOT NULL AND (
            match = 'regex' OR position('?' IN path) > 0 OR position('://' IN path) > 0
        )
        """
    )
    expressions_tried = 0
    for match, text in cursor.fetchall():
        if match == PathRule.Match.REGEX:
            expressions_tried += 1
        message = (
            TOO_MANY_EXPRESSIONS
            if expressions_tried > MAX_EXPRESSIONS_PER_LIST
            else _fault_of_path_rule(match, text)
        )
        if message:
            cursor.execute(
                f"""
                UPDATE {incoming} SET invalid = coalesce(invalid, '[]')
                    || jsonb_build_array(jsonb_build_array('path', left(path, 60), %s::text))
                WHERE coalesce(match, 'begins_with') = %s AND path = %s
                """,
                [message, match, text],
            )


def _fault_of_path_rule(match: str, text: str) -> str:
    try:
        PathRule(match=match, text=text).clean()
    except ValidationError as error:
        return " ".join(error.messages)
    return ""


SOURCES_PLAN = ListPlan(
    target=SOURCE_TARGET,
    title_column="external_key",
    inspect=reject_bad_path_rules,
    query=SOURCES_QUERY,
    id_sequences={"new_id": "revcred_pathrule_id_seq"},
    # In order of id, so that two transactions that lock the same things cannot deadlock.
    lock=f"""
        SELECT id FROM {SOURCE_TABLE}
        WHERE external_key IN (SELECT external_key FROM {{source}} row)
        ORDER BY id FOR NO KEY UPDATE
    """,
    prepare=(INSERT_SOURCES,),
    write=(RENAME_SOURCES, INSERT_PATH_RULES, RECORD_SOURCE_CHANGES),
    affected_since_query=SOURCES_AFFECTED_SINCE,
    also_created_queries={"sources": SOURCES_ALSO_CREATED},
    messages={
        "external_key:twice": gettext_noop(
            "The same source without a path is also in {other_row}."
        ),
        "path:twice": gettext_noop("The same path is also in {other_row}."),
        "path:missing": gettext_noop("It says how to compare a path, and has no path."),
        "path:of_another": gettext_noop("This path is another source's already."),
        "name:differs": "Several rows of this source have different names.",
        "name:another": gettext_noop(
            "The source is called otherwise here. A row without a path renames it."
        ),
    },
)

RESTORE_SOURCES = f"""
UPDATE {SOURCE_TABLE} e SET name = coalesce(before ->> 'name', e.name)
FROM {undone_changes_source(SOURCE_TARGET, "update")} WHERE e.id = target_id
"""

UNDO_PATH_RULES = UndoPlan(
    target=PATH_RULE_TARGET,
    table=PATH_RULE_TABLE,
    # Rules are changed on the page of their source, which is what the audit names.
    obstacle_queries={
        "Somebody has changed its source since": f"""
            SELECT c.id FROM {{changes}} c JOIN {PATH_RULE_TABLE} r ON r.id = c.target_id
            WHERE c.target_type = '{PATH_RULE_TARGET}' AND EXISTS (
                SELECT FROM revcred_auditevent e
                WHERE e.target_type = '{SOURCE_TARGET}' AND e.target_id = r.source_id
                    AND NOT e.details ? 'upload' AND e.verb <> '{AuditVerb.SWITCHED_OFF.value}'
                    AND e.at > (SELECT applied_at FROM revcred_upload u WHERE u.id = c.upload_id)
            )
        """
    },
    statements=(delete_created_statement(PATH_RULE_TABLE, PATH_RULE_TARGET),),
)

UNDO_SOURCES = UndoPlan(
    target=SOURCE_TARGET,
    table=SOURCE_TABLE,
    obstacle_queries={
        "The source has other path rules": depended_on_query(
            SOURCE_TARGET, "revcred_pathrule r", PATH_RULE_TARGET, "r.id", "r.source_id"
        ),
        "Products count calls to the source": depended_on_query(
            SOURCE_TARGET,
            "revcred_product_sources l",
            "revcred.product",
            "l.product_id",
            "l.source_id",
        ),
    },
    statements=(delete_created_statement(SOURCE_TABLE, SOURCE_TARGET), RESTORE_SOURCES),
)
