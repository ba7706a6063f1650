"""Validation of a list's header."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from typing import Protocol

from django.utils.translation import gettext_noop

from revcred.uploads.reading.list_reader import (
    MAX_COLUMNS,
    UNFIT_CHARACTERS,
    NumberedRow,
    RowCells,
    RowError,
    UnreadableFile,
)
from revcred.uploads.reading.row_copiers import is_error_column

MAX_COLUMN_NAME = 200  # characters

# Cells that are data rather than names: an address, a number, a day, a long string without space.
LOOKS_LIKE_DATA = re.compile(r"\S+@\S+\.\S+|[\d.,:/+-]+|\d{4}-\d\d-\d\d.*|(?=(\D*\d){4})\S{20,}")


MAX_ROWS_ABOVE_HEADER = 20
SHARE_OF_A_HEADER = 0.6  # of the cells that most rows have; titles have fewer


def find_header(rows: Iterator[NumberedRow]) -> int | None:
    """Return the number of the row that names the columns; None if there is no row.

    Rows of titles above it have fewer cells than the table.
    """
    first = [
        (number, row)
        for number, row in islice(rows, MAX_ROWS_ABOVE_HEADER)
        if isinstance(row, RowError) or any(map(str.strip, row))
    ]
    usual = _usual_width([_filled(row) for _, row in first])
    for number, row in first:
        # Which row is meant, nobody can tell if one above it cannot be read.
        if isinstance(row, RowError) or not _is_title(row, usual):
            return number
    return None


class TableCopier(Protocol):
    """A copier of rows that is told which of them are the header, and which stand above it."""

    def pass_title(self) -> None: ...

    def pass_header(self) -> None: ...


def read_header(
    rows: Iterator[NumberedRow],
    header_row: int,
    copier: TableCopier,
    *,
    empty: str,
    clean: Callable[[str], str] = str.strip,
) -> tuple[list[str], int]:
    """Read up to the header, which has this number at least.

    Return the names of the columns, and how many rows with something in them stand above. Raises
    UnreadableFile, with the message `empty` if there is no header.
    """
    above = 0
    for number, row in rows:
        is_blank = not isinstance(row, RowError) and not any(row)
        if number >= header_row and not is_blank:
            if isinstance(row, RowError):
                raise UnreadableFile(row.message, row=number)
            copier.pass_header()
            return column_names_in([*map(clean, row)], row=number), above
        above += not is_blank
        copier.pass_title()
    raise UnreadableFile(empty if not above else gettext_noop("There is no row of columns."))


def _filled(row: RowCells | RowError) -> int:
    return 0 if isinstance(row, RowError) else sum(bool(cell.strip()) for cell in row)


def _usual_width(widths: list[int]) -> int:
    """Return the width that most rows have, the largest of several; 0 if no two have the same."""
    counts = Counter(widths)
    width, count = max(counts.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    return width if count > 1 else 0


def _is_title(row: RowCells, usual: int) -> bool:
    width = _filled(row)
    if width >= usual:
        return False
    looks_like_data = any(LOOKS_LIKE_DATA.fullmatch(cell.strip()) for cell in row)
    return width < max(2, SHARE_OF_A_HEADER * usual) or looks_like_data


def column_names_in(cells: list[str], *, row: int | None) -> list[str]:
    """Return the column names in these cells, without blank ones at the end.

    Columns without a name get one by their position, and of equal names later ones get a number.
    Raises UnreadableFile if they look like data, if most are empty, or if there are too many.
    """
    names = [each.strip() for each in cells]
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise UnreadableFile(
            f"There are {len(names):,} columns; at most {MAX_COLUMNS} are allowed.", row=row
        )
    if 2 * names.count("") >= len(names) > 0:
        raise UnreadableFile(gettext_noop("Most of the columns have no name."), row=row)
    for position, name in enumerate(names, start=1):
        if len(name) > MAX_COLUMN_NAME:
            raise UnreadableFile(f"The name of column {position} is too long.", row=row)
        if UNFIT_CHARACTERS.search(name):
            raise UnreadableFile(f"The name of column {position} is no text.", row=row)
    # A file without a header would lose its first row, and nobody would notice.
    if any(LOOKS_LIKE_DATA.fullmatch(each) for each in names):
        raise UnreadableFile(
            gettext_noop("This looks like data. The first row has to name the columns."), row=row
        )
    # A column of errors, which comes with rejected rows, moves no other column's number.
    positions = accumulate(int(not is_error_column(name)) for name in names)
    return _unique_names(
        [name or f"Column {at}" for at, name in zip(positions, names, strict=True)]
    )


def _unique_names(names: list[str]) -> list[str]:
    """Number equal names: mappings and errors name columns by their header."""
    seen: set[str] = set()
    unique = []
    for name in names:
        numbered, number = name, 1
        while numbered.lower() in seen:
            number += 1
            numbered = f"{name} ({number})"
        seen.add(numbered.lower())
        unique.append(numbered)
    return unique
