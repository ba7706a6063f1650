"""Check an upload: stage every row of its file, plan all rows at once, and build the preview."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain, islice
from typing import Any

from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from revcred.hooks import count_waiting_for
from revcred.models import RememberedMapping, Upload
from revcred.uploads import columns, mapping, preview_warnings, problems, rights, samples, staging
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
from revcred.uploads.plans.plan_subscriptions import DEFAULT_KEY_PATTERN
from revcred.uploads.reading import ListReader, RowError
from revcred.uploads.steps import UploadStep, begin_step, end_step

RowAction = Upload.Action

ROWS_PER_COPY = 10_000  # staged by one COPY statement
MAPPING_SAMPLE_ROWS = 20  # first rows, by which columns are recognised
SAMPLED_ROWS = 1_000  # first rows, whose different values are counted
# How cells are read. Who gets access is decided for each list anew.
REMEMBERED_CHOICES = frozenset(
    {
        *("plan_keys", "plan_separator", "states", "day_order", "time_zone", "missing_keys"),
        *("inactive", "duplicates"),
    }
)
DEFAULT_CHOICES = frozenset({None, "", "reject", "none", "ask", "UTC", DEFAULT_KEY_PATTERN})
EXAMPLES_PER_ACTION = 3  # rows of each action that a preview shows

# Columns of every plan's query that the staging table keeps, besides the values of the row.
PLANNED_COLUMNS = (
    *("action", "is_new", "target_id", "before", "after", "other_row", "version", "effects"),
    "is_superseded",
)
# A cell that could not be read is empty to the plan, and so is every cell of a row that could not.
# What the plan says of these is not true: it says that a customer is unknown, where none is named.
TRUE_PROBLEMS = """
CASE WHEN invalid IS NULL THEN problems ELSE ARRAY(
    SELECT code FROM unnest(problems) WITH ORDINALITY planned (code, position)
    WHERE NOT EXISTS (
        SELECT FROM jsonb_array_elements(invalid) fault
        WHERE fault ->> 3 = 'unread' OR fault ->> 0 = split_part(code, ':', 1)
            OR fault ->> 0 = 'customer' AND split_part(code, ':', 2) = 'of_another'
    )
    ORDER BY position
) END AS problems
"""
MAX_MONTHS_SHOWN = 200  # of all customers that a list of usage brings calls of
MAX_MEMBERS_SHOWN = 100  # new members in a preview, people of other customers first
MAX_CUSTOMERS_PER_PERSON = 5  # named in a preview, of those that a person belongs to already


def check_list(
    upload: Upload,
    *,
    on_progress: ProgressCallback,
    count_moves: Callable[[Upload], dict[str, Any]] | None = None,
) -> None:
    """Stage and plan the rows, and build the preview. Rows that were staged before are replaced.

    `count_moves` counts the calls that applying the planned rows would move, for the preview.
    Raises UnreadableFile, UploadCancelled.
    """
    kind = ListKind(upload.kind)
    upload.done, upload.fraction = 0, 0.0
    begin_step(upload, UploadStep.READING)
    with open_upload(upload) as read:
        rows = _describe_file(upload, read)
        mapped = mapped_columns(upload)
        # Before any row is staged: a file of a gigabyte would be staged in vain.
        if upload.findings["asked"] or mapping.missing_columns(
            kind,
            {position: column.name for position, column in mapped.items()},
            upload.fixed_values,
        ):
            upload.state = Upload.State.UNMAPPED
            save_progress(upload, "state")
            return
        read.rows = rows
        _stage_rows(upload, read, mapped, on_progress)
    begin_step(upload, UploadStep.PLANNING, to_do=upload.total)
    _plan_rows(upload)
    upload.is_staged, upload.preview = True, build_preview(upload)
    if count_moves and LIST_PLANS[kind].changes_assignments:
        # Counting may take two minutes: nobody should wait that long to cancel.
        stop_if_asked(upload)
        begin_step(upload, UploadStep.TRYING)
        upload.preview["moves"] = count_moves(upload)
    upload.state, upload.fraction = Upload.State.READY, 1.0
    stop_if_asked(upload)
    end_step(upload, at=timezone.now())
    upload.save(
        update_fields=[
            "is_staged",
            "preview",
            "state",
            "fraction",
            "total",
            "step_seconds",
            "findings",
        ]
    )


def _describe_file(upload: Upload, read: ListReader) -> Iterator[Any]:
    """Save the file's format, header and sample, and map its columns if nobody has mapped them.

    Return all rows again, with those that were read for the sample.
    """
    kind = ListKind(upload.kind)
    # A mapping names columns by their positions, so it is of no use under another header.
    if upload.header and upload.header != read.header:
        upload.mapping = {}
    upload.file_format, upload.header = read.file_format[:200], read.header
    first = list(islice(read.rows, SAMPLED_ROWS))
    sample = [cells for _, cells in first if not isinstance(cells, RowError)]
    guessed = mapping.guess_columns(kind, read.header, sample[:MAPPING_SAMPLE_ROWS])
    upload.findings = {
        "reasons": guessed.reasons,
        "hashes": guessed.hashes,
        "distinct": samples.distinct_counts(read.header, sample),
        "asked": [],
    }
    if not upload.mapping:
        # What somebody chose for a file with the same header beats a guess.
        signature = mapping.header_signature(kind, read.header)
        remembered = RememberedMapping.objects.filter(pk=signature).first()
        if remembered:
            _use_remembered(upload, remembered)
        else:
            upload.mapping = mapping.without_fixed_columns(guessed.mapping, upload.fixed_values)
            upload.findings["asked"] = guessed.asked
    if kind is ListKind.GATEWAYS:
        upload.findings["tokens"] = samples.token_columns(read.header, mapped_columns(upload))
    upload.sample = samples.sample_rows(read.header, sample, mapped_columns(upload))
    upload.save(
        update_fields=[
            *("file_format", "header", "mapping", "sample", "findings"),
            *("fixed_values", "choices"),
        ]
    )
    return chain(first, read.rows)


def _use_remembered(upload: Upload, remembered: RememberedMapping) -> None:
    """Take over what was chosen for the last list with this header, unless this one says else."""
    upload.fixed_values = upload.fixed_values or remembered.fixed_values
    upload.choices = upload.choices | {
        name: value
        for name, value in remembered.choices.items()
        if name in REMEMBERED_CHOICES and upload.choices.get(name) in DEFAULT_CHOICES
    }
    upload.mapping = mapping.without_fixed_columns(remembered.mapping, upload.fixed_values)
    upload.findings["remembered"] = remembered.at.isoformat()


def _stage_rows(
    upload: Upload,
    read: ListReader,
    mapped: Mapping[int, ListColumn],
    on_progress: ProgressCallback,
) -> None:
    kind, rules = ListKind(upload.kind), columns.CellRules.of(upload.choices)
    plan, fixed = LIST_PLANS[kind], upload.fixed_values
    staging.create_incoming_table(upload.pk, kind, fixed, plan.encoded_columns)
    if plan.row_encoder:
        names = [*staging.staged_column_names(kind), *(name for name, _ in plan.encoded_columns)]
        encode = plan.row_encoder()
        rows = staging.encoded_rows(read, mapped, rules, fixed, encode, width=len(names))
    else:
        names = staging.names_of_mapped(mapped)
        rows = staging.staged_rows(read, mapped, rules)
    while chunk := list(islice(rows, ROWS_PER_COPY)):
        staging.copy_staged_rows(upload.pk, names, chunk)
        upload.done += len(chunk)
        upload.fraction = read.done
        save_progress(upload, "done", "fraction")
        on_progress(upload)
    upload.total = upload.done
    upload.findings["left_out"] = dict(read.left_out)


def save_progress(upload: Upload, *fields: str) -> None:
    """Save these fields. Raises UploadCancelled if somebody has cancelled the upload."""
    upload.save(update_fields=fields)
    stop_if_asked(upload)


def _plan_rows(upload: Upload) -> None:
    """Replace the incoming table by the staging table: rows with their plans and new ids."""
    kind = ListKind(upload.kind)
    plan = LIST_PLANS[kind]
    incoming, planned = staging.incoming_table(upload.pk), staging.staging_table(upload.pk)
    # New ids are given now, because keys are sealed for the id of their row before it is written.
    new_ids = [
        f"CASE WHEN is_new AND action <> 'rejected' THEN nextval('{sequence}') END AS {name}"
        for name, sequence in plan.id_sequences.items()
    ]
    new_ids += [
        f"CASE WHEN action IN ('create', 'update', 'move') THEN"
        f" ARRAY(SELECT nextval('{sequence}') FROM unnest({per})) END AS {name}"
        for name, (sequence, per) in plan.id_arrays.items()
    ]
    names = ", ".join(
        [
            "number",
            "invalid",
            *staging.staged_column_names(kind),
            *(name for name, _ in plan.encoded_columns),
            *PLANNED_COLUMNS,
            TRUE_PROBLEMS,
            *plan.kept_columns,
            *new_ids,
        ]
    )
    query = plan.query.format(source=incoming)
    with long_statement_cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {planned}")
        # Without statistics the planner takes a table that was just filled for an empty one.
        cursor.execute(f"ANALYZE {incoming}")
        arguments = plan_arguments(upload, at=timezone.now())
        if plan.inspect:
            plan.inspect(cursor, incoming)
        for statement in plan.resolve:
            cursor.execute(statement.format(source=incoming), arguments)
        cursor.execute(
            f"CREATE TABLE {staging.in_staging_schema(planned)} AS"
            f" SELECT {names} FROM ({query}) planned",
            arguments,
        )
        cursor.execute(f"ALTER TABLE {planned} ADD PRIMARY KEY (number)")
        # Pages leaf through rejected rows, which may be few among millions.
        cursor.execute(f"CREATE INDEX ON {planned} (number) WHERE action = 'rejected'")
        cursor.execute(f"ANALYZE {planned}")
        cursor.execute(f"DROP TABLE {incoming}")


# --- The preview ----------------------------------------------------------------------------------


def build_preview(upload: Upload) -> dict[str, Any]:
    """Return the preview in the form that `Upload` describes."""
    table = staging.staging_table(upload.pk)
    with long_statement_cursor() as cursor:
        cursor.execute(f"SELECT action, count(*) FROM {table} GROUP BY action")
        counts = dict.fromkeys(RowAction.values, 0) | dict(cursor.fetchall())
        also_created = count_also_created(cursor, upload)
        return {
            "counts": counts,
            "also_creates": also_created,
            "effects": _count_effects(cursor, upload) | rights.counts_of_added(also_created),
            "members": _preview_members(cursor, upload),
            "examples": {
                action: _preview_examples(cursor, upload, action)
                for action in counts
                if counts[action]
            },
            "reasons": problems.count_problems(cursor, upload),
            "unknown_states": problems.count_unknown_states(cursor, upload),
            "claim": _preview_claim(upload),
            "warnings": preview_warnings.find_warnings(cursor, upload),
            "new_subscriptions": preview_warnings.find_new_subscriptions(cursor, upload),
            "calls": _preview_calls(cursor, upload),
        }


def _preview_calls(cursor: CursorWrapper, upload: Upload) -> dict[str, Any] | None:
    """Return the calls that the rows bring, in the form that `Upload` describes; None if none."""
    query = LIST_PLANS[ListKind(upload.kind)].calls_query
    if not query:
        return None
    cursor.execute(query.format(source=applicable_rows(upload)))
    found = [
        {
            "customer": customer,
            "reason": reason,
            "month": month,
            "rows": rows,
            "calls": int(calls) if calls == int(calls) else float(calls),
        }
        for customer, reason, month, rows, calls in cursor.fetchall()
    ]
    return {
        "rows": sum(each["rows"] for each in found),
        "waiting": sum(each["rows"] for each in found if each["reason"]),
        "months": found[:MAX_MONTHS_SHOWN],
        "more": max(len(found) - MAX_MONTHS_SHOWN, 0),
    }


def _preview_claim(upload: Upload) -> dict[str, Any] | None:
    """Return the transactions in quarantine that wait for these rows; None if none can."""
    query = LIST_PLANS[ListKind(upload.kind)].waiting_query
    if not query:
        return None
    waiting = count_waiting_for(query.format(source=applicable_rows(upload)))
    return {
        "transactions": waiting.transactions,
        "since": waiting.since and waiting.since.isoformat(),
        "customers": [[name, number] for name, number in waiting.customers],
    }


def _count_effects(cursor: CursorWrapper, upload: Upload) -> dict[str, int]:
    """Return the number of rows by effect (see `rights.RowEffect`)."""
    cursor.execute(
        f"SELECT effect, count(*) FROM {staging.staging_table(upload.pk)} "
        "CROSS JOIN unnest(effects) effect WHERE action IN ('create', 'update', 'move') "
        "GROUP BY effect"
    )
    return dict(cursor.fetchall())


def _preview_members(cursor: CursorWrapper, upload: Upload) -> dict[str, Any]:
    """Return the people who would become members of customers, people of other customers first.

    People whose rows are rejected only because they belong elsewhere are included, so that
    somebody can decide to allow them. `count` and `of_others` count everybody; `people` are the
    first of them.
    """
    plan = LIST_PLANS[ListKind(upload.kind)]
    if not plan.joining_query:
        return {"count": 0, "of_others": 0, "people": []}
    # <@: nothing but these problems
    rows = (
        f"(SELECT * FROM {staging.staging_table(upload.pk)}"
        " WHERE effects && ARRAY['join', 'join_as_owner'] AND (action <> 'rejected'"
        " OR invalid IS NULL AND problems <@ ARRAY['holders:of_another', 'customer:of_another']))"
    )
    cursor.execute(
        f"""
        -- in: a row for each name in a cell; out: one for each person and customer
        WITH named AS (
            SELECT
                email, customer, role, count(*) AS rows, min(number) AS number,
                bool_and(action = 'rejected') AS is_rejected
            FROM ({plan.joining_query.format(source=rows)}) j GROUP BY email, customer, role
        ), joining AS (
            -- in: these; out: those who are not members there yet, and if they belong elsewhere
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
            email, customer_name, role, rows, is_rejected, is_of_another, ARRAY(
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
                "is_rejected": is_rejected,
                "is_of_another": is_of_another,
                "belongs_to": belongs_to,
            }
            for email, customer, role, count, is_rejected, is_of_another, belongs_to, *_ in found
        ],
    }


