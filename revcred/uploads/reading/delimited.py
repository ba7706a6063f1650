"""CSV: cells between commas, semicolons or tabs."""

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from revcred.uploads.formulas import plain
from revcred.uploads.reading.encodings import TITLES, encoding_of
from revcred.uploads.reading.headers import names_in
from revcred.uploads.reading.lists import LONGEST_CELL, List, Row, RowError, Unreadable, fitting

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
TOLD = re.compile(r"sep=([,;\t])\r?\n", re.IGNORECASE)  # a first line, by and for Excel
MARK = "\ufeff"  # of the order of bytes; no part of the text
ADVICE = "A file from Excel is often in Windows-1252: choose it, or save as UTF-8."
SAMPLE = 1 << 16  # characters, in which the header has to end


@contextmanager
def open_delimited(
    path: Path, *, encoding: str | None = None, delimiter: str | None = None
) -> Iterator[List]:
    """Raises Unreadable."""
    if delimiter is not None and delimiter not in DELIMITERS:
        raise Unreadable(f"Cells may be separated by {', '.join(DELIMITERS.values())}.")
    encoding = encoding_of(path, encoding, advice=ADVICE)
    size = path.stat().st_size
    with path.open("rb") as read, TextIOWrapper(read, encoding, newline="") as file:
        sample = file.read(SAMPLE).removeprefix(MARK)
        told = TOLD.match(sample)
        delimiter = delimiter or (told[1] if told else _sniffed(sample))
        file.seek(0)
        if file.read(1) != MARK:
            file.seek(0)
        if told:
            file.readline()
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        records = _records(lines, before=1 if told else 0)
        header = _header(records)
        yield List(
            shape=f"CSV, {DELIMITERS[delimiter]}, {TITLES[encoding]}",
            header=header,
            rows=_without_guards(fitting(header, records)),
            position=lambda: read.tell() / size,
        )


def _sniffed(sample: str) -> str:
    """What parts the first line into the most cells; of several, the first."""
    if "\0" in sample[:2]:
        raise Unreadable("This looks like UTF-16. Choose it, or save as UTF-8.")
    lines = [line for line in sample.splitlines() if line.strip()]
    if not lines:
        raise Unreadable("The file is empty.")
    return max(DELIMITERS, key=lambda each: _cells_in_first(lines, each))


def _cells_in_first(lines: list[str], delimiter: str) -> int:
    try:
        return len(next(csv.reader(lines, delimiter=delimiter, strict=True)))
    except csv.Error:
        return 0


def _header(records: Iterator[Row]) -> list[str]:
    for number, row in records:
        if isinstance(row, RowError):
            raise Unreadable(row.message, row=number)
        if any(row):
            return names_in([plain(each) for each in row], row=number)
    raise Unreadable("The file is empty.")


def _records(reader: Any, *, before: int) -> Iterator[Row]:
    """Each record with the line it begins in, behind so many that the reader has not seen.

    Raises Unreadable where a quote never closes.
    """
    while True:
        number = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, _told(error, number, lines=before + reader.line_num - number)
        else:
            yield number, cells


def _told(error: csv.Error, number: int, *, lines: int) -> RowError:
    """What is wrong with the row. Raises Unreadable if there is no telling where it ends."""
    too_long = "field limit" in str(error)
    if "unexpected end" in str(error) or (too_long and lines):
        raise Unreadable("A quote opens here and never closes.", row=number)
    if too_long:
        most = csv.field_size_limit()
        return RowError("", f"A cell has over {most:,} characters; {LONGEST_CELL:,} is the most.")
    return RowError("", "A quote stands in the middle of a cell.")


def _without_guards(rows: Iterator[Row]) -> Iterator[Row]:
    """Formulas as they were before an export guarded spreadsheets against them."""
    for number, row in rows:
        if not isinstance(row, RowError) and "'" in "".join(row):
            yield number, [plain(each) for each in row]
        else:
            yield number, row
