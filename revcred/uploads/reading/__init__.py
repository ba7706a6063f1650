"""Any list that people bring, row by row and in constant memory."""

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from revcred.uploads.reading.delimited import DELIMITERS, open_delimited
from revcred.uploads.reading.encodings import ENCODINGS
from revcred.uploads.reading.foreign import aws
from revcred.uploads.reading.headers import ignored
from revcred.uploads.reading.json_documents import open_json
from revcred.uploads.reading.json_lines import open_json_lines
from revcred.uploads.reading.lists import LARGEST_FILE, Cells, List, Row, RowError, Unreadable
from revcred.uploads.reading.workbooks import open_workbook
from revcred.uploads.reading.yaml_documents import open_yaml

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


START = 1 << 20  # bytes, by which a file is known
REFUSED = {
    b"\xd0\xcf\x11\xe0": "This is an old or a protected Excel file. Save it as .xlsx or as CSV.",
    b"\x1f\x8b": "This is compressed. Unpack it first.",
    b"%PDF": "This is a PDF. Only tables of text are read.",
}
DECK = re.compile(rb"(---|_format_version:|_info:|consumers:)")


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
    with _opened(path, name, encoding, delimiter) as read:
        ours = _without_errors(read)
        yield aws.translated(ours) if aws.fits(ours.header) else ours


def _opened(
    path: Path, name: str, encoding: str | None, delimiter: str | None
) -> AbstractContextManager[List]:
    """By what it holds rather than by what it is called. Raises Unreadable."""
    with path.open("rb") as file:
        start = file.read(START)
        more = bool(file.read(1))
    for magic, message in REFUSED.items():
        if start.startswith(magic):
            raise Unreadable(message)
    if start.startswith(b"PK"):
        return open_workbook(path)
    text = start.removeprefix(codecs.BOM_UTF8).lstrip()
    if text.startswith(b"["):
        return open_json(path)
    if text.startswith(b"{"):
        return open_json_lines(path) if _is_lines(text, more=more) else open_json(path)
    if name.lower().endswith((".yaml", ".yml")) or DECK.match(text):
        return open_yaml(path)
    return open_delimited(path, encoding=encoding, delimiter=delimiter)


def _is_lines(text: bytes, *, more: bool) -> bool:
    """Whether the first line is whole, and not the only one."""
    first, _, rest = text.partition(b"\n")
    if not (rest.strip() or more):
        return False
    try:
        return isinstance(msgspec.json.decode(first), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


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
