"""What every file is once it is open: a header and rows."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

LARGEST_FILE = 1_000_000_000  # bytes
MOST_COLUMNS = 50
LONGEST_CELL = 4_096  # characters

# What no table takes, or no eye sees: control characters, half characters and none at all.
UNFIT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Cells: TypeAlias = list[str]


class Unreadable(Exception):
    """The file as a whole cannot be read. Its text says what is wrong and where."""

    def __init__(
        self,
        message: str,
        *,
        row: int | None = None,
        column: str | None = None,
        byte: int | None = None,
    ) -> None:
        self.message, self.row, self.column, self.byte = message, row, column, byte
        places = [
            f"row {row:,}" if row else "",
            f"column “{column}”" if column else "",
            f"byte {byte:,}" if byte else "",
        ]
        place = ", ".join(filter(None, places))
        super().__init__(f"{place[0].upper()}{place[1:]}: {message}" if place else message)


@dataclass(frozen=True)
class RowError:
    """One row cannot be read; those after it can. `column` is a name of the header, or ""."""

    column: str
    message: str


Row: TypeAlias = tuple[int, Cells | RowError]


@dataclass
class List:
    """An open file. `shape` says what it is, as people would; `header` names the columns.

    `rows` can be gone through once. Each has the number a person sees beside it (the line it
    begins in, of CSV; always greater than the one before), and as many cells as the header, ""
    where nothing stands, or else what is wrong with it. Going through them raises Unreadable where
    the file cannot be read any further.
    """

    shape: str
    header: list[str]
    rows: Iterator[Row]
    position: Callable[[], float] = field(repr=False)

    @property
    def done(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(1.0, self.position())


def fitting(header: list[str], rows: Iterable[Row]) -> Iterator[Row]:
    """The rows that are not blank: as wide as the header, and of cells that can be kept."""
    width = len(header)
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
            continue
        if len(row) != width:
            if not any(row):
                continue
            if len(row) < width or any(row[width:]):
                yield number, _ragged(len(row), width)
                continue
            del row[width:]
        together = "".join(row)
        if not together:
            continue
        if len(together) > LONGEST_CELL or not together.isprintable():
            error = next(filter(None, map(unfit, header, row)), None)
            if error:
                yield number, error
                continue
        yield number, row


def _ragged(cells: int, columns: int) -> RowError:
    return RowError("", f"It has {cells:,} cells, the header {columns:,}.")


def unfit(name: str, cell: str) -> RowError | None:
    """Why a cell under this header cannot be kept, if it cannot."""
    if len(cell) > LONGEST_CELL:
        return RowError(name, f"It has {len(cell):,} characters; {LONGEST_CELL:,} is the most.")
    found = UNFIT.search(cell)
    return found and RowError(name, f"It holds U+{ord(found[0]):04X}, which is no text.")
