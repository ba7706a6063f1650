"""Description of another system's export of credentials."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from revcred.uploads.columns import VALUE_SEPARATOR
from revcred.uploads.reading.list_reader import NumberedRow, RowCells, RowError


def nothing_left_out(_: Any) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class ExportFormat:
    """An export: how to recognise its items, and `rows` of one item in the order of `header`.

    `left_out` names, in the plural, what an item has besides and what no row is made of.
    """

    title: str
    header: list[str]
    fits: Callable[[Any], bool]
    rows: Callable[[Any], Iterator[RowCells | RowError]]
    left_out: Callable[[Any], Iterable[str]] = nothing_left_out


def text_value(value: Any) -> str:
    """Return text and numbers as text, "" for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def list_value(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def object_value(value: Any) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list; none if the value is no list."""
    return [each for each in list_value(value) if isinstance(each, dict)]


def first_text(*values: Any) -> str:
    """Return the first of the values that is a text or number with something in it, or ""."""
    return next(filter(None, map(text_value, values)), "")


def join_texts(values: Iterable[Any]) -> str:
    """Join the different texts with the separator of cells."""
    return VALUE_SEPARATOR.join(dict.fromkeys(filter(None, map(text_value, values))))


def numbered_name(name: str, number: int, *, of: int) -> str:
    """Return the name, with a number if several share it."""
    return name if of == 1 else f"{name} {number}"


def number_equal_names(rows: Iterable[NumberedRow], header: list[str]) -> Iterator[NumberedRow]:
    """Pass on rows in which later ones of a customer with the same name have a number behind it.

    Other systems let several keys of a customer have one name.
    """
    name = header.index("name")
    customer = header.index("customer") if "customer" in header else None
    times: dict[tuple[str, str], int] = {}
    for number, row in rows:
        if not isinstance(row, RowError) and row[name]:
            same = ("" if customer is None else row[customer], row[name])
            times[same] = times.get(same, 0) + 1
            if times[same] > 1:
                row[name] = f"{row[name]} {times[same]}"
        yield number, row
