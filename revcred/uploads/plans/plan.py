"""Plans: the SQL statements and messages by which a kind of list is checked, applied and undone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.db.backends.utils import CursorWrapper

# Temporary tables of one connection. Every commit empties them.
CHUNK_TABLE = "upload_chunk"  # the rows of one chunk, planned again under lock
SEALED_TABLE = "upload_sealed"  # keys and secrets, sealed for the rows of the chunk
UNDONE_TABLE = "upload_undone"  # the changes that are undone in one transaction

# No column precedes the colon: the row as a whole is the problem.
CHANGED_SINCE_CHECK_CODE = ":meanwhile"


# Returns what is staged of a row's values, by column: the values of the list's columns, then those
# of `ListPlan.encoded_columns`. Raises `staging.InvalidRow`.
RowEncoder: TypeAlias = Callable[[Mapping[str, str]], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class ListPlan:
    """Statements and messages of one kind of list.

    `query` selects each row of {source} with the action it asks for. Its columns:

        number       the row's number in the file
        (facts)      the row's values, one column each (see `staging.staged_column_names`)
        action       create, update, move, unchanged or rejected
        is_new       true if a new thing is created
        target_id    the existing thing that the row is about, else NULL
        before       fields that change, with the old values
        after        the same fields with the new values
        problems     problems as "column:code"
        other_row    the number of the row that says the same, for messages
        version      a hash of all that the action was derived from
        effects      names of `rights.RowEffect`

    and further ones that `write` reads.

    Statements in `lock` and `prepare` read {source}; those in `write` read the chunk.
    """

    target: str  # label of the model, such as "revcred.customer"
    title_column: str  # the column that a preview shows as a row's title
    query: str
    # Makes the encoder of an upload's rows, where cells are not staged one by one.
    row_encoder: Callable[[], RowEncoder] | None = None
    encoded_columns: Sequence[tuple[str, str]] = ()  # names and types
    # Notes in the incoming table, whose name it gets, what only Python can tell of its rows.
    inspect: Callable[[CursorWrapper, str], None] | None = None
    # Statements that complete the values of the incoming rows, before these are planned.
    resolve: tuple[str, ...] = ()
    kept_columns: tuple[str, ...] = ()  # further columns of `query` that are stored with the row
    id_sequences: Mapping[str, str] = field(default_factory=dict)  # column → sequence of new ids
    # Column → sequence of new ids, and the array for each item of which there is one.
    id_arrays: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    lock: str
    # Makes what the rows of a table need, before the first chunk.
    make_room: Callable[[CursorWrapper, str], None] | None = None
    prepare: tuple[str, ...] = ()  # creates what rows name and is not there yet
    write: tuple[str, ...]
    # Earliest moment from which attribution may have changed; NULL if none has.
    affected_since_query: str = "SELECT NULL::timestamptz"
    changes_assignments: bool = True  # False if no other calls can have another owner by it
    # Calls that the rows bring: customer, reason to wait, month, rows, calls.
    calls_query: str = ""
    waiting_query: str = ""  # customer, fingerprint, subscription that quarantine is searched for
    # People who become members: email, customer (its external key), role, number, action.
    joining_query: str = ""
    seals_keys: bool = False
    sealing_statements: tuple[str, ...] = ()  # those of `write` that only store sealed values
    also_created_queries: Mapping[str, str] = field(default_factory=dict)  # counts for `prepare`
    messages: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class UndoPlan:
    """Statements that undo changes of one kind of thing, a chunk of changes at a time.

    `obstacle_queries` select the `id` of changes that something else depends on, by the reason
    that people read. They read {changes}; if {own} is true, things of the same upload do not count.
    `usage_query` selects what usage may have been attributed to: see
    `hooks.row_numbers_with_usage`; `gateways_query` selects gateways that may have tokens: see
    `hooks.row_numbers_with_tokens`. `prepare` runs before the first of them is undone.
    """

    target: str
    table: str = ""  # in which the things are locked, by their numbers
    prepare: Callable[[], object] | None = None
    obstacle_queries: Mapping[str, str] = field(default_factory=dict)
    usage_query: str = ""
    gateways_query: str = ""
    statements: tuple[str, ...]


def plan_query(
    lookup: str,
    *,
    same: str,
    compares: Mapping[str, tuple[str, str]],
    problems: tuple[str, ...],
    effects: Mapping[str, str],
    ctes: str = "",
) -> str:
    """Return the `query` of a plan whose things are identified by one column, `same`.

    `lookup` selects each row with the existing thing, and joins `twice`; `ctes` are further WITH
    queries that it may read. `compares` gives the new and the old value of each field: a blank
    cell changes nothing. `problems` are expressions that give a code or NULL; `effects` are
    conditions by the effect that a row has where they hold.
    """

    def changed(value: int) -> str:
        return ", ".join(
            f"'{name}', CASE WHEN {pair[0]} IS DISTINCT FROM {pair[1]} AND {pair[0]} IS NOT NULL "
            f"THEN to_jsonb({pair[value]}) END"
            for name, pair in compares.items()
        )

    return f"""
