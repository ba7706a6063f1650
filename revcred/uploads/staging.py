"""Tables of an upload's rows: an incoming one for their values, then one with their plans.

Neither holds keys or secrets, not even sealed. Fingerprints tell them apart, and the file is read
again to seal them for the rows that they belong to. The incoming table is unlogged, which is
faster; the staging table is logged, so that a checked upload survives a crash of PostgreSQL.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

from django.conf import settings
from django.db import connection
from django.utils.translation import gettext_noop

from revcred.fingerprints import fingerprint_hex, hint
from revcred.uploads import columns
from revcred.uploads.columns import CellParser, CellRules, ListColumn, ListKind
from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.reading import ListReader, RowCells, RowError

StagedRow: TypeAlias = tuple[Any, ...]
CellProblem: TypeAlias = tuple[str, str, str]  # column, hint of the value, message

UNREAD_ROW = "unread"  # a fourth value of the problem of a row without any cells
MAX_SHOWN_CHARACTERS = 60  # of a rejected value


class InvalidRow(Exception):
    """A row whose values do not go together; `column` is the one that is to blame."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


# Names and types of the table's columns for a column of the list; others are text.
STAGED_COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = (
    {
        "key": (("fingerprint", "uuid"), ("hint", "text")),
        "aliases": (("alias_fingerprints", "uuid[]"), ("alias_hints", "text[]")),
        "secret": (("secret_fingerprint", "uuid"),),
        "metadata": (("metadata", "jsonb"),),
        "quota": (("quota", "bigint"),),
        "expires_in": (("expires_in", "bigint"),),
        "accepted_days": (("accepted_days", "integer"),),
    }
    | {
        name: ((name, "timestamptz"),)
        for name in (
            "expires_at",
            "key_active_from",
            "assigned_from",
            "active_from",
            "active_until",
            "suspended_at",
            "occurred_at",
        )
    }
    | {
        name: ((name, "boolean"),)
        for name in (
            "also_without_source",
            "ids_from_callers",
            "check_refuses_over_quota",
            "check_fails_open",
            "signs_claims",
        )
    }
)


def staged_columns(column: ListColumn) -> tuple[tuple[str, str], ...]:
    return STAGED_COLUMNS.get(column.name, ((column.name, "text"),))


def staged_column_names(kind: ListKind) -> list[str]:
    """Return the names of the table's columns that hold a row's values."""
    return [name for column in columns.columns_of(kind) for name, _ in staged_columns(column)]


def missing_staged_columns(upload: int, kind: ListKind) -> set[str]:
    """Return the columns that the staging table of a list checked by an earlier version lacks."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND NOT attisdropped",
            [staging_table(upload)],
        )
        found = {name for (name,) in cursor.fetchall()}
    return {*staged_column_names(kind)} - found


# `:d` admits only a number, so that nothing else can get into the statement.
def staging_table(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}"


def incoming_table(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}_incoming"


def in_staging_schema(table: str) -> str:
    """Return the name of a table that is to be created, in the schema that is open for it."""
    return f"{settings.STAGING_SCHEMA}.{table}"


def drop_staging_tables(upload: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {staging_table(upload)}, {incoming_table(upload)}")


def create_incoming_table(
    upload: int,
    kind: ListKind,
    fixed_values: Mapping[str, str],
    encoded_columns: Sequence[tuple[str, str]] = (),
) -> None:
    """Create an empty incoming table; drop both tables of an earlier check.

    `encoded_columns`: names and types of what an encoder of rows adds.

    Values that every row has (`fixed_values`, by column) are defaults: COPY does not send them.
    """
    drop_staging_tables(upload)
    definitions = [
        f"{name} {column_type}{' DEFAULT %s' if name in fixed_values else ''}"
        for column in columns.columns_of(kind)
        for name, column_type in staged_columns(column)
    ] + [f"{name} {column_type}" for name, column_type in encoded_columns]
    defaults = [fixed_values[name] for name in staged_column_names(kind) if name in fixed_values]
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {in_staging_schema(incoming_table(upload))} "
            f"(number bigint NOT NULL, invalid jsonb, {', '.join(definitions)})",
            defaults,
        )


def names_of_mapped(mapped: Mapping[int, ListColumn]) -> list[str]:
    """Return the names of the table's columns that `staged_rows` gives values for."""
    return [name for column, _ in joined_columns(mapped) for name, _ in staged_columns(column)]


def copy_staged_rows(upload: int, names: Sequence[str], rows: list[StagedRow]) -> None:
    """Append rows to the incoming table: number, problems as JSON, and these columns."""
    statement = f"COPY {incoming_table(upload)} (number, invalid, {', '.join(names)}) FROM STDIN"
    # COPY is several times as fast as INSERT.
    with connection.cursor() as cursor, cursor.copy(statement) as copy_:
        for row in rows:
            copy_.write_row(row)


def decode_json_column(value: str | None) -> Any:
    """Return the value of a jsonb column. Django makes psycopg deliver it as text."""
    return None if value is None else json.loads(value)


