"""XLSX, read in a process of its own: a ZIP may unpack to more than the memory there is."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from signal import SIGXCPU
from typing import IO, Any

import msgspec
from django.utils.translation import gettext_noop

from revcred.uploads.reading import workbook_process
from revcred.uploads.reading.headers import MAX_ROWS_ABOVE_HEADER, find_header, read_header
from revcred.uploads.reading.list_reader import (
    ROWS_ABOVE_HEADER,
    ListReader,
    NumberedRow,
    RowError,
    UnreadableFile,
    fitting_rows,
)
from revcred.uploads.reading.row_copiers import WorkbookCopier

# -I: isolated from environment variables and from the working directory.
READER_COMMAND = [sys.executable, "-I", workbook_process.__file__]


@contextmanager
def open_workbook(path: Path, *, header_row: int | None = None) -> Iterator[ListReader]:
    """Open the first visible sheet of a workbook. Raises UnreadableFile."""
    with subprocess.Popen(  # noqa: S603 - our own program, and a path without a meaning to it
        [*READER_COMMAND, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},  # among ours are the keys of everything
    ) as process:
        try:
            yield _list_of_process(process, header_row)
        finally:
            process.kill()


def _list_of_process(process: subprocess.Popen[bytes], header_row: int | None) -> ListReader:
    lines = _messages_of(process)
    first = next(lines)
    total, read = first["rows"] or 1, 0

    copier = WorkbookCopier()
    messages = (message for line in lines for message in line)
    # They are looked at twice: for the header, and as rows.
    looked_at = [*islice(messages, MAX_ROWS_ABOVE_HEADER)]
    header_row = header_row or find_header(map(_row_of_message, looked_at)) or 1

    def rows() -> Iterator[NumberedRow]:
        nonlocal read
        for message in chain(looked_at, messages):
            read, copier.row = message[0], message[-1]
            yield _row_of_message(message)

    records = rows()
    empty = f"The sheet “{first['sheet']}” is empty."
    header, above = read_header(records, header_row, copier, empty=empty)
    return ListReader(
        file_format=f"XLSX, sheet “{first['sheet']}”",
        header=header,
        rows=fitting_rows(header, _with_named_errors(header, records)),
        position=lambda: read / total,
        copier=copier,
        left_out=Counter({ROWS_ABOVE_HEADER: above} if above else {}),
    )


def _with_named_errors(header: list[str], rows: Iterator[NumberedRow]) -> Iterator[NumberedRow]:
    """Name the columns of errors: they come with its position, before the header is known."""
    for number, row in rows:
        if isinstance(row, RowError):
            position = int(row.column)
            name = header[position] if position < len(header) else ""
            yield number, RowError(name, row.message)
        else:
            yield number, row


def _row_of_message(told: list[Any]) -> NumberedRow:
    match told:
        case [number, list(cells)]:
            return number, [*cells]  # the copier has the original
        case [number, position, message, _]:
            return number, RowError(str(position), message)
    raise AssertionError(told)


def _messages_of(process: subprocess.Popen[bytes]) -> Iterator[Any]:
    """Give the messages of the process. Raises UnreadableFile if it reports an error or dies."""
    output: IO[bytes] | None = process.stdout
    assert output
    for line in output:
        decoded = msgspec.json.decode(line)
        if isinstance(decoded, dict) and "error" in decoded:
            raise UnreadableFile(decoded["error"])
        yield decoded
    code = process.wait()
    if code == -SIGXCPU:
        raise UnreadableFile(gettext_noop("The workbook takes too long to read. Save it as CSV."))
    # Killed by a signal: the allocator aborts where the limit is reached.
    if code < 0:
        raise UnreadableFile(workbook_process.NEEDS_TOO_MUCH_MEMORY)
    if code:
        raise UnreadableFile(gettext_noop("The workbook cannot be read. Save it as CSV."))
