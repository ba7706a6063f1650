"""Description of another system's export of credentials."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from revcred.uploads.columns import VALUE_SEPARATOR
from revcred.uploads.reading.list_reader import RowCells, RowError


@dataclass(frozen=True)
class ExportFormat:
    """An export: how to recognise its items, and `rows` of one item in the order of `header`."""

    title: str
    header: list[str]
    fits: Callable[[Any], bool]
    rows: Callable[[Any], Iterator[RowCells | RowError]]


def text_value(value: Any) -> str:
    """Return text and numbers as text, "" for anything else."""
    return str(value) if isinstance(value, str | int | float) else ""


def list_value(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def objects_in(value: Any) -> list[dict[str, Any]]:
    """Return the objects in a list; none if the value is no list."""
    return [each for each in list_value(value) if isinstance(each, dict)]


def join_texts(values: Iterable[Any]) -> str:
    """Join the different texts with the separator of cells."""
    return VALUE_SEPARATOR.join(dict.fromkeys(filter(None, map(text_value, values))))


def numbered_name(name: str, number: int, *, of: int) -> str:
    """Return the name, with a number if several share it."""
    return name if of == 1 else f"{name} {number}"