def staged_rows(
    read: ListReader, mapped: Mapping[int, ListColumn], rules: CellRules
) -> Iterator[StagedRow]:
    """Yield the values of each row for COPY: number, problems as JSON, then the mapped columns.

    The columns are in the order of `joined_columns`.
    """
    # One function for each column, made once: this loop runs for every cell of up to 1 GB.
    joined = joined_columns(mapped)
    stagers = [
        (cells_at(at), _cell_stager(column, rules.parser_of(column, read.header[at[0]])))
        for column, at in joined
    ]
    width = sum(len(staged_columns(column)) for column, _ in joined)
    for number, cells in read.rows:
        if isinstance(cells, RowError):
            yield _unread_row(number, cells, mapped, read.header, width)
            continue
        problems: list[CellProblem] = []
        values: list[str | None] = []
        for take, stage_cell in stagers:
            stage_cell(take(cells), values, problems)
        yield number, json.dumps(problems) if problems else None, *values


def encoded_rows(
    read: ListReader,
    mapped: Mapping[int, ListColumn],
    rules: CellRules,
    fixed_values: Mapping[str, str],
    encode: Callable[[Mapping[str, str]], Sequence[Any]],
    *,
    width: int,
) -> Iterator[StagedRow]:
    """Yield each row for COPY as an encoder of rows gives it: number, problems, then its values.

    A row that has problems has no values. `width`: the number of values.
    """
    cells_by_column = [
        (column, rules.parser_of(column, read.header[at[0]]), cells_at(at))
        for column, at in joined_columns(mapped)
    ]
    by_name = {column.name: column for column in mapped.values()}
    blank = (None,) * width
    for number, cells in read.rows:
        if isinstance(cells, RowError):
            yield _unread_row(number, cells, mapped, read.header, width)
            continue
        problems: list[CellProblem] = []
        values = {**fixed_values}
        for column, parse, take in cells_by_column:
            try:
                value = parse(take(cells))
            except InvalidCell as error:
                problems.append((column.name, shown_cell(column, take(cells)), str(error)))
                continue
            if value:
                values[column.name] = value
            elif column.required:
                problems.append((column.name, "", gettext_noop("A value is required.")))
        staged: Sequence[Any] = blank
        if not problems:
            try:
                staged = encode(values)
            except InvalidRow as error:
                blamed = by_name.get(error.column)
                shown = shown_cell(blamed, values.get(error.column, "")) if blamed else ""
                problems.append((error.column, shown, str(error)))
        yield number, json.dumps(problems) if problems else None, *staged


def _unread_row(
    number: int, error: RowError, mapped: Mapping[int, ListColumn], header: list[str], width: int
) -> StagedRow:
    """Return a row that could not be read, with `width` values that are all missing."""
    names = {header[position]: column.name for position, column in mapped.items()}
    problem = (names.get(error.column, ""), "", error.message, UNREAD_ROW)
    return number, json.dumps([problem]), *(None,) * width


def joined_columns(mapped: Mapping[int, ListColumn]) -> list[tuple[ListColumn, list[int]]]:
    """Return each mapped column once, with the positions of the file's columns that are it."""
    positions: dict[str, list[int]] = {}
    for position, column in mapped.items():
        positions.setdefault(column.name, []).append(position)
    by_name = {column.name: column for column in mapped.values()}
    return [(by_name[name], at) for name, at in positions.items()]


def cells_at(positions: Sequence[int]) -> Callable[[RowCells], str]:
    """Return a function that takes the cell at the position, or all cells, put together."""
    if len(positions) == 1:
        return itemgetter(positions[0])
    return lambda cells: columns.VALUE_SEPARATOR.join(filter(None, (cells[at] for at in positions)))


CellStager: TypeAlias = Callable[[str, list[str | None], list[CellProblem]], None]


def _cell_stager(column: ListColumn, parse: CellParser) -> CellStager:
    """Return a function that appends a cell's values, and its problem if it has one."""
    name, required = column.name, column.required
    append_value = _value_appender(column)
    blank: list[str | None] = [None] * len(staged_columns(column))

    def stage_cell(cell: str, values: list[str | None], problems: list[CellProblem]) -> None:
        try:
            value = parse(cell)
        except InvalidCell as error:
            problems.append((name, shown_cell(column, cell), str(error)))
            values += blank
            return
        if value:
            append_value(value, values)
        else:
            values += blank
            if required:
                problems.append((name, "", gettext_noop("A value is required.")))

    return stage_cell


def _value_appender(column: ListColumn) -> Callable[[str, list[str | None]], None]:
    # A key leaves only its fingerprint and hint, a secret only a mark to compare it by.
    if column.name == "key":
        return lambda value, values: values.extend((fingerprint_hex(value), hint(value)))
    if column.name == "aliases":
        return _append_aliases
    if column.name == "secret":
        return lambda value, values: values.append(fingerprint_hex(value, label="secret"))
    return lambda value, values: values.append(value)


def _append_aliases(value: str, values: list[str | None]) -> None:
    aliases = value.split(columns.VALUE_SEPARATOR)
    values.append(array_literal(map(fingerprint_hex, aliases)))
    values.append(array_literal(map(hint, aliases)))


def array_literal(texts: Iterable[str]) -> str:
    """Return PostgreSQL's notation for an array of these texts, as COPY takes it."""
    escaped = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in escaped) + "}"


def shown_cell(column: ListColumn, cell: str) -> str:
    """Return the cell as people may see it: a key as its hint, a secret as "", else its start."""
    if column.name == "secret":
        return ""
    if column.secret:
        end = hint(cell.strip())
        return f"…{end}" if end else ""
    return shortened(column.shown_as(cell))


def shortened(text: str) -> str:
    """Return the text, or its start if it is long."""
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}…"
