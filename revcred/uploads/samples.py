"""Samples of a file's columns: values that help people, and the ends of those that may be keys."""

import re
from collections.abc import Container, Mapping, Sequence

from revcred.fingerprints import hint
from revcred.uploads import staging
from revcred.uploads.columns import ListColumn
from revcred.uploads.key_cells import are_hashes
from revcred.uploads.reading import RowCells

SAMPLE_VALUES = 3  # of each column
# Shorter values are no keys, where nobody says that they are: with a digit in them, and without.
MIN_KEY_CHARACTERS = 8
MIN_KEY_LETTERS = 12

SECRET_HEADER = re.compile(
    r"secret|passw|pwd|token|credential|schlüssel|(?:^|[^a-z])(?:api)?key", re.IGNORECASE
)
HARMLESS_VALUE = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+|[\d.,:/T+Z -]+|https?://\S+")


def sample_rows(
    header: Sequence[str], rows: Sequence[RowCells], mapped: Mapping[int, ListColumn]
) -> list[list[str]]:
    """Return rows of the first different values of each column, as a page may show them."""
    secret = [position for position, column in mapped.items() if column.secret]
    cut = [_without_secrets(row, secret) for row in rows]
    shown = [
        _shown_values(name, [row[position] for row in cut], mapped.get(position))
        for position, name in enumerate(header)
    ]
    return [
        [values[nth] if nth < len(values) else "" for values in shown]
        for nth in range(SAMPLE_VALUES)
    ]


def _without_secrets(row: RowCells, secret: Sequence[int]) -> list[str]:
    """Return the row's cells, those that are no keys without the row's keys, as in a path."""
    keys = [row[position].strip() for position in secret if row[position].strip()]
    return [cell if position in secret else _cut(cell, keys) for position, cell in enumerate(row)]


def _cut(cell: str, keys: Sequence[str]) -> str:
    for key in keys:
        if len(key) >= MIN_KEY_CHARACTERS:
            cell = cell.replace(key, "…")
    return cell


def distinct_counts(header: Sequence[str], rows: Sequence[RowCells]) -> list[int]:
    """Return the number of different values of each column, blank ones not counted."""
    return [len({row[at] for row in rows if row[at].strip()}) for at in range(len(header))]


def token_columns(header: Sequence[str], mapped: Container[int]) -> list[int]:
    """Return the positions of columns that seem to hold tokens, of those that are not mapped."""
    return [at for at, name in enumerate(header) if at not in mapped and SECRET_HEADER.search(name)]


def _shown_values(header: str, cells: Sequence[str], column: ListColumn | None) -> list[str]:
    first = [*dict.fromkeys(filter(str.strip, cells))][:SAMPLE_VALUES]
    if column:
        return [staging.shown_cell(column, cell) for cell in first]
    if may_hold_keys(header, cells):
        return [f"…{hint(cell.strip())}" for cell in first]
    return [staging.shortened(cell) for cell in first]


def may_hold_keys(header: str, cells: Sequence[str]) -> bool:
    """Return True if a column that nothing is mapped to may hold keys.

    Keys are long, have no spaces and differ from row to row.
    """
    filled = [cell.strip() for cell in cells if cell.strip()]
    if SECRET_HEADER.search(header) or are_hashes(header, filled):
        return True
    if any(2 * filled.count(cell) > len(filled) > 1 for cell in {*filled[:SAMPLE_VALUES]}):
        return False
    return any(
        len(cell) >= (MIN_KEY_CHARACTERS if re.search(r"\d", cell) else MIN_KEY_LETTERS)
        and not re.search(r"\s", cell)
        and not HARMLESS_VALUE.fullmatch(cell)
        for cell in filled
    )
