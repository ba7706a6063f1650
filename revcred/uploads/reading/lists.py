"""What every file is once it is open: a header and rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Cells: TypeAlias = Sequence[str | None]


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


@dataclass
class List:
    """An open file. `shape` says what it is, as people would; `header` names the columns.

    `rows` can be gone through once. Each has the number a person sees beside it (the line it
    begins in, of CSV), and as many cells as the header, or what is wrong with it.
    """

    shape: str
    header: list[str]
    rows: Iterator[tuple[int, Cells | RowError]]
    position: Callable[[], float] = field(repr=False)

    @property
    def done(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(1.0, self.position())