def _preview_examples(cursor: CursorWrapper, upload: Upload, action: str) -> list[dict[str, Any]]:
    """Return the first rows with that action: row, title, from, values (see `Upload`)."""
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
            "title": str(fields[LIST_PLANS[kind].title_column] or ""),
            "from": _moved_from(fields) if action == RowAction.MOVE else None,
            "values": _changed_values(
                kind, staging.decode_json_column(before), staging.decode_json_column(after), fields
            ),
        }
        for number, before, after, *values in cursor.fetchall()
        for fields in [dict(zip(names, values, strict=True))]
    ]


def _moved_from(fields: Mapping[str, Any]) -> str | None:
    """Return the moment of a move; None if it is the moment at which the upload is applied."""
    moment: datetime | None = fields["assigned_from"]
    return moment.isoformat() if moment else None


def _changed_values(
    kind: ListKind,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    fields: dict[str, Any],
) -> list[tuple[str, Any, Any]]:
    """Return (column, old value, new value) of each change, or of each value of a new thing."""
    if after is not None:
        return [(name, (before or {}).get(name), after[name]) for name in sorted(after)]
    return [
        (column.name, None, value)
        for column in columns.columns_of(kind)
        if (value := _new_value(column, fields)) is not None
    ]


def _new_value(column: ListColumn, fields: dict[str, Any]) -> Any:
    """Return the value as a preview shows it: a key as its hint, a secret as True."""
    if column.name == "key":
        return f"…{fields['hint'] or ''}" if fields["fingerprint"] else None
    if column.name == "aliases":
        return [f"…{end}" for end in fields["alias_hints"] or ()] or None
    if column.name == "secret":
        return True if fields["secret_fingerprint"] else None
    value = fields[column.name]
    if column.several and value is not None:
        return value.split(columns.VALUE_SEPARATOR)
    return value.isoformat() if isinstance(value, datetime) else value
