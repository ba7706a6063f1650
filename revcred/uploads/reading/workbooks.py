"""XLSX, read in a process of its own: a ZIP may unpack to more than the memory there is."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGXCPU
from typing import IO, Any

import msgspec

from revcred.uploads.reading import workbook_process
from revcred.uploads.reading.headers import column_names_in
from revcred.uploads.reading.list_reader import (
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
def open_workbook(path: Path) -> Iterator[ListReader]:
    """Open the first visible sheet of a workbook. Raises UnreadableFile."""
    with subprocess.Popen(  # noqa: S603 - our own program, and a path without a meaning to it
        [*READER_COMMAND, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},  # among ours are the keys of everything
    ) as process:
        try:
            yield _list_of_process(process)
        finally:
            process.kill()


def _list_of_process(process: subprocess.Popen[bytes]) -> ListReader:
    lines = _messages_of(process)
    first = next(lines)
    total, read = first["rows"] or 1, 0

    copier = WorkbookCopier()

    def rows() -> Iterator[NumberedRow]:
        nonlocal read
        for line in lines:
            for told in line:
                read, copier.row = told[0], told[-1]
                yield _row_of_message(told, header)

    header: list[str] = []
    records = rows()
    for number, row in records:
        if isinstance(row, list) and any(row):
            copier.pass_header()
            header += column_names_in(row, row=number)
            break
        copier.pass_title()
    else:
        raise UnreadableFile(f"The sheet “{first['sheet']}” is empty.")
    return ListReader(
        file_format=f"XLSX, sheet “{first['sheet']}”",
        header=header,
        rows=fitting_rows(header, records),
        position=lambda: read / total,
        copier=copier,
    )


def _row_of_message(told: list[Any], header: list[str]) -> NumberedRow:
    match told:
        case [number, list(cells)]:
            return number, [*cells]  # the copier has the original
        case [number, position, message, _]:
            return number, RowError(header[position] if position < len(header) else "", message)
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
        raise UnreadableFile("The workbook takes too long to read. Save it as CSV.")
    # Killed by a signal: the allocator aborts where the limit is reached.
    if code < 0:
        raise UnreadableFile(workbook_process.NEEDS_TOO_MUCH_MEMORY)
    if code:
        raise UnreadableFile("The workbook cannot be read. Save it as CSV.")
