"""Copies of rows as they stand in a list's file, in a file of the same shape.

The readers tell a copier each row before they pass it on. So what is copied has the cells, quotes,
encoding and line ends of the original, also where a row could not be read.
"""

import csv
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO, TextIOWrapper
from itertools import chain, groupby
from typing import Any, BinaryIO

import msgspec
import yaml

from revcred.list_files import write_text_sheet

ERROR_COLUMN = "error"  # holds the reasons in a file of rejected rows
LINE_END = re.compile(r"\r\n|\n|\r")
FIELDS_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])  # keeps numbers as they are written


def is_error_column(name: str) -> bool:
    """Return whether the column holds the reasons of rejected rows, and is not read."""
    return name.strip().lower() == ERROR_COLUMN


class RowCopier(ABC):
    """A writer of rows of one open list, as they stand in its file."""

    @abstractmethod
    def copy_rows(self, to: BinaryIO, reasons: Iterable[str]) -> None:
        """Write a list of those rows that the reader has just read whenever `reasons` yields.

        Each row gets the reason in a column `error`, which reading ignores. Such columns of the
        file itself are left out.
        """


class DelimitedCopier(RowCopier):
    """A copier of lines of CSV. The error is the first cell: a row may have too many or too few."""

    def __init__(self, *, encoding: str, delimiter: str, before: str) -> None:
        self._encoding, self._delimiter = encoding, delimiter
        self._before = before  # the header: a byte order mark, a separator line, titles
        self._header = self._row = ""
        self._lines: list[str] = []

    def recorded(self, lines: Iterable[str]) -> Iterator[str]:
        """Pass on the lines of the file, and remember them until the record is complete."""
        for line in lines:
            self._lines.append(line)
            yield line

    def end_record(self) -> None:
        """Take the lines since the last record as one record."""
        self._row = "".join(self._lines)
        self._lines.clear()

    def pass_title(self) -> None:
        """Take the last record as one that stands above the header."""
        self._before += self._row

    def pass_header(self) -> None:
        """Take the last record as the header."""
        self._header = self._row

    def copy_rows(self, to: BinaryIO, reasons: Iterable[str]) -> None:
        names = self._cells(self._header) or []
        errors = {position for position, name in enumerate(names) if is_error_column(name)}
        text = TextIOWrapper(to, self._encoding, newline="")
        text.write(self._before)
        text.write(self._with_error(self._header, ERROR_COLUMN, errors))
        for reason in reasons:
            # Quoted in any case, because it may hold separators; its characters may not exist here.
            known = reason.encode(self._encoding, "replace").decode(self._encoding)
            text.write(self._with_error(self._row, _quoted(known), errors))
        # Closing the wrapper would close the file of the caller.
        text.detach()

    def _with_error(self, row: str, error: str, errors: set[int]) -> str:
        line_end = LINE_END.search(row[-2:]) or LINE_END.search(self._header[-2:])
        content = self._without_errors(row, errors).rstrip("\r\n")
        return f"{error}{self._delimiter}{content}{line_end[0] if line_end else chr(10)}"

    def _without_errors(self, row: str, errors: set[int]) -> str:
        if not errors:
            return row
        cells = self._cells(row)
        if cells is None:
            # It is no CSV, but the error that was written before it is.
            return self._without_first_cell(row) if 0 in errors else row
        to = StringIO(newline="")
        kept = [cell for position, cell in enumerate(cells) if position not in errors]
        csv.writer(to, delimiter=self._delimiter, lineterminator="").writerow(kept)
        return to.getvalue()

    def _cells(self, row: str) -> list[str] | None:
        reader = csv.reader(StringIO(row, newline=""), delimiter=self._delimiter, strict=True)
        try:
            return next(reader, [])
        except csv.Error:
            return None

    def _without_first_cell(self, row: str) -> str:
        delimiter = re.escape(self._delimiter)
        return re.sub(rf'\A("([^"]|"")*"|[^"{delimiter}]*){delimiter}', "", row)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


