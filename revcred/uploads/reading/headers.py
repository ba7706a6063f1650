"""The names of the columns, before any row is believed."""

import re

from revcred.uploads.reading.lists import MOST_COLUMNS, UNFIT, Unreadable

LONGEST_NAME = 200  # characters
IGNORED = "error"  # the column in which refused rows say why

# What is no name of a column: an address, a number, a day, a long string without a space.
DATA = re.compile(r"\S+@\S+\.\S+|[\d.,:/+-]+|\d{4}-\d\d-\d\d.*|(?=(\D*\d){4})\S{20,}")


def names_in(cells: list[str], *, row: int | None) -> list[str]:
    """The header in these cells, without blank ones at its end.

    Raises Unreadable if it is none, has a doubled or an empty name, or too many.
    """
    names = [each.strip() for each in cells]
    while names and not names[-1]:
        names.pop()
    if len(names) > MOST_COLUMNS:
        raise Unreadable(f"There are {len(names):,} columns; {MOST_COLUMNS} is the most.", row=row)
    for position, name in enumerate(names, start=1):
        if not name:
            raise Unreadable(f"Column {position} has no name.", row=row)
        if len(name) > LONGEST_NAME:
            raise Unreadable(f"The name of column {position} is too long.", row=row)
        if UNFIT.search(name):
            raise Unreadable(f"The name of column {position} is no text.", row=row)
    if any(DATA.fullmatch(each) for each in names):
        raise Unreadable("This looks like data. The first row has to name the columns.", row=row)
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen:
            raise Unreadable("There are two columns of this name.", row=row, column=name)
        seen.add(name.lower())
    return names


def ignored(name: str) -> bool:
    return name.lower() == IGNORED
