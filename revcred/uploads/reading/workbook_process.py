"""Read the first visible sheet of a workbook, in a process that may use only so much.

It is run by its path, knows nothing of the rest, and says on its output, line by line in JSON:
first an object (`sheet` and `rows`, or `error` and where), then lists of rows. A row is its
number and its cells, or its number, the position of a cell (from 0) and what is wrong with it.
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

MOST_SECONDS = 20
MOST_MEMORY = 256 << 20  # bytes
MOST_MEMBERS = 1_000
LARGEST_SMALL = 1_000_000  # bytes of the parts that say where the others are
LARGEST_INFLATED = 100_000_000  # bytes of the sheet and its texts
RATIO = 100  # to one, which no honest sheet is packed
CHUNK = 1 << 20  # bytes
OVERLAP = 10_000  # bytes, in which a cell with its formula fits
AT_ONCE = 500  # rows in a line
MOST_DIGITS = 1e15  # from where on a number of Excel is not what was typed
TOO_LARGE = "The workbook needs more memory than one may have. Save it as CSV."
WORKBOOK = "xl/workbook.xml"
TEXTS = "xl/sharedStrings.xml"

FAR_CELL = re.compile(rb' r="((?:A[YZ]|[B-Z][A-Z]|[A-Z]{3})\d+)"(?:[^>]*[^/])?>')
# Where the first is nowhere to be seen, there is no need to look for the second.
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

Fault: TypeAlias = tuple[str, str]  # the letters of the column, and what is wrong
Told: TypeAlias = tuple[int, list[str]] | tuple[int, int, str]


class Unfit(Exception):
    """Its text says why the workbook is not read."""


def limit() -> None:
    for what, most in (
        (resource.RLIMIT_CPU, MOST_SECONDS),
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def tell(path: str) -> None:
    try:
        sheet, faults = opened(path)
        say({"sheet": sheet.name, "rows": sheet.end[0] + 1 if sheet.end else 0})
        rows = told(sheet, faults)
        while some := [*islice(rows, AT_ONCE)]:
            say(some)
    except Unfit as error:
        say({"error": str(error)})
    except BadZipFile:
        say({"error": "The workbook is damaged."})
    except MemoryError:
        say({"error": TOO_LARGE})


def say(message: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")


def opened(path: str) -> tuple[CalamineSheet, dict[int, Fault]]:
    """The sheet, and the faulty cell of each row that has one. Raises Unfit, BadZipFile."""
    with ZipFile(path) as archive:
        members = {each.filename: each for each in archive.infolist()}
        check_members(archive)
        name, part = first_sheet(archive, members)
        check_sizes([members[each] for each in (part, TEXTS) if each in members])
        faults = faults_in(archive, members[part])
    try:
        workbook = CalamineWorkbook.from_path(path)
        return workbook.get_sheet_by_name(name), faults
    except CalamineError as error:
        raise Unfit("The workbook is damaged.") from error


def check_members(archive: ZipFile) -> None:
    members = archive.infolist()
    if len(members) > MOST_MEMBERS:
        raise Unfit(f"The ZIP holds {len(members):,} files; {MOST_MEMBERS:,} is the most.")
    if WORKBOOK not in archive.namelist():
        raise Unfit("This is a ZIP and no workbook. Unpack it first.")
    if any(each.flag_bits & 1 for each in members):
        raise Unfit("The workbook is protected by a password.")


def check_sizes(members: list[ZipInfo]) -> None:
    size = sum(each.file_size for each in members)
    if size > LARGEST_INFLATED:
        raise Unfit(
            f"The sheet and its texts unpack to {size:,} bytes; {LARGEST_INFLATED:,} is the most. "
            "Save it as CSV, which may be far longer."
        )
    if any(
        each.file_size > CHUNK and each.file_size > RATIO * each.compress_size for each in members
    ):
        raise Unfit(f"The sheet or its texts are packed more than {RATIO} to 1, as no list is.")


def first_sheet(archive: ZipFile, members: dict[str, ZipInfo]) -> tuple[str, str]:
    """The name of the first visible sheet, and of the member that holds it. Raises Unfit."""
    targets = {
        each.get("Id"): each.get("Target", "")
        for each in small(archive, members, "xl/_rels/workbook.xml.rels")
    }
    for each in small(archive, members, WORKBOOK).iterfind(".//{*}sheet"):
        relation = next((each.attrib[name] for name in each.attrib if name.endswith("}id")), None)
        target = targets.get(relation, "")
        part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
        if each.get("state", "visible") == "visible" and "/worksheets/" in part:
            if part not in members:
                break
            return each.get("name", ""), part
    raise Unfit("The workbook has no visible sheet.")


def small(archive: ZipFile, members: dict[str, ZipInfo], name: str) -> ET.Element:
    if name not in members or members[name].file_size > LARGEST_SMALL:
        raise Unfit("The workbook is damaged.")
    try:
        return ET.fromstring(archive.read(name))  # noqa: S314 - bounded, as this whole process is
    except ET.ParseError as error:
        raise Unfit("The workbook is damaged.") from error


def faults_in(archive: ZipFile, member: ZipInfo) -> dict[int, Fault]:
    """The cells that have no value though they should, by row. Raises Unfit of a far cell."""
    faults: dict[int, Fault] = {}
    tail = b""
    with archive.open(member) as file:
        while chunk := file.read(CHUNK):
            text = tail + chunk
            far = FAR_CELL.search(text)
            if far:
                raise Unfit(f"Cell {far[1].decode()} is far out; 50 columns are the most.")
            for sign, faulty, message in FAULTY_CELLS:
                for column, row in faulty.findall(text) if sign in text else ():
                    faults[int(row)] = column.decode(), message
            tail = text[-OVERLAP:]
    return faults


def told(sheet: CalamineSheet, faults: dict[int, Fault]) -> Iterator[Told]:
    first_column = sheet.start[1] if sheet.start else 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        if number in faults:
            column, message = faults[number]
            yield number, position_of(column) - first_column, message
            continue
        numbers = [at for at, value in enumerate(row) if is_rounded(value)]
        if numbers:
            yield number, numbers[0], "Excel has rounded this number. Format the column as text."
        else:
            yield number, [text_of(value) for value in row]


def position_of(column: str) -> int:
    """0 of A."""
    position = 0
    for letter in column:
        position = position * 26 + ord(letter) - ord("A") + 1
    return position - 1


def is_rounded(value: Any) -> bool:
    return isinstance(value, float) and abs(value) >= MOST_DIGITS


def text_of(value: Any) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case datetime() | date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case _:
            return "" if value is None else str(value)


if __name__ == "__main__":
    limit()
    tell(sys.argv[1])
