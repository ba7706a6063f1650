"""CSV: cells between commas, semicolons or tabs."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO, TextIOWrapper
from pathlib import Path
from statistics import median_low
from typing import Any

from django.utils.translation import gettext_noop

from revcred.formulas import remove_guard
from revcred.uploads.reading.encodings import ENCODING_TITLES, encoding_of
from revcred.uploads.reading.headers import find_header, read_header
from revcred.uploads.reading.list_reader import (
    MAX_CELL_CHARACTERS,
    ROWS_ABOVE_HEADER,
    ListReader,
    NumberedRow,
    RowError,
    UnreadableFile,
    fitting_rows,
)
from revcred.uploads.reading.row_copiers import DelimitedCopier

DELIMITER_TITLES = {
    ",": "comma",
    ";": "semicolon",
    "\t": "tab",
    "|": "vertical bar",
    "^": "caret",
    "~": "tilde",
}
# Excel writes this line, and obeys it, where the locale's separator is another one.
SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|^~])"?\r?\n', re.IGNORECASE)
BYTE_ORDER_MARK = "\ufeff"  # no part of the text
ENCODING_ADVICE = gettext_noop(
    "A file from Excel is often in Windows-1252: choose it, or save as UTF-8."
)
SINGLE_QUOTED_START = re.compile(r"\s*'[^'\n]*'\s*[,;\t|^~]\s*'")
# A line that something took for one cell, and quoted: "acme,Checkout,""key""".
QUOTED_LINE = re.compile(r'"((?:[^"\r\n]|"")*)"(\r\n|\n|\r)?')
GUESS_LINES = 20  # by which the separator is guessed: the first ones may be titles
HEADER_SAMPLE_CHARACTERS = 1 << 16  # the header has to end in these


@contextmanager
def open_delimited(
    path: Path,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    header_row: int | None = None,
) -> Iterator[ListReader]:
    """Open a CSV file. Raises UnreadableFile."""
    if delimiter is not None and delimiter not in DELIMITER_TITLES:
        raise UnreadableFile(f"Cells may be separated by {', '.join(DELIMITER_TITLES.values())}.")
    encoding = encoding_of(path, encoding, advice=ENCODING_ADVICE)
    size = path.stat().st_size
    with path.open("rb") as read, TextIOWrapper(read, encoding, newline="") as file:
        sample = file.read(HEADER_SAMPLE_CHARACTERS).removeprefix(BYTE_ORDER_MARK)
        told = SEPARATOR_LINE.match(sample)
        are_quoted = _are_lines_quoted(sample[told.end() :] if told else sample)
        if are_quoted:
            sample = "".join(_without_quotes(sample.splitlines(keepends=True)))
        # A choice beats the file's own line, which beats a guess.
        delimiter = delimiter or (told[1] if told else _guess_delimiter(sample))
        file.seek(0)
        # UTF-16-LE and -BE leave the mark in the text; utf-8-sig has removed it.
        before = BYTE_ORDER_MARK if file.read(1) == BYTE_ORDER_MARK else ""
        if not before:
            file.seek(0)
        if told:
            before += file.readline()
        options: dict[str, Any] = {
            "delimiter": delimiter,
            "strict": True,
            "quotechar": "'" if SINGLE_QUOTED_START.match(sample) else '"',
            "skipinitialspace": _has_spaces_before_quotes(sample, delimiter),
        }
        header_row = header_row or _guess_header_row(sample, options, told=bool(told))
        copier = DelimitedCopier(encoding=encoding, delimiter=delimiter, before=before)
        text = _without_quotes(file) if are_quoted else file
        lines = csv.reader(copier.recorded(text), **options)
        records = _numbered_records(lines, copier, before=1 if told else 0)
        header, above = read_header(
            records,
            header_row,
            copier,
            empty=gettext_noop("The file is empty."),
            clean=remove_guard,
        )
        yield ListReader(
            file_format=f"CSV, {DELIMITER_TITLES[delimiter]}, {ENCODING_TITLES[encoding]}",
            header=header,
            rows=_without_formula_guards(fitting_rows(header, records)),
            position=lambda: read.tell() / size,
            copier=copier,
            left_out=Counter({ROWS_ABOVE_HEADER: above} if above else {}),
        )


