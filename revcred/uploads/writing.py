"""Lists for people: empty ones, filled examples, and what was refused."""

import csv
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from io import BytesIO, TextIOWrapper
from itertools import chain
from typing import BinaryIO

from msgspec import json
from xlsxwriter import Workbook

from revcred.uploads import examples
from revcred.uploads.columns import Kind, of
from revcred.uploads.formulas import guarded
from revcred.uploads.reading.headers import IGNORED


class Format(StrEnum):
    CSV = "csv"
    XLSX = "xlsx"
    JSON_LINES = "jsonl"


CONTENT_TYPES = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.XLSX: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    Format.JSON_LINES: "application/x-ndjson",
}

COLUMN_WIDTH = 24  # characters

Header = Sequence[str]
Rows = Iterable[Sequence[str]]


class TooLong(Exception):
    """A sheet of Excel has no room for so many rows, or so long a cell."""


def template(kind: Kind, form: Format) -> bytes:
    """A header and nothing below."""
    header = _header(kind)
    # A line of JSON names its fields itself; a blank one is no row.
    return _written(form, header, [[""] * len(header)] if form is Format.JSON_LINES else [])


def example(kind: Kind, form: Format) -> bytes:
    """A header and a few rows that show what may stand there."""
    return _written(form, _header(kind), examples.rows(kind))


def write(to: BinaryIO, form: Format, header: Header, rows: Rows) -> None:
    """A list that reading gives back exactly as it was, row by row as `rows` come.

    Raises TooLong.
    """
    WRITERS[form](to, header, rows)


def write_refused(
    to: BinaryIO, form: Format, header: Header, rows: Iterable[tuple[Sequence[str], str]]
) -> None:
    """The rows as they came, each with why it was refused in a column that reading leaves out.

    One whose cells could not be read has none. It is blank but for the reason, and so no row when
    the file comes back.
    """
    blank = [""] * len(header)
    write(to, form, [*header, IGNORED], ([*(cells or blank), reason] for cells, reason in rows))


def _header(kind: Kind) -> list[str]:
    return [each.name for each in of(kind)]


def _written(form: Format, header: Header, rows: Rows) -> bytes:
    to = BytesIO()
    write(to, form, header, rows)
    return to.getvalue()


def _write_csv(to: BinaryIO, header: Header, rows: Rows) -> None:
    # With the mark, without which Excel takes UTF-8 for something else.
    text = TextIOWrapper(to, "utf-8-sig", newline="")
    writer = csv.writer(text)
    writer.writerows([guarded(cell) for cell in row] for row in chain([header], rows))
    text.detach()


def _write_xlsx(to: BinaryIO, header: Header, rows: Rows) -> None:
    with Workbook(to, {"constant_memory": True}) as workbook:
        sheet = workbook.add_worksheet()
        # As text, so that Excel changes nothing that is typed in later either.
        as_text = workbook.add_format({"num_format": "@"})
        sheet.set_column(0, len(header) - 1, COLUMN_WIDTH, as_text)
        sheet.freeze_panes(1, 0)
        for number, row in enumerate(chain([header], rows)):
            for position, cell in enumerate(row):
                if sheet.write_string(number, position, cell, as_text):
                    raise TooLong


def _write_json_lines(to: BinaryIO, header: Header, rows: Rows) -> None:
    to.writelines(json.encode(dict(zip(header, row, strict=True))) + b"\n" for row in rows)


WRITERS: dict[Format, Callable[[BinaryIO, Header, Rows], None]] = {
    Format.CSV: _write_csv,
    Format.XLSX: _write_xlsx,
    Format.JSON_LINES: _write_json_lines,
}