-- in: rows; out: identifiers that several rows have, with the first and the last of them
WITH twice AS MATERIALIZED (
    SELECT {same} AS same, min(number) AS first, max(number) AS last
    FROM {{source}} row GROUP BY {same} HAVING count(*) > 1
), {ctes}
-- in: rows; out: each row with the existing thing that it is about
seen AS (
    -- OFFSET 0 keeps the planner from evaluating expressions again wherever they are named
    {lookup} OFFSET 0
),
-- in: rows with things; out: the same with what would change, and with problems
compared AS (
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
            CASE
                WHEN other_row IS NOT NULL AND %(duplicates)s = 'reject' THEN '{same}:twice'
            END,
            {", ".join(problems) or "NULL"}
        ], NULL) AS problems,
        CASE %(duplicates)s
            WHEN 'first' THEN number > t.first WHEN 'last' THEN number < t.last ELSE false
        END IS TRUE AS is_superseded
    FROM seen LEFT JOIN twice t ON t.same = seen.{same}
    OFFSET 0
)
{decided_rows(effects)}
"""


def decided_rows(effects: Mapping[str, str]) -> str:
    """Return the last SELECT of a plan's query: from `compared`, each row with its action.

    `effects`: names of effects and their conditions.
    """
    return f"""
SELECT
    compared.*,
    CASE
        WHEN is_superseded THEN 'unchanged'
        WHEN invalid IS NOT NULL OR problems <> '{{{{}}}}' THEN 'rejected'
        WHEN is_new THEN 'create'
        WHEN after = '{{{{}}}}' THEN 'unchanged'
        ELSE 'update'
    END AS action,
    -- Applying compares this hash, to find rows whose thing somebody has changed since the check.
    CASE WHEN NOT is_new THEN md5(concat_ws(' ', target_id, before, after)) END AS version,
    {effects_array(effects)} AS effects
FROM compared
"""


def effects_array(conditions: Mapping[str, str]) -> str:
    """Return an array expression of the names whose conditions hold."""
    items = ", ".join(
        f"CASE WHEN {condition} THEN '{name}' END" for name, condition in conditions.items()
    )
    return f"array_remove(ARRAY[{items}]::text[], NULL)"


def record_changes_statement(target: str) -> str:
    """Return the statement that records what each row of the chunk changed."""
    return f"""
INSERT INTO revcred_uploadchange (upload_id, row, action, target_type, target_id, before, after)
SELECT
    %(upload)s, number, action, '{target}', CASE WHEN is_new THEN new_id ELSE target_id END,
    before, after
FROM {CHUNK_TABLE} ORDER BY number
"""


def lock_targets_statement(table: str) -> str:
    """Return the statement that locks the things a chunk is about, until they are written."""
    # In order of id, so that two transactions that lock the same things cannot deadlock.
    return f"""
SELECT id FROM {table}
WHERE id IN (SELECT known_target_id FROM {{source}} row WHERE known_target_id IS NOT NULL)
ORDER BY id FOR NO KEY UPDATE
"""


def insert_and_record_statement(target: str, insert: str) -> str:
    """Return the statement that inserts things which rows only name, and records them.

    `insert` ends with its ON CONFLICT clause.
    """
    return f"""
-- in: rows; out: ids of what was not there yet
WITH added AS ({insert} RETURNING id)
INSERT INTO revcred_uploadchange (upload_id, action, target_type, target_id)
SELECT %(upload)s, 'create', '{target}', id FROM added ORDER BY id
"""


def undone_changes_source(target: str, action: str) -> str:
    """Return a FROM item `c`: the changes of that kind that are undone in this transaction."""
    return (
        f"(SELECT * FROM {UNDONE_TABLE} WHERE target_type = '{target}' AND action = '{action}') c"
    )


def delete_created_statement(table: str, target: str) -> str:
    """Return the statement that deletes what undone changes had created."""
    created = undone_changes_source(target, "create")
    return f"DELETE FROM {table} WHERE id IN (SELECT target_id FROM {created})"
