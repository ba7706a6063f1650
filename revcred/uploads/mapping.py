"""Which column of a file is which of ours."""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TypeVar

from revcred.uploads.columns import InvalidCell, ListColumn, ListKind, columns_of
from revcred.uploads.reading import RowCells
from revcred.uploads.reading.list_reader import cell_error

HeaderPosition = TypeVar("HeaderPosition", int, str)  # in the header; kept as JSON, it is text

LOOKS_LIKE_KEY = re.compile(r"(?=\S*\d)[!-~]{16,}")  # what only a machine would write
LOOKS_LIKE_ADDRESS = re.compile(r"\s*[^\s@]+@[^\s@]+\.[^\s@]+\s*")


def guess_mapping(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> dict[int, str]:
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


def header_signature(kind: ListKind, header: Sequence[str]) -> str:
    """What files of the same shape have in common, to remember a mapping under."""
    shape = "\0".join([kind, *(_normalised_name(name) for name in header)])
    return sha256(shape.encode()).hexdigest()


def missing_columns(
    kind: ListKind, mapping: Mapping[int, str], for_all: Iterable[str] = ()
) -> list[str]:
    """The names of the required columns that nothing is mapped to, and not every row has."""
    said = {*mapping.values(), *for_all}
    return [each.name for each in columns_of(kind) if each.required and each.name not in said]


def parse_fixed_values(kind: ListKind, said: Mapping[str, str]) -> dict[str, str]:
    """What every row is to have, as it is taken in: of columns that may be the same in each.

    Raises InvalidCell, with the column's name.
    """
    ours = {each.name: each for each in columns_of(kind) if may_be_fixed(each)}
    taken = {}
    for name, cell in said.items():
        if name not in ours:
            raise InvalidCell(f"“{name[:100]}” is none of {', '.join(ours)}.")
        try:
            taken[name] = parse_fixed_value(ours[name], cell)
        except InvalidCell as error:
            raise InvalidCell(f"{name}: {error}") from None
    return {name: value for name, value in taken.items() if value}


def parse_fixed_value(column: ListColumn, cell: str) -> str:
    """As if it stood in every row. Raises InvalidCell."""
    if error := cell_error(column.name, cell):
        raise InvalidCell(error.message)
    return column.parse(cell)


def without_fixed_columns(
    mapping: Mapping[HeaderPosition, str], for_all: Container[str]
) -> dict[HeaderPosition, str]:
    """What every row has is not taken from a column."""
    return {position: name for position, name in mapping.items() if name not in for_all}


def may_be_fixed(column: ListColumn) -> bool:
    return not (column.secret or column.identifying)


def _normalised_name(name: str) -> str:
    """A name as far as it matters: neither case nor anything between its words."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _by_name(kind: ListKind, header: Sequence[str]) -> Iterator[tuple[int, str]]:
    ours = {
        _normalised_name(each): column.name
        for column in columns_of(kind)
        for each in (column.title, column.name)
    }
    for position, name in enumerate(header):
        if _normalised_name(name) in ours:
            yield position, ours[_normalised_name(name)]


def _by_alias(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    ours = {
        _normalised_name(alias): column for column in columns_of(kind) for alias in column.aliases
    }
    for position, name in enumerate(header):
        column = ours.get(_normalised_name(name))
        if column and _cells_fit(column, [row[position] for row in sample]):
            yield position, column.name


def _cells_fit(column: ListColumn, cells: Sequence[str]) -> bool:
    """Whether most of the cells can mean what the column is for."""
    return 2 * sum(_is_valid_cell(column, each) for each in cells) >= len(cells)


def _is_valid_cell(column: ListColumn, cell: str) -> bool:
    try:
        column.parse(cell)
    except InvalidCell:
        return False
    return True


def _by_content(
    kind: ListKind, header: Sequence[str], sample: Sequence[RowCells]
) -> Iterator[tuple[int, str]]:
    """Only where a single column looks like it: a guess between two is none."""
    columns = [
        [row[position] for row in sample if row[position]] for position in range(len(header))
    ]
    for name, looks_like in GUESSES_BY_CONTENT.get(kind, {}).items():
        alike = [position for position, cells in enumerate(columns) if cells and looks_like(cells)]
        if len(alike) == 1:
            yield alike[0], name


def _are_addresses(cells: Sequence[str]) -> bool:
    return all(LOOKS_LIKE_ADDRESS.fullmatch(each) for each in cells)


def _are_keys(cells: Sequence[str]) -> bool:
    return all(LOOKS_LIKE_KEY.fullmatch(each) for each in cells) and len({*cells}) == len(cells)


GUESSES_BY_CONTENT: Mapping[ListKind, Mapping[str, Callable[[Sequence[str]], bool]]] = {
    ListKind.CREDENTIALS: {"holders": _are_addresses, "key": _are_keys},
    ListKind.SUBSCRIBERS: {"email": _are_addresses},
}
