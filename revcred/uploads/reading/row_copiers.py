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
LINE_ENDS = "\r\n"
LINE_END = re.compile(r"\r\n|\n|\r")
NAMES_DECODER = msgspec.json.Decoder(list[str])
VALUES_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
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


def split_text_row(line: str, *, is_framed: bool, bars: str = "|") -> tuple[list[str], str]:
    """Return the cells of a line of a table of text as they stand there, and what ends the line.

    `bars`: the characters between cells, unless a backslash stands before them. `is_framed`: one
    may stand before the first cell and behind the last one, too.
    """
    content = line.rstrip()
    end = line[len(content) :]
    bar = rf"(?<!\\)[{re.escape(bars)}]"
    if is_framed:
        content = re.sub(rf"\A\s*{bar}", "", content)
        if re.search(rf"{bar}\Z", content):
            content, end = content[:-1], content[-1] + end
    return re.split(bar, content), end


class TextTableCopier(RowCopier):
    """A copier of lines of a table drawn as text.

    `before`: what stands above the header; `rule`: the line of dashes below it.
    """

    def __init__(self, *, encoding: str, before: str, header: str, rule: str) -> None:
        self._encoding, self._before, self._rule = encoding, before, rule
        self.header = header
        self.row = ""  # read last
        self.is_markdown = "+" not in rule
        self.is_framed = header.lstrip().startswith("|")

    def copy_rows(self, to: BinaryIO, reasons: Iterable[str]) -> None:
        names, _ = split_text_row(self.header, is_framed=self.is_framed)
        errors = {at for at, name in enumerate(names) if is_error_column(name)}
        text = TextIOWrapper(to, self._encoding, newline="")
        text.write(self._before)
        text.write(self._with_error(self.header, f" {ERROR_COLUMN} ", errors))
        corner = "|" if self.is_markdown else "+"
        text.write(self._with_error(self._rule, "---", errors, bar=corner))
        for reason in reasons:
            known = reason.encode(self._encoding, "replace").decode(self._encoding)
            escaped = known.replace("|", r"\|")
            text.write(self._with_error(self.row, f" {escaped} ", errors))
        text.detach()

    def _with_error(self, line: str, error: str, errors: set[int], *, bar: str = "|") -> str:
        cells, end = split_text_row(line, is_framed=self.is_framed, bars=f"|{bar}")
        kept = [cell for at, cell in enumerate(cells) if at not in errors]
        line_end = LINE_END.search(line[-2:]) or LINE_END.search(self.header[-2:])
        frame = bar if self.is_framed else ""
        row = f"{frame}{bar.join([error, *kept])}{end.rstrip(LINE_ENDS)}"
        return row + (line_end[0] if line_end else "\n")


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
        return _object_with_error(record, error)


def _object_with_error(record: Any, error: str) -> list[str]:
    """Return the object with a field for its error.

    A record that is no object cannot have one, so an object with the error comes before it.
    """
    said = {ERROR_COLUMN: error}
    try:
        fields = FIELDS_DECODER.decode(record)
    except (msgspec.DecodeError, RecursionError):
        broken = record if isinstance(record, str) else record.decode()
        return [_json(said), broken.strip()]
    return [_json(said | {name: fields[name] for name in fields if not is_error_column(name)})]


def _json(record: dict[str, Any] | list[Any]) -> str:
    return msgspec.json.encode(record).decode()


class JsonLinesCopier(RecordCopier):
    """A copier of lines of JSON."""

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        return (f"{record}\n" for record in records)


class JsonCopier(RecordCopier):
    """A copier of the objects of a JSON list, or of the list in an object's field `name`.

    `header`: the first list, if the records are lists of values and it names them.
    """

    name: str | None = None
    header: str | None = None
    is_single = False  # the document is the only object itself

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        opening, closing = ("", "") if self.is_single else ("[\n", "\n]")
        yield f"{{{msgspec.json.encode(self.name).decode()}: {opening}" if self.name else opening
        if self.header:
            records = chain(self._with_error(self.header, ERROR_COLUMN), records)
        for position, record in enumerate(records):
            yield f",\n{record}" if position else record
        yield f"{closing}}}\n" if self.name else f"{closing}\n"

    def _with_error(self, record: Any, error: str) -> list[str]:
        if not self.header:
            return _object_with_error(record, error)
        names = NAMES_DECODER.decode(self.header)
        errors = {at for at, name in enumerate(names) if is_error_column(name)}
        try:
            values = VALUES_DECODER.decode(record)
        except (msgspec.DecodeError, RecursionError):
            return [_json([error]), record]
        return [_json([error, *(each for at, each in enumerate(values) if at not in errors)])]


class YamlCopier(RecordCopier):
    """A copier of records in YAML: values that the parser gave, or bytes of JSON.

    They stand in a list, in the list in an object's field `name`, or are documents themselves.
    """

    name: str | None = None
    is_single = False  # the document is the only record itself
    is_stream = False  # each document is a record

    def _document(self, records: Iterator[str]) -> Iterator[str]:
        if self.name:
            yield yaml.safe_dump({self.name: None}).removesuffix(" null\n") + "\n"
        yield from records

    def _with_error(self, record: Any, error: str) -> list[str]:
        value = msgspec.json.decode(record) if isinstance(record, bytes) else record
        said: dict[str, Any] = {ERROR_COLUMN: error}
        if not isinstance(value, dict):
            return [self._dumped(said), self._dumped(value)]
        fields = {name: value[name] for name in value if not is_error_column(name)}
        return [self._dumped(said | fields)]

    def _dumped(self, record: Any) -> str:
        is_document = self.is_single or self.is_stream
        return ("---\n" if self.is_stream else "") + yaml.dump(
            record if is_document else [record],
            Dumper=yaml.CSafeDumper,
            allow_unicode=True,
            sort_keys=False,
        )
