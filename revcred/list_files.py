"""Writing of lists as files: CSV, a sheet of Excel, or JSON lines, row by row."""

import csv
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import BinaryIO

from msgspec import json
from xlsxwriter import Workbook

from revcred.formulas import guard_formula


class ListFormat(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"
    JSON_LINES = "jsonl"


CONTENT_TYPES = {
    ListFormat.CSV: "text/csv; charset=utf-8",
    ListFormat.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ListFormat.JSON_LINES: "application/x-ndjson",
}

COLUMN_WIDTH = 24  # characters

ListHeader = Sequence[str]
ListRows = Iterable[Sequence[str]]


class TooLongForSheet(Exception):
    """The list has more rows, or a longer cell, than a sheet of Excel takes."""


def write_list(to: BinaryIO, form: ListFormat, header: ListHeader, rows: ListRows) -> None:
    """Write a list, row by row, that reading gives back exactly.

    Raises TooLongForSheet.
    """
    LIST_WRITERS[form](to, header, rows)


class _LastLine:
    """A file for a csv.writer, of which only the last line is kept."""

    def write(self, line: str) -> None:
        self.line = line


def csv_lines(header: ListHeader, rows: ListRows) -> Iterator[bytes]:
    """Yield the lines of a CSV file as they are made."""
    # Without the byte order mark Excel takes UTF-8 for another encoding.
    yield BOM_UTF8
    last = _LastLine()
    writer = csv.writer(last)
    for row in chain([header], rows):
        writer.writerow([guard_formula(cell) for cell in row])
        yield last.line.encode()


def _write_csv(to: BinaryIO, header: ListHeader, rows: ListRows) -> None:
    to.writelines(csv_lines(header, rows))


def _write_xlsx(to: BinaryIO, header: ListHeader, rows: ListRows) -> None:
    write_text_sheet(to, chain([header], rows), columns=len(header))


def write_text_sheet(to: BinaryIO, rows: ListRows, *, columns: int, top: int = 1) -> None:
    """Write the rows as text, of which the first `top` stay in sight. Raises TooLongForSheet."""
    # Rows are written out one by one, instead of keeping all of them in memory.
    with Workbook(to, {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        # As text, so that Excel changes nothing that is typed in later either.
        as_text = workbook.add_format({"num_format": "@"})
        sheet.set_column(0, columns - 1, COLUMN_WIDTH, as_text)
        sheet.freeze_panes(top, 0)
        for number, row in enumerate(rows):
            for position, cell in enumerate(row):
                # Anything but 0 is an error: a row or a text beyond Excel's limits.
                if sheet.write_string(number, position, cell, as_text):
                    raise TooLongForSheet


def _write_json_lines(to: BinaryIO, header: ListHeader, rows: ListRows) -> None:
    to.writelines(json.encode(dict(zip(header, row, strict=True))) + b"\n" for row in rows)


LIST_WRITERS: dict[ListFormat, Callable[[BinaryIO, ListHeader, ListRows], None]] = {
    ListFormat.CSV: _write_csv,
    ListFormat.XLSX: _write_xlsx,
    ListFormat.JSON_LINES: _write_json_lines,
}
