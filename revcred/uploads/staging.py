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
from revcred.uploads.columns import Column, Invalid, Kind
from revcred.uploads.reading import ListReader, RowError

Staged: TypeAlias = tuple[Any, ...]
Problem: TypeAlias = tuple[str, str, str]  # column, hint of the value, what is wrong

SHOWN = 60  # characters of a refused value

# What a column becomes, if not text: several names and types, of a key and a secret.
BECOMES: Mapping[str, tuple[tuple[str, str], ...]] = {
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


def becomes(column: Column) -> tuple[tuple[str, str], ...]:
    return BECOMES.get(column.name, ((column.name, "text"),))


def facts(kind: Kind) -> list[str]:
    """The names of the columns that hold what a row says."""
    return [name for column in columns.of(kind) for name, _ in becomes(column)]


def table(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}"


def incoming(upload: int) -> str:
    return f"revcred_uploadrow_{upload:d}_incoming"


def drop(upload: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {table(upload)}, {incoming(upload)}")


def begin(upload: int, kind: Kind, for_all: Mapping[str, str]) -> None:
    """An empty table to take rows in, in place of whatever was there."""
    drop(upload)
    typed = [
        f"{name} {kind_}{' DEFAULT %s' if name in for_all else ''}"
        for each in columns.of(kind)
        for name, kind_ in becomes(each)
    ]
    given = [for_all[name] for name in facts(kind) if name in for_all]
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {incoming(upload)} "
            f"(number bigint NOT NULL, invalid jsonb, {', '.join(typed)})",
            given,
        )


def copy(upload: int, kind: Kind, mapped: Mapping[int, Column], rows: list[Staged]) -> None:
    names = [name for column in mapped.values() for name, _ in becomes(column)]
    statement = f"COPY {incoming(upload)} (number, invalid, {', '.join(names)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement) as copy_:
        for row in rows:
            copy_.write_row(row)


def decoded(value: str | None) -> Any:
    """What PostgreSQL keeps as JSON: Django has it come as text."""
    return None if value is None else json.loads(value)


def rows(read: ListReader, mapped: Mapping[int, Column]) -> Iterator[Staged]:
    """What COPY takes of each row, in the order of `mapped`."""
    readers = [(position, _reader(column)) for position, column in mapped.items()]
    width = sum(len(becomes(column)) for column in mapped.values())
    nothing = (None,) * width
    titles = {read.header[position]: column.name for position, column in mapped.items()}
    for number, cells in read.rows:
        if isinstance(cells, RowError):
            problem = (titles.get(cells.column, ""), "", cells.message)
            yield number, json.dumps([problem]), *nothing
            continue
        problems: list[Problem] = []
        values: list[str | None] = []
        for position, take in readers:
            take(cells[position], values, problems)
        yield number, json.dumps(problems) if problems else None, *values


Take: TypeAlias = Callable[[str, list[str | None], list[Problem]], None]


def _reader(column: Column) -> Take:
    """Adds what becomes of one cell to the values, and what is wrong with it to the problems."""
    parse, name, required = column.parse, column.name, column.required
    spread = _spread(column)
    blank: list[str | None] = [None] * len(becomes(column))

    def take(cell: str, values: list[str | None], problems: list[Problem]) -> None:
        try:
            value = parse(cell)
        except Invalid as error:
            problems.append((name, shown(column, cell), str(error)))
            values += blank
            return
        if value:
            spread(value, values)
        else:
            values += blank
            if required:
                problems.append((name, "", "It is empty."))

    return take


def _spread(column: Column) -> Callable[[str, list[str | None]], None]:
    if column.name == "key":
        return lambda value, values: values.extend((fingerprint_hex(value), hint(value)))
    if column.name == "secret":
        return lambda value, values: values.append(fingerprint_hex(value, label="secret"))
    return lambda value, values: values.append(value)


def shown(column: Column, cell: str) -> str:
    """Enough of a value to find it by; of a key only what a hint may show, of a secret nothing."""
    if column.name == "secret":
        return ""
    if column.secret:
        end = hint(cell.strip())
        return f"…{end}" if end else ""
    return cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}…"
