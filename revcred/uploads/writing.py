"""Lists for people: empty ones, filled examples, and what was refused."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import BinaryIO

from revcred.uploads.columns import Kind
from revcred.uploads.reading import Cells

ERROR = "error"  # a column that reading leaves out


class Format(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"
    JSON_LINES = "jsonl"


def template(kind: Kind, fmt: Format) -> bytes:
    """A header and nothing below."""
    raise NotImplementedError


def example(kind: Kind, fmt: Format) -> bytes:
    """A header and a few rows that show what may stand there."""
    raise NotImplementedError


def write(to: BinaryIO, fmt: Format, header: Sequence[str], rows: Iterable[Cells]) -> None:
    """A list that reading gives back exactly as it was."""
    raise NotImplementedError


def write_refused(
    to: BinaryIO, fmt: Format, header: Sequence[str], rows: Iterable[tuple[Cells, str]]
) -> None:
    """The rows as they came, each with why it was refused in a column that reading leaves out."""
    raise NotImplementedError
