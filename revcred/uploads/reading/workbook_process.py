"""Program that reads the first visible sheet of a workbook, with limited memory and time.

It is run by its path and imports nothing of ours. It writes lines of JSON: first an object
(`sheet` and `rows`, or `error`), then lists of rows. A row is its number and its cells, or its
number, the position of a cell (from 0), what is wrong with that cell, and the cells as far as they
can be read.
"""

import re
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import islice
from typing import Any, TypeAlias
from xml.etree import ElementTree as ET
from zipfile import BadZipFile, ZipFile, ZipInfo

import msgspec
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

MAX_CPU_SECONDS = 20
MAX_MEMORY_BYTES = 256 << 20
MAX_MEMBERS = 1_000
MAX_INDEX_BYTES = 1_000_000  # of the members that say where the others are
MAX_INFLATED_BYTES = 100_000_000  # of the sheet and its texts
MAX_PACKING_RATIO = 100  # to 1; no honest sheet is packed as well
SCAN_CHUNK_BYTES = 1 << 20
SCAN_OVERLAP_BYTES = 10_000  # a cell with its formula fits into these
ROWS_PER_LINE = 500
FIRST_ROUNDED_NUMBER = 1e15  # from here on Excel does not keep the digits that were typed
NEEDS_TOO_MUCH_MEMORY = "The workbook needs too much memory. Save it as CSV."
WORKBOOK_MEMBER = "xl/workbook.xml"
SHARED_STRINGS_MEMBER = "xl/sharedStrings.xml"

# Columns from AY on: calamine would make room for all cells between, in each row.
FAR_CELL = re.compile(rb' r="((?:A[YZ]|[B-Z][A-Z]|[A-Z]{3})\d+)"(?:[^>]*[^/])?>')
# A plain search for the first text is quick, and spares the expression where it is not found.
FAULTY_CELLS = (
    (
        b' t="e"',
        re.compile(rb' r="([A-Z]{1,2})(\d+)"[^>]* t="e"'),
        "It holds an error of Excel.",
    ),
    (
        b"<f",
        re.compile(rb' r="([A-Z]{1,2})(\d+)"[^>]*><f[^>]*(?:/>|>[^<]*</f>)(?:<v/>|<v></v>)?</c>'),
        "It holds a formula without a value. Open it in Excel and save it.",
    ),
)

STYLES_MEMBER = "xl/styles.xml"
STYLED_CELL = re.compile(rb'<c r="([A-Z]{1,2})(\d+)" s="(\d+)"')
# Zeros, and texts between them: 000000, 0000\-0000
ZEROS_FORMAT = re.compile(r"""(?:0|\\.|"[^"]*"|[ ()/-])+""")
FORMAT_PART = re.compile(r"""(0)|\\(.)|"([^"]*)"|([ ()/-])""")

PaddedCells: TypeAlias = dict[tuple[int, int], str]
CellFault: TypeAlias = tuple[str, str]  # the letters of the column, and what is wrong
WorkbookRow: TypeAlias = tuple[int, list[str]] | tuple[int, int, str, list[str]]


class UnreadableWorkbook(Exception):
    """The workbook is not read; the message says why."""


