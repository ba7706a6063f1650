"""Validation of a list's header."""

import re

from revcred.uploads.reading.list_reader import MAX_COLUMNS, UNFIT_CHARACTERS, UnreadableFile

MAX_COLUMN_NAME = 200  # characters

# Cells that are data rather than names: an address, a number, a day, a long string without space.
LOOKS_LIKE_DATA = re.compile(r"\S+@\S+\.\S+|[\d.,:/+-]+|\d{4}-\d\d-\d\d.*|(?=(\D*\d){4})\S{20,}")


def column_names_in(cells: list[str], *, row: int | None) -> list[str]:
    """Return the column names in these cells, without blank ones at the end.

    Raises UnreadableFile if they look like data, or a name is empty, doubled or one too many.
    """
    names = [each.strip() for each in cells]
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        raise UnreadableFile(
            f"There are {len(names):,} columns; at most {MAX_COLUMNS} are allowed.", row=row
        )
    for position, name in enumerate(names, start=1):
        if not name:
            raise UnreadableFile(f"Column {position} has no name.", row=row)
        if len(name) > MAX_COLUMN_NAME:
            raise UnreadableFile(f"The name of column {position} is too long.", row=row)
        if UNFIT_CHARACTERS.search(name):
            raise UnreadableFile(f"The name of column {position} is no text.", row=row)
    # A file without a header would lose its first row, and nobody would notice.
    if any(LOOKS_LIKE_DATA.fullmatch(each) for each in names):
        raise UnreadableFile(
            "This looks like data. The first row has to name the columns.", row=row
        )
    seen: set[str] = set()
    for name in names:
        # Mappings and errors name columns by their header, so it has to be unique.
        if name.lower() in seen:
            raise UnreadableFile("There are two columns of this name.", row=row, column=name)
        seen.add(name.lower())
    return names