def _are_lines_quoted(sample: str) -> bool:
    """Return True if each line is one cell in quotes that holds as many cells as all others."""
    lines = [line for line in sample.splitlines(keepends=True) if line.strip()]
    if len(sample) >= HEADER_SAMPLE_CHARACTERS:
        del lines[-1]  # it may be cut off
    first = lines[:GUESS_LINES]
    # One line alone may as well be a name with a comma in it.
    if not first[1:] or not all(QUOTED_LINE.fullmatch(line) for line in first):
        return False
    text = [*_without_quotes(first)]
    delimiter = _guess_delimiter("".join(text))
    numbers = {len(cells) for cells in csv.reader(text, delimiter=delimiter)}
    return len(numbers) == 1 and numbers.pop() > 1


def _without_quotes(lines: Iterable[str]) -> Iterator[str]:
    """Take off the quotes around whole lines, so that their cells can be read."""
    for line in lines:
        quoted = QUOTED_LINE.fullmatch(line)
        yield quoted[1].replace('""', '"') + (quoted[2] or "") if quoted else line


def _has_spaces_before_quotes(sample: str, delimiter: str) -> bool:
    """Return True if cells in quotes stand behind a separator and a space, as in `a, "b"`.

    Only lines in which each cell before is whole tell it: nobody writes a cell of a space and a
    quote so.
    """
    separator = re.escape(delimiter)
    cells_before = rf'(?:[^"\n{separator}]*{separator}|"[^"\n]*"{separator})+'
    behind_space = rf'^{cells_before} +"[^"\n]*" *(?:{separator}|\r?$)'
    return bool(re.search(behind_space, sample, re.MULTILINE))


def _guess_delimiter(sample: str) -> str:
    """Return the delimiter that splits the lines into most cells; of several, the first."""
    lines = [line for line in sample.splitlines() if line.strip()]
    if not lines:
        raise UnreadableFile(gettext_noop("The file is empty."))
    return max(DELIMITER_TITLES, key=lambda each: _usual_cells(lines[:GUESS_LINES], each))


def _usual_cells(lines: list[str], delimiter: str) -> tuple[float, int]:
    """Return the median of the numbers of cells in these lines, and the number in the first one."""
    counts: list[int] = []
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for cells in reader:
            counts.append(len(cells))  # noqa: PERF401 - those before an error count, too
    except csv.Error:
        pass
    return (median_low(counts), counts[0]) if counts else (0, 0)


def _guess_header_row(sample: str, options: dict[str, Any], *, told: bool) -> int:
    """Return the number of the header's row, by the start of the file."""
    lines = StringIO(sample, newline="")
    if told:
        lines.readline()
    copier = DelimitedCopier(encoding="utf-8", delimiter=options["delimiter"], before="")
    reader = csv.reader(copier.recorded(lines), **options)
    found = find_header(_until_unreadable(_numbered_records(reader, copier, before=int(told))))
    return found or 1


def _until_unreadable(rows: Iterator[NumberedRow]) -> Iterator[NumberedRow]:
    # The sample may end within a row.
    with suppress(UnreadableFile):
        yield from rows


def _numbered_records(
    reader: Any, copier: DelimitedCopier, *, before: int
) -> Iterator[NumberedRow]:
    """Give each record with the number of the line it begins in.

    `before`: lines of the file that the reader has not seen. Raises UnreadableFile where a quote
    never closes.
    """
    while True:
        number = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            copier.end_record()
            yield number, _row_error_of(error, number, lines=before + reader.line_num - number)
        else:
            copier.end_record()
            yield number, cells


def _row_error_of(error: csv.Error, number: int, *, lines: int) -> RowError:
    """Describe the error of a row. Raises UnreadableFile if the end of the row is unknown."""
    too_long = "field limit" in str(error)
    # A quote that never closes takes all lines that follow into one cell, until the limit.
    if "unexpected end" in str(error) or (too_long and lines):
        raise UnreadableFile(gettext_noop("A quote opens here and never closes."), row=number)
    if too_long:
        most = csv.field_size_limit()
        return RowError(
            "", f"A cell has over {most:,} characters; at most {MAX_CELL_CHARACTERS:,} are allowed."
        )
    return RowError("", gettext_noop("A quote stands in the middle of a cell."))


def _without_formula_guards(rows: Iterator[NumberedRow]) -> Iterator[NumberedRow]:
    """Remove the apostrophe by which an export kept spreadsheets from computing a cell."""
    for number, row in rows:
        # Looking for an apostrophe in the whole row first is faster than asking every cell.
        if not isinstance(row, RowError) and "'" in "".join(row):
            yield number, [remove_guard(each) for each in row]
        else:
            yield number, row
