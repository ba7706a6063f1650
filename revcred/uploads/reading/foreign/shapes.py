"""What there is to know about another system's export of credentials."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from revcred.uploads.columns import SEPARATOR
from revcred.uploads.reading.lists import Cells, RowError


@dataclass(frozen=True)
class Shape:
    """`rows` are those of one exported thing, in the order of `header`."""

    title: str
    header: list[str]
    fits: Callable[[Any], bool]
    rows: Callable[[Any], Iterator[Cells | RowError]]


def text(value: Any) -> str:
    """What is no text and no number is not for a cell."""
    return str(value) if isinstance(value, str | int | float) else ""


def listed(value: Any) -> list[Any]:
    """What should be a list, and else nothing."""
    return value if isinstance(value, list) else []


def things(value: Any) -> list[dict[str, Any]]:
    """The objects in what should be a list of them."""
    return [each for each in listed(value) if isinstance(each, dict)]


def joined(values: Iterable[Any]) -> str:
    """Each of them once."""
    return SEPARATOR.join(dict.fromkeys(filter(None, map(text, values))))


def numbered(name: str, number: int, *, of: int) -> str:
    """A name of its own for each of several that have one between them."""
    return name if of == 1 else f"{name} {number}"
