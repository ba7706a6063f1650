"""Any list that people bring, row by row and in constant memory."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from revcred.uploads.reading.delimited import DELIMITERS, open_delimited
from revcred.uploads.reading.encodings import ENCODINGS
from revcred.uploads.reading.headers import ignored
from revcred.uploads.reading.lists import LARGEST_FILE, Cells, List, Row, RowError, Unreadable

__all__ = [
    "DELIMITERS",
    "ENCODINGS",
    "LARGEST_FILE",
    "Cells",
    "List",
    "Row",
    "RowError",
    "Unreadable",
    "open_list",
]


@contextmanager
def open_list(
    path: Path, *, name: str, encoding: str | None = None, delimiter: str | None = None
) -> Iterator[List]:
    """The list in the file at `path` that was called `name`, without its column of errors.

    Raises Unreadable, also while its rows are gone through.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise Unreadable(f"The file has {size:,} bytes; {LARGEST_FILE:,} is the most.")
    with open_delimited(path, encoding=encoding, delimiter=delimiter) as read:
        yield _without_errors(read)


def _without_errors(read: List) -> List:
    kept = [position for position, name in enumerate(read.header) if not ignored(name)]
    if len(kept) == len(read.header):
        return read
    return replace(read, header=_those(kept, read.header), rows=_without_others(kept, read.rows))


def _without_others(kept: list[int], rows: Iterable[Row]) -> Iterator[Row]:
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
        elif any(cells := _those(kept, row)):
            yield number, cells


def _those(kept: list[int], cells: list[str]) -> list[str]:
    return [cells[position] for position in kept]
