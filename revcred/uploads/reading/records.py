"""Lists whose cells are named instead of placed: what JSON and YAML hold."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

from msgspec import json

from revcred.uploads.columns import SEPARATOR
from revcred.uploads.reading.foreign import SHAPES, Shape
from revcred.uploads.reading.headers import names_in
from revcred.uploads.reading.lists import (
    MOST_COLUMNS,
    Cells,
    List,
    Row,
    RowError,
    Unreadable,
    fitting,
)

Record: TypeAlias = tuple[int, Any]  # what it is, or a RowError


def of_records(
    title: str, records: Callable[[], Iterator[Record]], position: Callable[[], float]
) -> List:
    """The list of what `records` gives each time from the start. Raises Unreadable.

    Another system's shape is known by the first record; it comes out under our own names.
    """
    first = next((record for _, record in records() if not isinstance(record, RowError)), None)
    foreign = next((each for each in SHAPES if each.fits(first)), None)
    if foreign:
        rows = fitting(foreign.header, _translated(foreign, records()))
        return List(f"{foreign.title}, {title}", foreign.header, rows, position)
    fields = _fields(records())
    header = names_in(fields, row=None)
    return List(title, header, fitting(header, _placed(fields, records())), position)


def _translated(foreign: Shape, records: Iterable[Record]) -> Iterator[Row]:
    for number, record in records:
        if isinstance(record, RowError):
            yield number, record
        elif not foreign.fits(record):
            yield number, RowError("", f"It is not what {foreign.title} exports.")
        else:
            for row in foreign.rows(record):
                yield number, row


def _fields(records: Iterable[Record]) -> list[str]:
    """All there are, in the order in which they first appear."""
    fields: dict[str, None] = {}
    for number, record in records:
        if isinstance(record, dict):
            fields |= dict.fromkeys(record)
        if len(fields) > MOST_COLUMNS:
            raise Unreadable(f"There are more than {MOST_COLUMNS} fields up to here.", row=number)
    if not fields:
        raise Unreadable("The file is empty.")
    if not all(field.strip() for field in fields):
        raise Unreadable("There is a field without a name.")
    return list(fields)


def _placed(fields: list[str], records: Iterable[Record]) -> Iterator[Row]:
    for number, record in records:
        if isinstance(record, RowError):
            yield number, record
        elif isinstance(record, dict):
            yield number, _row(fields, record)
        else:
            yield number, RowError("", "It is no object.")


def _row(fields: list[str], record: dict[str, Any]) -> Cells | RowError:
    cells = []
    for field in fields:
        value = record.get(field)
        if isinstance(value, str):
            cells.append(value)
        elif isinstance(value, list) and any(SEPARATOR in text_of(each) for each in value):
            return RowError(field.strip(), f"One of several values may not contain {SEPARATOR}.")
        else:
            cells.append(text_of(value))
    return cells


def text_of(value: Any) -> str:
    """A value as one would write it into a cell."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case list():
            return SEPARATOR.join(text_of(each) for each in value)
        case dict():
            return json.encode(value).decode()
        case _:
            return str(value)
