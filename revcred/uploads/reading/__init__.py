"""Reading of lists in every supported format, row by row and in constant memory."""

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
from django.utils.translation import gettext_noop

from revcred.uploads.reading.delimited import DELIMITER_TITLES, open_delimited
from revcred.uploads.reading.encodings import KNOWN_ENCODINGS, encoding_in
from revcred.uploads.reading.foreign import aws
from revcred.uploads.reading.json_documents import open_json
from revcred.uploads.reading.json_lines import open_json_lines
from revcred.uploads.reading.list_reader import (
    MAX_FILE_BYTES,
    FileFormat,
    ListReader,
    NumberedRow,
    RowCells,
    RowError,
    UnreadableFile,
)
from revcred.uploads.reading.row_copiers import is_error_column
from revcred.uploads.reading.text_tables import is_text_table, open_text_table
from revcred.uploads.reading.workbooks import open_workbook
from revcred.uploads.reading.yaml_documents import open_yaml

__all__ = [
    "DELIMITER_TITLES",
    "KNOWN_ENCODINGS",
    "MAX_FILE_BYTES",
    "FileFormat",
    "ListReader",
    "NumberedRow",
    "RowCells",
    "RowError",
    "UnreadableFile",
    "file_format_of",
    "open_list",
]


DETECTION_BYTES = 1 << 20  # from the start of a file, by which its format is recognised
# First bytes of files that people try to upload, with advice in place of "no column was found".
UNREADABLE_SIGNATURES = {
    b"\xd0\xcf\x11\xe0": gettext_noop(
        "This is an old or a protected Excel file. Save it as .xlsx or as CSV."
    ),
    b"\x1f\x8b": gettext_noop("This is compressed. Unpack it first."),
    b"%PDF": gettext_noop("This is a PDF. Only tables of text are read."),
}
UNREADABLE_STARTS = {
    rb"<": gettext_noop("This is HTML or XML. Save its table as CSV or Excel."),
    rb"\[\[?[A-Za-z_][\w.-]*\]\]?[ \t]*\r?\n": gettext_noop(
        "This is a file of settings. Write a table or JSON."
    ),
    rb"(?i)(?:--[^\n]*\n\s*)*(?:insert\s+into|create\s+table)\s": "This is SQL. Export the rows of"
    " the table as CSV.",
}
# The first key of a dump may come without the document marker.
DECK_START = re.compile(rb"(---|_format_version:|_info:|_transform:|consumers:)")


@contextmanager
def open_list(
    path: Path,
    *,
    name: str,
    encoding: str | None = None,
    delimiter: str | None = None,
    header_row: int | None = None,
) -> Iterator[ListReader]:
    """Open the list in the file at `path`, which its user called `name`, without error column.

    `header_row`: the number of the row that names the columns, where it is not recognised.

    Raises UnreadableFile, also while its rows are read.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise UnreadableFile(
            f"The file has {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed."
        )
    with _open_by_content(path, name, encoding, delimiter, header_row) as read:
        ours = _without_error_column(read)
        yield aws.translate_aws(ours) if aws.is_aws_header(ours.header) else ours


def _open_by_content(
    path: Path, name: str, encoding: str | None, delimiter: str | None, header_row: int | None
) -> AbstractContextManager[ListReader]:
    """Raises UnreadableFile."""
    match file_format_of(path, name):
        case FileFormat.XLSX:
            return open_workbook(path, header_row=header_row)
        case FileFormat.JSON:
            return open_json(path)
        case FileFormat.JSON_LINES:
            return open_json_lines(path)
        case FileFormat.YAML:
            return open_yaml(path)
        case FileFormat.TEXT_TABLE if delimiter is None:
            return open_text_table(path, encoding=encoding)
        case _:
            return open_delimited(
                path, encoding=encoding, delimiter=delimiter, header_row=header_row
            )


def file_format_of(path: Path, name: str) -> FileFormat:
    """Tell the format by the content of the file rather than by its name.

    Raises UnreadableFile.
    """
    with path.open("rb") as file:
        start = file.read(DETECTION_BYTES)
        more = bool(file.read(1))
    for magic, message in UNREADABLE_SIGNATURES.items():
        if start.startswith(magic):
            raise UnreadableFile(message)
    if start.startswith(b"PK"):
        return FileFormat.XLSX
    encoding = encoding_in(start)
    is_utf_16 = encoding in {"utf-16-le", "utf-16-be"}
    text = start.decode(encoding, "replace").encode() if is_utf_16 and encoding else start
    text = text.removeprefix(codecs.BOM_UTF8).lstrip()
    for pattern, message in UNREADABLE_STARTS.items():
        if re.match(pattern, text):
            raise UnreadableFile(message)
    if text.startswith(b"["):
        return FileFormat.JSON
    # An object may be the whole document, or the first line of JSON Lines, which are in UTF-8.
    if text.startswith(b"{"):
        is_lines = not is_utf_16 and _is_json_lines(text, more=more)
        return FileFormat.JSON_LINES if is_lines else FileFormat.JSON
    if name.lower().endswith((".yaml", ".yml")) or DECK_START.match(text):
        return FileFormat.YAML
    is_table = is_text_table(text.decode("ascii", "replace"))
    return FileFormat.TEXT_TABLE if is_table else FileFormat.CSV


def _is_json_lines(text: bytes, *, more: bool) -> bool:
    """Return whether the first line is a whole object and more lines follow."""
    first, _, rest = text.partition(b"\n")
    if not (rest.strip() or more):
        return False
    try:
        return isinstance(msgspec.json.decode(first), dict)
    except (msgspec.DecodeError, RecursionError):
        return False


def _without_error_column(read: ListReader) -> ListReader:
    kept = [position for position, name in enumerate(read.header) if not is_error_column(name)]
    if len(kept) == len(read.header):
        return read
    return replace(read, header=_cells_at(kept, read.header), rows=_with_columns(kept, read.rows))


def _with_columns(kept: list[int], rows: Iterable[NumberedRow]) -> Iterator[NumberedRow]:
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
        # A row that had nothing but its error is no row any more.
        elif any(cells := _cells_at(kept, row)):
            yield number, cells


def _cells_at(kept: list[int], cells: list[str]) -> list[str]:
    return [cells[position] for position in kept]
