"""What a kind of list is to checking, applying and undoing: statements, and words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# The rows of one chunk, judged again under lock; gone at the end of its transaction.
CHUNK_TABLE = "upload_chunk"
# What was sealed for them.
SEALED_TABLE = "upload_sealed"
# Of the changes of an upload, those that are undone together.
UNDONE_TABLE = "upload_undone"

CHANGED_SINCE_CHECK_CODE = ":meanwhile"


@dataclass(frozen=True, kw_only=True)
class ListPlan:
    """`plan_query` is a SELECT over the rows in {source}: what each says, and what it would do.

    It has `number`, the facts, and `action`, `is_new`, `target_id` of what is there already,
    `before` and `after` of it, `refusals` ("column:code"), `other_row`, `was` (all it was judged
    by), `effects` (see `uploads.rights`), and what `write` asks for. `keeps` are columns that are
    kept with the row besides, `made` such with numbers that new rows are given, each with its
    sequence.

    Statements in `lock_targets_statement` and `prepare` read {source}, those in `write` the chunk.
    `since` says from
    when what has been attributed already may be wrong then. `adds` count what `prepare` will add,
    `waits` asks for what transactions in quarantine may name. `joins` asks of {source} who becomes
    a member: email, customer (its external key), role, number, action.
    """

    target: str
    title: str
    judged: str
    keeps: tuple[str, ...] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    lock: str
    prepare: tuple[str, ...] = ()
    write: tuple[str, ...]
    since: str = "SELECT NULL::timestamptz"
    waits: str = ""
    joins: str = ""
    seals: bool = False
    adds: Mapping[str, str] = field(default_factory=dict)
    messages: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class UndoPlan:
    """How changes of one kind of thing are undone: `statements` over those of a chunk.

    `depends` are queries for the `id` of changes that something else depends on, each under what
    it is; they read {changes}, and pass over what is the upload's as well if that is its {own}.
    `uses` asks what usage may hang on.
    """

    target: str
    table: str
    depends: Mapping[str, str] = field(default_factory=dict)
    uses: str = ""
    statements: tuple[str, ...]


def plan_query(
    seen: str,
    *,
    same: str,
    compares: Mapping[str, tuple[str, str]],
    refuses: tuple[str, ...],
    effects: Mapping[str, str],
    also: str = "",
) -> str:
    """The SELECT of a kind whose things are told by one column, `same`.

    `seen` finds what is there already, and joins `twice`; `also` are further WITH queries. A
    blank cell changes nothing: of each name in `compares`, the new value counts if it is one.
    `effects` are conditions, by what a row does if it holds.
    """

    def changed(value: int) -> str:
        return ", ".join(
            f"'{name}', CASE WHEN {pair[0]} IS DISTINCT FROM {pair[1]} AND {pair[0]} IS NOT NULL "
            f"THEN to_jsonb({pair[value]}) END"
            for name, pair in compares.items()
        )

    return f"""
WITH twice AS MATERIALIZED (
    SELECT {same} AS same, min(number) AS first, max(number) AS last
    FROM {{source}} row GROUP BY {same} HAVING count(*) > 1
), {also} seen AS (
    {seen} OFFSET 0
), compared AS (
    SELECT
        seen.*,
        target_id IS NULL AS is_new,
        CASE WHEN target_id IS NOT NULL THEN
            jsonb_strip_nulls(jsonb_build_object({changed(1)}))
        END AS before,
        CASE WHEN target_id IS NOT NULL THEN
            jsonb_strip_nulls(jsonb_build_object({changed(0)}))
        END AS after,
        array_remove(ARRAY[
            CASE WHEN other_row IS NOT NULL THEN '{same}:twice' END, {", ".join(refuses) or "NULL"}
        ], NULL) AS refusals
    FROM seen
    OFFSET 0
)
SELECT
    compared.*,
    CASE
        WHEN invalid IS NOT NULL OR refusals <> '{{{{}}}}' THEN 'refused'
        WHEN is_new THEN 'create'
        WHEN after = '{{{{}}}}' THEN 'unchanged'
        ELSE 'update'
    END AS action,
    CASE WHEN NOT is_new THEN md5(concat_ws(' ', target_id, before, after)) END AS was,
    {effects_array(effects)} AS effects
FROM compared
"""


def effects_array(conditions: Mapping[str, str]) -> str:
    """An array of the names whose conditions hold."""
    each = ", ".join(f"CASE WHEN {when} THEN '{name}' END" for name, when in conditions.items())
    return f"array_remove(ARRAY[{each}]::text[], NULL)"


def record_changes_statement(target: str) -> str:
    """Put on record what the rows of a chunk did."""
    return f"""
INSERT INTO revcred_uploadchange (upload_id, row, action, target_type, target_id, before, after)
SELECT
    %(upload)s, number, action, '{target}', CASE WHEN is_new THEN new_id ELSE target_id END,
    before, after
FROM {CHUNK_TABLE} ORDER BY number
"""


def lock_targets_statement(table: str) -> str:
    """What the rows of a chunk are about stays as it is until they are written."""
    return f"""
SELECT id FROM {table}
WHERE id IN (SELECT known_target_id FROM {{source}} row WHERE known_target_id IS NOT NULL)
ORDER BY id FOR NO KEY UPDATE
"""


def insert_and_record_statement(target: str, insert: str) -> str:
    """What rows name and is not there yet, on record. `insert` ends where its conflicts do."""
    return f"""
WITH added AS ({insert} RETURNING id)
INSERT INTO revcred_uploadchange (upload_id, action, target_type, target_id)
SELECT %(upload)s, 'create', '{target}', id FROM added ORDER BY id
"""


def undone_changes_source(target: str, action: str) -> str:
    """The changes of a chunk that are undone, for a FROM: `c`."""
    return (
        f"(SELECT * FROM {UNDONE_TABLE} WHERE target_type = '{target}' AND action = '{action}') c"
    )


def delete_created_statement(table: str, target: str) -> str:
    created = undone_changes_source(target, "create")
    return f"DELETE FROM {table} WHERE id IN (SELECT target_id FROM {created})"
