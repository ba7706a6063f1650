"""The common form of an open list: a header and rows."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from revcred.uploads.reading.row_copiers import RowCopier

MAX_FILE_BYTES = 1_000_000_000  # bytes
MAX_COLUMNS = 50
MAX_CELL_CHARACTERS = 4_096  # characters
ROWS_ABOVE_HEADER = "rows above the header"  # of `ListReader.left_out`: titles, mostly

# Control characters, halves of surrogate pairs and non-characters: no table can hold them.
UNFIT_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

RowCells: TypeAlias = list[str]


class FileFormat(StrEnum):
    """The format of a list's file; the value is the usual end of its name."""

    CSV = "csv"
    XLSX = "xlsx"
    JSON = "json"
    JSON_LINES = "jsonl"
    YAML = "yaml"
    TEXT_TABLE = "md"


class UnreadableFile(Exception):
    """A file that cannot be read as a whole. The message says what is wrong and where."""

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
    """The reason why one row cannot be read. `column` is a name of the header, or ""."""

    column: str
    message: str


NumberedRow: TypeAlias = tuple[int, RowCells | RowError]


@dataclass
class ListReader:
    """An open list. `file_format` describes its format for people; `header` names the columns.

    `rows` can be read once. Each is a number and cells. The number is the one a person sees
    beside the row (in CSV the line it begins in) and grows from row to row. There are as many
    cells as columns, "" for an empty one; a row that cannot be read has a RowError instead.
    Reading raises UnreadableFile where the file cannot be read any further.

    `copier` writes the row that was read last as it stands in the file.

    `left_out` counts what the file has and no row is made of, by what it is in the plural. It is
    complete when all rows have been read.
    """

    file_format: str
    header: list[str]
    rows: Iterator[NumberedRow]
    position: Callable[[], float] = field(repr=False)
    copier: RowCopier = field(repr=False)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> float:
        """The share of the file that has been read, from 0 to 1."""
        return min(1.0, self.position())


def fitting_rows(header: list[str], rows: Iterable[NumberedRow]) -> Iterator[NumberedRow]:
    """Pass on the rows that are not blank, each as wide as the header or as a RowError."""
    width = len(header)
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
            continue
        if len(row) != width:
            if not any(row):
                continue
            # Spreadsheets often add empty cells at the end. A cell with something in it has no
            # column.
            if len(row) < width or any(row[width:]):
                yield number, _wrong_width(len(row), width)
                continue
            del row[width:]
        # One test for the whole row: it is passed by almost all rows, and takes a fraction of the
        # time.
        together = "".join(row)
        if not together:
            continue
        if len(together) > MAX_CELL_CHARACTERS or not together.isprintable():
            error = next(filter(None, map(cell_error, header, row)), None)
            if error:
                yield number, error
                continue
        yield number, row


def _wrong_width(cells: int, columns: int) -> RowError:
    return RowError("", f"It has {cells:,} cells, the header {columns:,}.")


def cell_error(name: str, cell: str) -> RowError | None:
    """Return the reason why a cell of this column cannot be stored; None if it can."""
    if len(cell) > MAX_CELL_CHARACTERS:
        return RowError(
            name, f"It has {len(cell):,} characters; at most {MAX_CELL_CHARACTERS:,} are allowed."
        )
    found = UNFIT_CHARACTERS.search(cell)
    return found and RowError(name, f"It contains U+{ord(found[0]):04X}, which cannot be stored.")
