"""The table an upload's rows wait in: what each says, and then what it would do.

Keys and secrets are never in it, nor sealed: a fingerprint tells them apart, and the file is
read again when they are sealed for the rows they belong to. A first table takes the rows in,
without a log; the one that is checked is logged, so that an upload survives what PostgreSQL does.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from django.db import connection

from revcred.fingerprints import fingerprint_hex, hint
from revcred.uploads import columns
from revcred.uploads.columns import InvalidCell, ListColumn, ListKind
from revcred.uploads.reading import ListReader, RowError

StagedRow: TypeAlias = tuple[Any, ...]
CellProblem: TypeAlias = tuple[str, str, str]  # column, hint of the value, what is wrong

MAX_SHOWN_CHARACTERS = 60  # characters of a refused value

# What a column becomes, if not text: several names and types, of a key and a secret.
STAGED_COLUMNS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "key": (("fingerprint", "uuid"), ("hint", "text")),
    "secret": (("secret_mark", "uuid"),),
    "metadata": (("metadata", "jsonb"),),
    "quota": (("quota", "bigint"),),
} | {
    name: ((name, "timestamptz"),)
    for name in (
        "expires_at",
        "key_active_from",
        "assigned_from",
        "active_from",
        "active_until",
    )
}


def staged_columns(column: ListColumn) -> tuple[tuple[str, str], ...]:
    return STAGED_COLUMNS.get(column.name, ((column.name, "text"),))


def staged_column_names(kind: ListKind) -> list[str]:
    """The names of the columns that hold what a row says."""
    return [name for column in columns.columns_of(kind) for name, _ in staged_columns(column)]


def staging_table(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}"


def incoming_table(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}_incoming"


def drop_staging_tables(upload: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {staging_table(upload)}, {incoming_table(upload)}")


def create_incoming_table(upload: int, kind: ListKind, for_all: Mapping[str, str]) -> None:
    """An empty table to take rows in, in place of whatever was there."""
    drop_staging_tables(upload)
    typed = [
        f"{name} {kind_}{' DEFAULT %s' if name in for_all else ''}"
        for each in columns.columns_of(kind)
        for name, kind_ in staged_columns(each)
    ]
    given = [for_all[name] for name in staged_column_names(kind) if name in for_all]
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {incoming_table(upload)} "
            f"(number bigint NOT NULL, invalid jsonb, {', '.join(typed)})",
            given,
        )


def copy_staged_rows(
    upload: int, kind: ListKind, mapped: Mapping[int, ListColumn], rows: list[StagedRow]
) -> None:
    names = [name for column in mapped.values() for name, _ in staged_columns(column)]
    statement = f"COPY {incoming_table(upload)} (number, invalid, {', '.join(names)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy_:
        for row in rows:
            copy_.write_row(row)


def decode_json_column(value: str | None) -> Any:
    """What PostgreSQL keeps as JSON: Django has it come as text."""
    return None if value is None else json.loads(value)


def staged_rows(read: ListReader, mapped: Mapping[int, ListColumn]) -> Iterator[StagedRow]:
    """What COPY takes of each row, in the order of `mapped`."""
    readers = [(position, _cell_stager(column)) for position, column in mapped.items()]
    width = sum(len(staged_columns(column)) for column in mapped.values())
    nothing = (None,) * width
    titles = {read.header[position]: column.name for position, column in mapped.items()}
    for number, cells in read.rows:
        if isinstance(cells, RowError):
            problem = (titles.get(cells.column, ""), "", cells.message)
            yield number, json.dumps([problem]), *nothing
            continue
        problems: list[CellProblem] = []
        values: list[str | None] = []
        for position, take in readers:
            take(cells[position], values, problems)
        yield number, json.dumps(problems) if problems else None, *values


CellStager: TypeAlias = Callable[[str, list[str | None], list[CellProblem]], None]


def _cell_stager(column: ListColumn) -> CellStager:
    """Adds what becomes of one cell to the values, and what is wrong with it to the problems."""
    parse, name, required = column.parse, column.name, column.required
    spread = _value_appender(column)
    blank: list[str | None] = [None] * len(staged_columns(column))

    def take(cell: str, values: list[str | None], problems: list[CellProblem]) -> None:
        try:
            value = parse(cell)
        except InvalidCell as error:
            problems.append((name, shown_cell(column, cell), str(error)))
            values += blank
            return
        if value:
            spread(value, values)
        else:
            values += blank
            if required:
                problems.append((name, "", "It is empty."))

    return take


def _value_appender(column: ListColumn) -> Callable[[str, list[str | None]], None]:
    if column.name == "key":
        return lambda value, values: values.extend((fingerprint_hex(value), hint(value)))
    if column.name == "secret":
        return lambda value, values: values.append(fingerprint_hex(value, label="secret"))
    return lambda value, values: values.append(value)


def shown_cell(column: ListColumn, cell: str) -> str:
    """Enough of a value to find it by; of a key only what a hint may show, of a secret nothing."""
    if column.name == "secret":
        return ""
    if column.secret:
        end = hint(cell.strip())
        return f"…{end}" if end else ""
    return cell if len(cell) <= MAX_SHOWN_CHARACTERS else f"{cell[:MAX_SHOWN_CHARACTERS]}…"
