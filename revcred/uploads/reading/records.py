"""Lists whose cells are named instead of placed: what JSON and YAML hold."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import msgspec

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

# What most records are made of; four times as fast as what all of them are.
PLAIN = msgspec.json.Decoder(dict[str, str | int | bool | list[str] | None])
# Anything else as it was written: a number as a key, an object as metadata.
WRITTEN = msgspec.json.Decoder(dict[str, msgspec.Raw])
TEXT = msgspec.json.Decoder(str)
VALUES = msgspec.json.Decoder(list[msgspec.Raw])

Record: TypeAlias = tuple[int, dict[str, Any] | RowError]


class SeveralInOne(Exception):
    """A value of a list would look like two."""


def decoded(text: bytes | str) -> dict[str, Any] | RowError:
    """One record of JSON."""
    try:
        return PLAIN.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        return WRITTEN.decode(text)
    except msgspec.ValidationError:
        return RowError("", "It is no object.")
    except (msgspec.DecodeError, RecursionError):
        return RowError("", "It is no JSON.")


def of_records(
    title: str, records: Callable[[], Iterator[Record]], position: Callable[[], float]
) -> List:
    """The list of what `records` gives each time from the start. Raises Unreadable.

    Another system's shape is known by the first record; it comes out under our own names.
    """
    first = next((record for _, record in records() if isinstance(record, dict)), {})
    foreign = next((each for each in SHAPES if each.fits(whole(first))), None)
    if foreign:
        return of_foreign(foreign, title, records(), position)
    fields = _fields(records())
    header = names_in(fields, row=None)
    return List(title, header, fitting(header, _placed(fields, records())), position)


def of_foreign(
    foreign: Shape, title: str, records: Iterable[Record], position: Callable[[], float]
) -> List:
    """The list of what another system has exported, each credential counted for itself."""
    rows = enumerate(_translated(foreign, records), start=1)
    return List(
        f"{foreign.title}, {title}", foreign.header, fitting(foreign.header, rows), position
    )


def whole(record: dict[str, Any]) -> dict[str, Any]:
    """With all that is in it."""
    return {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in record.items()
    }


def _translated(foreign: Shape, records: Iterable[Record]) -> Iterator[Cells | RowError]:
    key = foreign.header.index("key")
    for _, record in records:
        if isinstance(record, RowError):
            yield record
        elif not foreign.fits(full := whole(record)):
            yield RowError("", f"It is not what {foreign.title} exports.")
        else:
            for row in foreign.rows(full):
                keyless = not isinstance(row, RowError) and not row[key]
                yield RowError("key", "It has no key.") if keyless else row


def _fields(records: Iterable[Record]) -> list[str]:
    """All there are, in the order in which they first appear."""
    fields: dict[str, None] = {}
    for number, record in records:
        if isinstance(record, dict) and not record.keys() <= fields.keys():
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
        yield number, record if isinstance(record, RowError) else _row(fields, record)


def _row(fields: list[str], record: dict[str, Any]) -> Cells | RowError:
    cells = []
    for field in fields:
        value = record.get(field)
        try:
            cells.append(value if isinstance(value, str) else _text(value))
        except (msgspec.DecodeError, RecursionError):
            return RowError(field.strip(), "It is no JSON.")
        except SeveralInOne:
            return RowError(field.strip(), f"One of several values may not contain {SEPARATOR}.")
    return cells


def _text(value: Any) -> str:
    """A value as one would write it into a cell. Raises SeveralInOne, DecodeError."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return _joined(value)
        case msgspec.Raw():
            return _written(bytes(value))
        case _:
            return str(value)


def _written(value: bytes) -> str:
    match value[:1]:
        case b'"':
            return TEXT.decode(value)
        case b"[":
            return _joined([_text(each) for each in VALUES.decode(value)])
        case b"n":
            return ""
        case _:
            return value.decode()


def _joined(values: list[str]) -> str:
    if any(SEPARATOR in each for each in values):
        raise SeveralInOne
    return SEPARATOR.join(values)