def limit_resources() -> None:
    """Limit CPU time and memory of this process, and switch off core dumps."""
    # A workbook of a few kilobytes may unpack to gigabytes, or take hours.
    for what, most in (
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_AS, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def write_workbook(path: str) -> None:
    """Write the sheet of the workbook at `path`, or the error that keeps it from being read."""
    try:
        sheet, faults, padded = open_sheet(path)
        write_message({"sheet": sheet.name, "rows": sheet.end[0] + 1 if sheet.end else 0})
        rows = rows_of_sheet(sheet, faults, padded)
        while some := [*islice(rows, ROWS_PER_LINE)]:
            write_message(some)
    except UnreadableWorkbook as error:
        write_message({"error": str(error)})
    except BadZipFile:
        write_message({"error": "The workbook is damaged."})
    except MemoryError:
        write_message({"error": NEEDS_TOO_MUCH_MEMORY})


def write_message(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")


def open_sheet(path: str) -> tuple[CalamineSheet, dict[int, CellFault], PaddedCells]:
    """Return the sheet, by row the faulty cells, and those that are shown with leading zeros.

    Raises UnreadableWorkbook, BadZipFile.
    """
    with ZipFile(path) as archive:
        members = {each.filename: each for each in archive.infolist()}
        check_members(archive)
        name, part = first_sheet(archive, members)
        # Sizes come from the ZIP's index. A wrong index is caught by the memory limit.
        check_sizes([members[each] for each in (part, SHARED_STRINGS_MEMBER) if each in members])
        faults = faults_in(archive, members[part])
        padded = padded_cells_in(archive, members, members[part])
    try:
        workbook = CalamineWorkbook.from_path(path)
        return workbook.get_sheet_by_name(name), faults, padded
    except CalamineError as error:
        raise UnreadableWorkbook("The workbook is damaged.") from error


def check_members(archive: ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise UnreadableWorkbook(
            f"The ZIP holds {len(members):,} files; at most {MAX_MEMBERS:,} are allowed."
        )
    if WORKBOOK_MEMBER not in archive.namelist():
        raise UnreadableWorkbook("This is a ZIP and no workbook. Unpack it first.")
    if any(each.flag_bits & 1 for each in members):
        raise UnreadableWorkbook("The workbook is protected by a password.")


def check_sizes(members: list[ZipInfo]) -> None:
    size = sum(each.file_size for each in members)
    if size > MAX_INFLATED_BYTES:
        raise UnreadableWorkbook(
            f"The sheet and its texts unpack to {size:,} bytes; at most"
            f" {MAX_INFLATED_BYTES:,} are allowed. Save it as CSV, which may be far longer."
        )
    if any(
        each.file_size > SCAN_CHUNK_BYTES
        and each.file_size > MAX_PACKING_RATIO * each.compress_size
        for each in members
    ):
        raise UnreadableWorkbook(
            f"The sheet or its texts are packed more than {MAX_PACKING_RATIO} to 1, which"
            " no list is."
        )


def first_sheet(archive: ZipFile, members: dict[str, ZipInfo]) -> tuple[str, str]:
    """Return the name of the first visible sheet and the member that holds it.

    Raises UnreadableWorkbook.
    """
    targets = {
        each.get("Id"): each.get("Target", "")
        for each in read_index_member(archive, members, "xl/_rels/workbook.xml.rels")
    }
    for each in read_index_member(archive, members, WORKBOOK_MEMBER).iterfind(".//{*}sheet"):
        relation = next((each.attrib[name] for name in each.attrib if name.endswith("}id")), None)
        target = targets.get(relation, "")
        part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
        if each.get("state", "visible") == "visible" and "/worksheets/" in part:
            if part not in members:
                break
            return each.get("name", ""), part
    raise UnreadableWorkbook("The workbook has no visible sheet.")


def read_index_member(archive: ZipFile, members: dict[str, ZipInfo], name: str) -> ET.Element:
    if name not in members or members[name].file_size > MAX_INDEX_BYTES:
        raise UnreadableWorkbook("The workbook is damaged.")
    try:
        return ET.fromstring(archive.read(name))  # noqa: S314 - bounded, as this whole process is
    except ET.ParseError as error:
        raise UnreadableWorkbook("The workbook is damaged.") from error


def faults_in(archive: ZipFile, member: ZipInfo) -> dict[int, CellFault]:
    """Return the cells that lack the value they should have, by row.

    Raises UnreadableWorkbook if a cell lies beyond the columns that a list may have.
    """
    faults: dict[int, CellFault] = {}
    tail = b""
    with archive.open(member) as file:
        while chunk := file.read(SCAN_CHUNK_BYTES):
            text = tail + chunk
            far = FAR_CELL.search(text)
            if far:
                raise UnreadableWorkbook(
                    f"Cell {far[1].decode()} is too far to the right; at most 50 columns are"
                    " allowed."
                )
            for sign, faulty, message in FAULTY_CELLS:
                for column, row in faulty.findall(text) if sign in text else ():
                    faults[int(row)] = column.decode(), message
            # A cell may begin in one chunk and end in the next.
            tail = text[-SCAN_OVERLAP_BYTES:]
    return faults


def padded_cells_in(archive: ZipFile, members: dict[str, ZipInfo], member: ZipInfo) -> PaddedCells:
    """Return the formats of zeros by which cells are shown, by row and column."""
    formats = formats_of_zeros(archive, members)
    padded: PaddedCells = {}
    if not formats:
        return padded
    tail = b""
    with archive.open(member) as file:
        while chunk := file.read(SCAN_CHUNK_BYTES):
            text = tail + chunk
            for column, row, style in STYLED_CELL.findall(text):
                if int(style) in formats:
                    padded[int(row), position_of(column.decode())] = formats[int(style)]
            tail = text[-SCAN_OVERLAP_BYTES:]
    return padded


def formats_of_zeros(archive: ZipFile, members: dict[str, ZipInfo]) -> dict[int, str]:
    """Return the formats that have zeros for digits, by the number of the style."""
    if STYLES_MEMBER not in members:
        return {}
    styles = read_index_member(archive, members, STYLES_MEMBER)
    codes = {
        each.get("numFmtId", ""): each.get("formatCode", "")
        for each in styles.iterfind(".//{*}numFmt")
        if ZEROS_FORMAT.fullmatch(each.get("formatCode", ""))
        and each.get("formatCode", "").count("0") > 1
    }
    formats = [*styles.iterfind("./{*}cellXfs/{*}xf")]
    return {
        number: codes[each.get("numFmtId", "")]
        for number, each in enumerate(formats)
        if each.get("numFmtId", "") in codes
    }


def as_shown(digits: str, code: str) -> str:
    """Return a whole number as Excel shows it by a format of zeros and texts."""
    parts = [*FORMAT_PART.finditer(code)]
    zeros = sum(part[1] is not None for part in parts)
    digits = digits.zfill(zeros)
    # The first zero takes all digits that are too many.
    left, rest = digits[: len(digits) - zeros + 1], iter(digits[len(digits) - zeros + 1 :])
    shown, is_first = "", True
    for part in parts:
        if part[1]:
            shown, is_first = shown + (left if is_first else next(rest)), False
        else:
            shown += part[2] or part[3] or part[4] or ""
    return shown


def rows_of_sheet(
    sheet: CalamineSheet, faults: dict[int, CellFault], padded: PaddedCells
) -> Iterator[WorkbookRow]:
    first_column = sheet.start[1] if sheet.start else 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        cells = [text_of(value) for value in row]
        if padded:
            for at, cell in enumerate(cells):
                # As Excel shows it: the zeros are part of the key.
                code = padded.get((number, at + first_column))
                if code and cell.isdecimal():
                    cells[at] = as_shown(cell, code)
        if number in faults:
            column, message = faults[number]
            yield number, position_of(column) - first_column, message, cells
            continue
        # A numeric key of 16 digits or more has lost digits in Excel: it is not the key.
        numbers = [at for at, value in enumerate(row) if is_rounded(value)]
        if numbers:
            message = "Excel has rounded this number. Format the column as text."
            yield number, numbers[0], message, cells
        else:
            yield number, cells


def position_of(column: str) -> int:
    """Return the position of a column by its letters: 0 for A."""
    position = 0
    for letter in column:
        position = position * 26 + ord(letter) - ord("A") + 1
    return position - 1


def is_rounded(value: Any) -> bool:
    return isinstance(value, float) and abs(value) >= FIRST_ROUNDED_NUMBER


def text_of(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return text_of_number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return "" if value is None else str(value)


def text_of_number(value: float) -> str:
    if is_rounded(value):
        # As Excel shows it: with all of its digits, it would be taken for the key.
        return f"{value:.14E}"
    # Excel has no integers; nobody typed the ".0".
    return str(int(value)) if value.is_integer() else repr(value)


if __name__ == "__main__":
    limit_resources()
    write_workbook(sys.argv[1])
