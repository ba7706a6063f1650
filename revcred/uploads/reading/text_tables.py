"""Tables drawn as text: those of Markdown, and those that psql and mysql print."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import unescape
from io import TextIOWrapper
from itertools import chain, pairwise
from pathlib import Path

from django.utils.translation import gettext_noop

from revcred.uploads.reading.encodings import ENCODING_TITLES, encoding_of
from revcred.uploads.reading.headers import column_names_in
from revcred.uploads.reading.list_reader import (
    ROWS_ABOVE_HEADER,
    ListReader,
    NumberedRow,
    UnreadableFile,
    fitting_rows,
)
from revcred.uploads.reading.row_copiers import TextTableCopier, split_text_row

ROWS_OF_FURTHER_TABLES = "rows of further tables"
LINES_BELOW = "lines outside of the table"

NUMBER_OF_ROWS = re.compile(r"\(\d+ rows?\)|\d+ rows? in set.*")
CODE = re.compile(r"(`+)\s*(.+?)\s*\1")
BOLD = re.compile(r"\*\*(.+)\*\*")
LINK = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")


def is_text_table(start: str) -> bool:
    """Return True if a line of dashes stands below a line with cells in this start of a file."""
    lines = start.splitlines()
    return any("|" in above and _is_rule(line) for above, line in pairwise(lines))


@contextmanager
def open_text_table(path: Path, *, encoding: str | None = None) -> Iterator[ListReader]:
    """Open a file with a table drawn as text. Raises UnreadableFile."""
    encoding = encoding_of(path, encoding)
    size = path.stat().st_size
    with path.open("rb") as read, TextIOWrapper(read, encoding, newline="") as file:
        lines = enumerate(file, start=1)
        number, copier, above = _read_header(lines, encoding)
        header_cells = _cells(copier, copier.header)
        header = column_names_in(header_cells, row=number)
        left_out = Counter({ROWS_ABOVE_HEADER: above} if above else {})
        shape = "Markdown" if copier.is_markdown else "table of text"
        yield ListReader(
            file_format=f"{shape[0].upper()}{shape[1:]}, {ENCODING_TITLES[encoding]}",
            header=header,
            rows=fitting_rows(header, _rows(lines, copier, header_cells, left_out)),
            position=lambda: read.tell() / size,
            copier=copier,
            left_out=left_out,
        )


def _is_rule(line: str) -> bool:
    """Return True for a line of dashes with marks between columns, such as `|---|:-:|`."""
    content = line.strip()
    return "--" in content and {*content} <= {*"|+-:= \t"} and bool({*"|+"} & {*content})


def _read_header(
    lines: Iterable[tuple[int, str]], encoding: str
) -> tuple[int, TextTableCopier, int]:
    """Read the header and the rule below it.

    Return the header's number, a copier, and how many lines with something in them stand above.
    """
    before, above = "", 0
    number, header = 0, ""
    for next_number, line in lines:
        if "|" in header and not _is_rule(header) and _is_rule(line):
            copier = TextTableCopier(encoding=encoding, before=before, header=header, rule=line)
            return number, copier, above
        before += header
        above += bool(header.strip()) and not _is_rule(header)
        number, header = next_number, line
    raise UnreadableFile(gettext_noop("There is no row of columns."))


def _rows(
    lines: Iterator[tuple[int, str]],
    copier: TextTableCopier,
    header: list[str],
    left_out: Counter[str],
) -> Iterator[NumberedRow]:
    """Give the rows of the table, and of further tables that have the same columns."""
    is_ours = True
    for (number, line), (_, following) in pairwise(chain(lines, [(0, "")])):
        if not line.strip() or _is_rule(line) or NUMBER_OF_ROWS.fullmatch(line.strip()):
            continue
        if "|" not in line:
            left_out[LINES_BELOW] += 1
        elif _is_rule(following) and "|" in following:
            is_ours = _cells(copier, line) == header
        elif is_ours:
            copier.row = line
            yield number, _cells(copier, line)
        else:
            left_out[ROWS_OF_FURTHER_TABLES] += 1


def _cells(copier: TextTableCopier, line: str) -> list[str]:
    clean = _markdown_text if copier.is_markdown else str.strip
    cells, _ = split_text_row(line, is_framed=copier.is_framed)
    return [clean(cell) for cell in cells]


def _markdown_text(cell: str) -> str:
    """Return what a reader of the page would see in the cell."""
    text = cell.strip()
    if code := CODE.fullmatch(text):
        return code[2].replace(r"\|", "|")
    for marked in (LINK, BOLD):
        if found := marked.fullmatch(text):
            text = found[1]
    return unescape(ESCAPED.sub(r"\1", LINE_BREAK.sub("\n", text))).strip()
