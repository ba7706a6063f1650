"""XLSX, read in a process of its own, because what is in a ZIP may grow beyond all bounds."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGXCPU
from typing import IO, Any

import msgspec

from revcred.uploads.reading import workbook_process
from revcred.uploads.reading.headers import names_in
from revcred.uploads.reading.lists import List, Row, RowError, Unreadable, fitting

PROGRAM = [sys.executable, "-I", workbook_process.__file__]


@contextmanager
def open_workbook(path: Path) -> Iterator[List]:
    """Its first visible sheet. Raises Unreadable."""
    with subprocess.Popen(  # noqa: S603 - our own program, and a path without a meaning to it
        [*PROGRAM, str(path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},  # among ours are the keys of everything
    ) as process:
        try:
            yield _list(process)
        finally:
            process.kill()


def _list(process: subprocess.Popen[bytes]) -> List:
    lines = _lines(process)
    first = next(lines)
    total, read = first["rows"] or 1, 0

    def rows() -> Iterator[Row]:
        nonlocal read
        for line in lines:
            for told in line:
                read = told[0]
                yield _row(told, header)

    header: list[str] = []
    records = rows()
    for number, row in records:
        if isinstance(row, list) and any(row):
            header += names_in(row, row=number)
            break
    else:
        raise Unreadable(f"The sheet “{first['sheet']}” is empty.")
    return List(
        shape=f"XLSX, sheet “{first['sheet']}”",
        header=header,
        rows=fitting(header, records),
        position=lambda: read / total,
    )


def _row(told: list[Any], header: list[str]) -> Row:
    match told:
        case [number, list(cells)]:
            return number, cells
        case [number, position, message]:
            return number, RowError(header[position] if position < len(header) else "", message)
    raise AssertionError(told)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[Any]:
    """What the process says. Raises Unreadable if it says so, or dies over it."""
    output: IO[bytes] | None = process.stdout
    assert output
    for line in output:
        said = msgspec.json.decode(line)
        if isinstance(said, dict) and "error" in said:
            raise Unreadable(said["error"])
        yield said
    code = process.wait()
    if code == -SIGXCPU:
        raise Unreadable("The workbook takes too long to read. Save it as CSV.")
    if code < 0:
        raise Unreadable(workbook_process.TOO_LARGE)
    if code:
        raise Unreadable("The workbook cannot be read. Save it as CSV.")
