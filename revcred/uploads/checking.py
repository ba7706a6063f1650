"""Check: take every row of a file in, judge all of them at once, and say what they would do."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from revcred.fingerprints import hint
from revcred.hooks import waiting_transactions_of
from revcred.models import RememberedMapping, Upload
from revcred.uploads import columns, mapping, problems, rights, staging
from revcred.uploads.columns import ListColumn, ListKind
from revcred.uploads.opening import (
    ProgressCallback,
    applicable_rows,
    count_also_created,
    long_statement_cursor,
    mapped_columns,
    open_upload,
    plan_arguments,
    stop_if_asked,
)
from revcred.uploads.plans import LIST_PLANS
from revcred.uploads.reading import ListReader, RowError

RowAction = Upload.Action

ROWS_PER_COPY = 10_000  # rows taken in with one COPY
MAPPING_SAMPLE_ROWS = 20  # rows that columns are guessed by
EXAMPLES_PER_ACTION = 3  # rows of each action that a preview shows
STAGING_SHARE = 0.8  # of the whole of checking

PLANNED_COLUMNS = (
    *("action", "is_new", "target_id", "before", "after", "refusals", "other_row", "was"),
    "effects",
)
MAX_MEMBERS_SHOWN = 100  # of those who would become members: people of other customers first
MAX_CUSTOMERS_PER_PERSON = 5  # of those that such a person belongs to


def check_list(upload: Upload, *, tell: ProgressCallback) -> None:
    """Stage, judge and count. Whatever was staged before is replaced.

    Raises UnreadableFile, Cancelled.
    """
    kind = ListKind(upload.kind)
    with open_upload(upload) as read:
        rows = _describe_file(upload, read)
        mapped = mapped_columns(upload)
        if mapping.missing_columns(
            kind, {at: each.name for at, each in mapped.items()}, upload.for_all
        ):
            upload.state = Upload.State.UNMAPPED
            save_progress(upload, "state")
            return
        read.rows = rows
        _stage_rows(upload, read, mapped, tell)
    _plan_rows(upload)
    upload.is_staged, upload.preview = True, build_preview(upload)
    upload.state, upload.fraction = Upload.State.READY, 1.0
    stop_if_asked(upload)
    upload.save(update_fields=["is_staged", "preview", "state", "fraction", "total"])


def _describe_file(upload: Upload, read: ListReader) -> Iterator[Any]:
    """Note what kind of file it is, and how its columns are mapped if nobody has said it."""
    kind = ListKind(upload.kind)
    upload.shape, upload.header = read.shape[:200], read.header
    first = list(islice(read.rows, MAPPING_SAMPLE_ROWS))
    sample = [cells for _, cells in first if not isinstance(cells, RowError)]
    if not upload.mapping:
        signature = mapping.header_signature(kind, read.header)
        remembered = RememberedMapping.objects.filter(pk=signature).first()
        found = (
            remembered.mapping if remembered else mapping.guess_mapping(kind, read.header, sample)
        )
        upload.mapping = mapping.without_fixed_columns(found, upload.for_all)
    upload.sample = _sample_without_keys(upload, sample[:EXAMPLES_PER_ACTION])
    upload.save(update_fields=["shape", "header", "mapping", "sample"])
    return chain(first, read.rows)


def _sample_without_keys(upload: Upload, sample: list[list[str]]) -> list[list[str]]:
    """Cells as a page may show them: of a secret nothing, of what may be a key its hint."""
    mapped = mapped_columns(upload)
    return [
        [
            staging.shown_cell(mapped[at], cell) if at in mapped else f"…{hint(cell)}"
            for at, cell in enumerate(cells)
        ]
        for cells in sample
    ]


def _stage_rows(
    upload: Upload, read: ListReader, mapped: Mapping[int, ListColumn], tell: ProgressCallback
) -> None:
    kind = ListKind(upload.kind)
    staging.create_incoming_table(upload.pk, kind, upload.for_all)
    upload.done = upload.done_before = 0
    rows = staging.staged_rows(read, mapped)
    while chunk := list(islice(rows, ROWS_PER_COPY)):
        staging.copy_staged_rows(upload.pk, kind, mapped, chunk)
        upload.done += len(chunk)
        upload.fraction = STAGING_SHARE * read.done
        save_progress(upload, "done", "done_before", "fraction")
        tell(upload)
    upload.total = upload.done


def save_progress(upload: Upload, *fields: str) -> None:
    """Save these. Raises Cancelled if somebody asked for it."""
    upload.save(update_fields=fields)
    stop_if_asked(upload)


def _plan_rows(upload: Upload) -> None:
    kind = ListKind(upload.kind)
    merge = LIST_PLANS[kind]
    incoming, judged = staging.incoming_table(upload.pk), staging.staging_table(upload.pk)
    made = [
        f"CASE WHEN is_new AND action <> 'refused' THEN nextval('{sequence}') END AS {name}"
        for name, sequence in merge.made.items()
    ]
    kept = ", ".join(
        [
            "number",
            "invalid",
            *staging.staged_column_names(kind),
            *PLANNED_COLUMNS,
            *merge.keeps,
            *made,
        ]
    )
    source = merge.judged.format(source=incoming)
    with long_statement_cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {judged}")
        cursor.execute(f"ANALYZE {incoming}")
        cursor.execute(
            f"CREATE TABLE {judged} AS SELECT {kept} FROM ({source}) judged",
            plan_arguments(upload, at=timezone.now()),
        )
        cursor.execute(f"ALTER TABLE {judged} ADD PRIMARY KEY (number)")
        cursor.execute(f"CREATE INDEX ON {judged} (number) WHERE action = 'refused'")
        cursor.execute(f"ANALYZE {judged}")
        cursor.execute(f"DROP TABLE {incoming}")


# --- The preview ----------------------------------------------------------------------------------


def build_preview(upload: Upload) -> dict[str, Any]:
    """As described at `Upload`."""
    table = staging.staging_table(upload.pk)
    with long_statement_cursor() as cursor:
        cursor.execute(f"SELECT action, count(*) FROM {table} GROUP BY action")
        counts = dict.fromkeys(RowAction.values, 0) | dict(cursor.fetchall())
        adds = count_also_created(cursor, upload)
        return {
            "counts": counts,
            "adds": adds,
            "effects": _count_effects(cursor, upload) | rights.counts_of_added(adds),
            "members": _preview_members(cursor, upload),
            "firsts": {
                each: _preview_examples(cursor, upload, each) for each in counts if counts[each]
            },
            "reasons": problems.count_problems(cursor, upload),
            "claim": _preview_claim(upload),
        }


def _preview_claim(upload: Upload) -> dict[str, Any] | None:
    """What waits in quarantine for these, or None of a kind that nothing waits for."""
    waits = LIST_PLANS[ListKind(upload.kind)].waits
    return waiting_transactions_of(waits.format(source=applicable_rows(upload))) if waits else None


def _count_effects(cursor: CursorWrapper, upload: Upload) -> dict[str, int]:
    """Count the rows that do each of what takes a right of its own (see `uploads.rights`)."""
    cursor.execute(
        f"SELECT effect, count(*) FROM {staging.staging_table(upload.pk)} "
        "CROSS JOIN unnest(effects) effect WHERE action IN ('create', 'update', 'move') "
        "GROUP BY effect"
    )
    return dict(cursor.fetchall())


def _preview_members(cursor: CursorWrapper, upload: Upload) -> dict[str, Any]:
    """Return who would become a member of which customer: `people` of other customers first.

    Those whose rows are refused only because they belong elsewhere are among them, so that
    somebody can decide. `count` and `of_others` are of all.
    """
    merge = LIST_PLANS[ListKind(upload.kind)]
    if not merge.joins:
        return {"count": 0, "of_others": 0, "people": []}
    rows = (
        f"(SELECT * FROM {staging.staging_table(upload.pk)}"
        " WHERE effects && ARRAY['join', 'join_as_owner'] AND (action <> 'refused'"
        " OR invalid IS NULL AND refusals <@ ARRAY['holders:of_another', 'customer:of_another']))"
    )
    cursor.execute(
        f"""
        -- in: a row for each name in a cell; out: one for each person and customer
        WITH named AS (
            SELECT
                email, customer, role, count(*) AS rows, min(number) AS number,
                bool_and(action = 'refused') AS is_refused
            FROM ({merge.joins.format(source=rows)}) j GROUP BY email, customer, role
        ), joining AS (
            SELECT
                n.*, coalesce(c.name, n.customer) AS customer_name, p.id AS subscriber_id,
                EXISTS (SELECT FROM revcred_membership m WHERE m.subscriber_id = p.id)
                    OR count(*) OVER (PARTITION BY n.email) > 1 AS is_of_another
            FROM named n
            LEFT JOIN revcred_customer c ON c.external_key = n.customer
            LEFT JOIN revcred_subscriber p ON lower(p.email) = n.email
            WHERE NOT EXISTS (
                SELECT FROM revcred_membership m
                WHERE m.customer_id = c.id AND m.subscriber_id = p.id
            )
        )
        SELECT
            email, customer_name, role, rows, is_refused, is_of_another, ARRAY(
                SELECT o.name FROM revcred_membership m JOIN revcred_customer o
                    ON o.id = m.customer_id
                WHERE m.subscriber_id = first.subscriber_id ORDER BY o.name LIMIT %s
            ), count, of_others
        FROM (
            SELECT
                joining.*, count(*) OVER () AS count,
                count(*) FILTER (WHERE is_of_another) OVER () AS of_others
            FROM joining ORDER BY is_of_another DESC, role = 'owner' DESC, number, email LIMIT %s
        ) first
        """,
        [MAX_CUSTOMERS_PER_PERSON, MAX_MEMBERS_SHOWN],
    )
    found = cursor.fetchall()
    return {
        "count": found[0][-2] if found else 0,
        "of_others": found[0][-1] if found else 0,
        "people": [
            {
                "email": email,
                "domain": email.rpartition("@")[2],
                "customer": customer,
                "role": role,
                "rows": count,
                "is_refused": is_refused,
                "is_of_another": is_of_another,
                "belongs_to": belongs_to,
            }
            for email, customer, role, count, is_refused, is_of_another, belongs_to, *_ in found
        ],
    }


def _preview_examples(cursor: CursorWrapper, upload: Upload, action: str) -> list[dict[str, Any]]:
    kind = ListKind(upload.kind)
    names = staging.staged_column_names(kind)
    cursor.execute(
        f"SELECT number, before, after, {', '.join(names)} FROM {staging.staging_table(upload.pk)} "
        "WHERE action = %s ORDER BY number LIMIT %s",
        [action, EXAMPLES_PER_ACTION],
    )
    return [
        {
            "row": number,
            "title": str(facts[LIST_PLANS[kind].title] or ""),
            "from": _moved_from(facts) if action == RowAction.MOVE else None,
            "values": _changed_values(
                kind, staging.decode_json_column(before), staging.decode_json_column(after), facts
            ),
        }
        for number, before, after, *values in cursor.fetchall()
        for facts in [dict(zip(names, values, strict=True))]
    ]


def _moved_from(facts: Mapping[str, Any]) -> str | None:
    """None: from when it is applied."""
    moment: datetime | None = facts["assigned_from"]
    return moment.isoformat() if moment else None


def _changed_values(
    kind: ListKind,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    facts: dict[str, Any],
) -> list[tuple[str, Any, Any]]:
    """Column, old and new: of what changes, or of all that a new one has."""
    if after is not None:
        return [(name, (before or {}).get(name), after[name]) for name in sorted(after)]
    return [
        (each.name, None, value)
        for each in columns.columns_of(kind)
        if (value := _new_value(each, facts)) is not None
    ]


def _new_value(column: ListColumn, facts: dict[str, Any]) -> Any:
    if column.name == "key":
        return f"…{facts['hint'] or ''}" if facts["fingerprint"] else None
    if column.name == "secret":
        return True if facts["secret_mark"] else None
    value = facts[column.name]
    if column.several and value is not None:
        return value.split(columns.VALUE_SEPARATOR)
    return value.isoformat() if isinstance(value, datetime) else value