class WorkbookCopier(RowCopier):
    """A copier of rows of a sheet: all cells are text, so that Excel changes none."""

    def __init__(self) -> None:
        self._before: list[Sequence[str]] = []  # rows above the header
        self._header: Sequence[str] = ()
        self.row: Sequence[str] = ()  # read last

    def pass_title(self) -> None:
        """Take the last row as one that stands above the header."""
        self._before.append(self.row)

    def pass_header(self) -> None:
        """Take the last row as the header."""
        self._header = self.row

    def copy_rows(self, to: BinaryIO, reasons: Iterable[str]) -> None:
        kept = [at for at, name in enumerate(self._header) if not is_error_column(name)]
        header = [ERROR_COLUMN, *_cells_at(kept, self._header)]
        rows = ([reason, *_cells_at(kept, self.row)] for reason in reasons)
        write_text_sheet(
            to, chain(self._before, [header], rows), columns=len(header), top=len(self._before) + 1
        )


def _cells_at(positions: list[int], cells: Sequence[str]) -> list[str]:
    """Return the cells at these positions, and those beyond the header, which had no column."""
    return [cells[at] for at in positions if at < len(cells)]


class RecordCopier(RowCopier):
    """A copier of objects. Several rows may be of one object, such as a consumer with its keys."""

    def __init__(self, *, encoding: str = "utf-8") -> None:
        self._encoding = encoding
        self._number = 0
        self._record: Any = None

    def pass_record(self, record: Any) -> None:
        """Take this as the object that the next rows are of."""
        self._number += 1
        self._record = record

    def copy_rows(self, to: BinaryIO, reasons: Iterable[str]) -> None:
        text = TextIOWrapper(to, self._encoding, newline="")
        text.writelines(self._document(self._records_with_errors(reasons)))
        text.detach()

    def _records_with_errors(self, reasons: Iterable[str]) -> Iterator[str]:
        # The record is taken with each reason: grouping reads on before a group ends.
        told = (((self._number, self._record), reason) for reason in reasons)
        for (_, record), of_record in groupby(told, key=lambda pair: pair[0]):
            yield from self._with_error(record, " ".join(reason for _, reason in of_record))

    @abstractmethod
    def _document(self, records: Iterator[str]) -> Iterator[str]:
        """Yield the text of the file."""

    def _with_error(self, record: Any, error: str) -> list[str]:
        """Return the record with a field for its error.

        A record that is no object cannot have one, so an object with the error comes before it.
        """
        said = {ERROR_COLUMN: error}
        try:
            fields = FIELDS_DECODER.decode(record)
        except (msgspec.DecodeError, RecursionError):
            broken = record if isinstance(record, str) else bytes(record).decode(self._encoding)
            return [_json(said), broken.strip()]
        return [_json(said | {name: fields[name] for name in fields if not is_error_column(name)})]


def _json(record: dict[str, Any]) -> str:
    return msgspec.json.encode(record).decode()


class JsonLinesCopier(RecordCopier):
    """A copier of lines of JSON."""

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        return (f"{record}\n" for record in records)


class JsonCopier(RecordCopier):
    """A copier of the objects of a JSON list, or of the list in an object's field `name`."""

    name: str | None = None
    is_single = False  # the document is the only object itself

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        opening, closing = ("", "") if self.is_single else ("[\n", "\n]")
        yield f"{{{msgspec.json.encode(self.name).decode()}: {opening}" if self.name else opening
        for position, record in enumerate(records):
            yield f",\n{record}" if position else record
        yield f"{closing}}}\n" if self.name else f"{closing}\n"


class ConsumersCopier(RecordCopier):
    """A copier of Kong's consumers in YAML."""

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        return chain(["consumers:\n"], records)

    def _with_error(self, record: dict[str, Any], error: str) -> list[str]:
        fields = {ERROR_COLUMN: error} | {
            name: record[name] for name in record if not is_error_column(name)
        }
        return [yaml.dump([fields], Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False)]
