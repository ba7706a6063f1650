"""Which column of a file is which of ours."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from revcred.uploads.columns import Column, Invalid, Kind, of
from revcred.uploads.reading import RowCells
from revcred.uploads.reading.list_reader import cell_error

Position = TypeVar("Position", int, str)  # in the header; kept as JSON, it is text

KEY = re.compile(r"(?=\S*\d)[!-~]{16,}")  # what only a machine would write
ADDRESS = re.compile(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*")


def guess(kind: Kind, header: Sequence[str], sample: Sequence[RowCells]) -> dict[int, str]:
    """The name of our column for each position of the header for which one can be told.

    Its own name or title counts most, then another name for it that its cells do not contradict,
    then what its cells look like.
    """
    mapping: dict[int, str] = {}
    for position, column in (
        *_by_name(kind, header),
        *_by_alias(kind, header, sample),
        *_by_content(kind, header, sample),
    ):
        if position not in mapping and column not in mapping.values():
            mapping[position] = column
    return dict(sorted(mapping.items()))


def signature(kind: Kind, header: Sequence[str]) -> str:
    """What files of the same shape have in common, to remember a mapping under."""
    shape = "\0".join([kind, *(_bare(name) for name in header)])
    return sha256(shape.encode()).hexdigest()


def missing(kind: Kind, mapping: Mapping[int, str], for_all: Iterable[str] = ()) -> list[str]:
    """The names of the required columns that nothing is mapped to, and not every row has."""
    said = {*mapping.values(), *for_all}
    return [each.name for each in of(kind) if each.required and each.name not in said]


def for_all(kind: Kind, said: Mapping[str, str]) -> dict[str, str]:
    """What every row is to have, as it is taken in: of columns that may be the same in each.

    Raises Invalid, with the column's name.
    """
    ours = {each.name: each for each in of(kind) if may_be_for_all(each)}
    taken = {}
    for name, cell in said.items():
        if name not in ours:
            raise Invalid(f"“{name[:100]}” is none of {', '.join(ours)}.")
        try:
            taken[name] = cell_for_all(ours[name], cell)
        except Invalid as error:
            raise Invalid(f"{name}: {error}") from None
    return {name: value for name, value in taken.items() if value}


def cell_for_all(column: Column, cell: str) -> str:
    """As if it stood in every row. Raises Invalid."""
    if error := cell_error(column.name, cell):
        raise Invalid(error.message)
    return column.parse(cell)


def besides(mapping: Mapping[Position, str], for_all: Container[str]) -> dict[Position, str]:
    """What every row has is not taken from a column."""
    return {position: name for position, name in mapping.items() if name not in for_all}


def may_be_for_all(column: Column) -> bool:
    return not (column.secret or column.identifying)


def _bare(name: str) -> str:
    """A name as far as it matters: neither case nor anything between its words."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _by_name(kind: Kind, header: Sequence[str]) -> Iterator[tuple[int, str]]:
    ours = {_bare(each): column.name for column in of(kind) for each in (column.title, column.name)}
    for position, name in enumerate(header):
        if _bare(name) in ours:
            yield position, ours[_bare(name)]


def _by_alias(
    kind: Kind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    ours = {_bare(alias): column for column in of(kind) for alias in column.aliases}
    for position, name in enumerate(header):
        column = ours.get(_bare(name))
        if column and _fits(column, [row[position] for row in sample]):
            yield position, column.name


def _fits(column: Column, cells: Sequence[str]) -> bool:
    """Whether most of the cells can mean what the column is for."""
    return 2 * sum(_can_be(column, each) for each in cells) >= len(cells)


def _can_be(column: Column, cell: str) -> bool:
    try:
        column.parse(cell)
    except Invalid:
        return False
    return True


def _by_content(
    kind: Kind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    """Only where a single column looks like it: a guess between two is none."""
    columns = [
        [row[position] for row in sample if row[position]] for position in range(len(header))
    ]
    for name, looks_like in BY_CONTENT.get(kind, {}).items():
        alike = [position for position, cells in enumerate(columns) if cells and looks_like(cells)]
        if len(alike) == 1:
            yield alike[0], name


def _addresses(cells: Sequence[str]) -> bool:
    return all(ADDRESS.fullmatch(each) for each in cells)


def _keys(cells: Sequence[str]) -> bool:
    return all(KEY.fullmatch(each) for each in cells) and len({*cells}) == len(cells)


BY_CONTENT: Mapping[Kind, Mapping[str, Callable[[Sequence[str]], bool]]] = {
    Kind.CREDENTIALS: {"holders": _addresses, "key": _keys},
    Kind.SUBSCRIBERS: {"email": _addresses},
}
