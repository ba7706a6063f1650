"""XLSX: the first sheet one sees; and those that were made to do harm."""

import resource
import time
from datetime import date, datetime
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from xlsxwriter import Workbook

from revcred.uploads.reading import RowError, UnreadableFile


def workbook(fill, *, sheets=("Keys",)):
    """What Excel would save after `fill` has filled the sheets."""
    to = BytesIO()
    with Workbook(to, {"in_memory": True}) as book:
        fill(book, *[book.add_worksheet(name) for name in sheets])
    return to.getvalue()


def of_rows(*rows, at=(0, 0)):
    def fill(book, sheet):
        for number, row in enumerate(rows):
            sheet.write_row(at[0] + number, at[1], row)

    return workbook(fill)


def zipped(**members):
    to = BytesIO()
    with ZipFile(to, "w", ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return to.getvalue()


def changed(content, **members):
    """The same ZIP with members exchanged or added."""
    with ZipFile(BytesIO(content)) as archive:
        kept = {each: archive.read(each) for each in archive.namelist()}
    return zipped(**{**kept, **members})


def refused(opened, content):
    """What is said, and how long it took."""
    began = time.monotonic()
    with pytest.raises(UnreadableFile) as raised, opened(content, name="list.xlsx") as read:
        for _ in read.rows:
            pass
    return str(raised.value), time.monotonic() - began


PART = "xl/worksheets/sheet1.xml"
SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    "<sheetData>{}</sheetData></worksheet>"
)
LIST = of_rows(["name", "key"], ["A", "k-1"])


EVENING = datetime(2027, 12, 31, 23, 59)  # noqa: DTZ001 - Excel knows no zones


# --- As it is -------------------------------------------------------------------------------------


def test_a_sheet_is_read_wherever_the_list_stands_on_it(opened):
    content = of_rows(["name", "key"], ["A", "0012"], [], ["B", "k-2"], at=(3, 2))

    with opened(content, name="list.xlsx") as read:
        assert read.file_format == "XLSX, sheet “Keys”"
        assert read.header == ["name", "key"]
        assert dict(read.rows) == {5: ["A", "0012"], 7: ["B", "k-2"]}
        assert read.done == 1.0


def test_cells_of_every_kind_are_text(rows_of):
    def fill(book, sheet):
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet.write_row(0, 0, ["day", "moment", "whole", "part", "true", "formula", "text"])
        sheet.write_datetime(1, 0, date(2027, 12, 31), day)
        sheet.write_datetime(1, 1, EVENING, day)
        sheet.write_row(1, 2, [100_000_000_000_000, 1.25, True])
        sheet.write_formula(1, 5, "=1+1", value=2)
        sheet.write_string(1, 6, "=1+1")

    row = ["2027-12-31", "2027-12-31T23:59:00", "100000000000000", "1.25", "true", "2", "=1+1"]
    assert rows_of(workbook(fill)) == {2: row}


def test_the_first_visible_sheet_is_the_one(opened):
    def fill(book, hidden, keys, other):
        hidden.write_row(0, 0, ["hidden"])
        keys.write_row(0, 0, ["name"])
        other.write_row(0, 0, ["other"])
        keys.activate()
        keys.set_first_sheet()
        hidden.hide()

    with opened(workbook(fill, sheets=("Hidden", "Keys", "Other"))) as read:
        assert read.header == ["name"]


def test_what_is_left_unread_leaves_no_process_behind(opened):
    content = of_rows(["name"], *[["x" * 1000]] * 5_000)

    with opened(content) as read:
        next(read.rows)
    assert read.done < 1.0


def test_a_formula_that_was_never_worked_out_is_no_blank(rows_of):
    def cells(row, *filled):
        return f'<row r="{row}">' + "".join(filled) + "</row>"

    def text(place, said):
        return f'<c r="{place}" t="inlineStr"><is><t>{said}</t></is></c>'

    sheet = SHEET.format(
        cells(1, text("A1", "name"), text("B1", "key"))
        + cells(2, text("A2", "A"), '<c r="B2"><f>A2&amp;"-1"</f></c>')
        + cells(3, text("A3", "B"), '<c r="B3" s="1"><f t="shared" si="0"/><v></v></c>')
        + cells(4, text("A4", "C"), '<c r="B4" t="str"><f>A4</f><v>C</v></c>')
    )

    error = RowError("key", "It holds a formula without a value. Open it in Excel and save it.")
    assert rows_of(changed(LIST, **{PART: sheet})) == {2: error, 3: error, 4: ["C", "C"]}


# --- A clear word ---------------------------------------------------------------------------------


def test_a_row_that_is_wrong_leaves_the_others_alone(rows_of):
    def fill(book, sheet):
        sheet.write_row(0, 1, ["name", "key"])
        sheet.write_row(1, 1, ["A", 1234567890123456789])
        sheet.write_string(2, 1, "B")
        sheet.write_formula(2, 2, "=1/0", value="#DIV/0!")
        sheet.write_row(3, 1, ["C", "x" * 5_000])
        sheet.write_row(4, 1, ["D", "\x01"])
        sheet.write_row(5, 1, ["E", "k", "beyond"])
        sheet.write_row(6, 1, ["F", "k-6"])

    assert rows_of(workbook(fill)) == {
        2: RowError("key", "Excel has rounded this number. Format the column as text."),
        3: RowError("key", "It holds an error of Excel."),
        4: RowError("key", "It has 5,000 characters; at most 4,096 are allowed."),
        5: RowError("key", "It contains U+0001, which cannot be stored."),
        6: RowError("", "It has 3 cells, the header 2."),
        7: ["F", "k-6"],
    }


def far(cell, row):
    return (
        '<row r="1"><c r="A1" t="inlineStr"><is><t>name</t></is></c></row>'
        f'<row r="{row}"><c r="{cell}{row}"><v>1</v></c></row>'
    )


BAD = {
    "a ZIP of anything": (zipped(**{"notes.txt": "Hello."}), "This is a ZIP and no workbook."),
    "a ZIP in a ZIP": (zipped(**{"a.zip": zipped(**{"b.zip": LIST})}), "This is a ZIP and no"),
    "half of one": (LIST[: len(LIST) // 2], "The workbook is damaged."),
    "an empty ZIP": (b"PK\x05\x06" + bytes(18), "This is a ZIP and no workbook."),
    "nothing behind the first letters": (b"PK\x03\x04", "The workbook is damaged."),
    "an empty sheet": (workbook(lambda *_: None), "The sheet “Keys” is empty."),
    "no sheet of cells": (
        changed(LIST, **{"xl/workbook.xml": "<workbook/>"}),
        "The workbook has no visible sheet.",
    ),
    "a part that is no XML": (
        changed(LIST, **{"xl/workbook.xml": "<workbook"}),
        "The workbook is damaged.",
    ),
    "a sheet that is no XML": (changed(LIST, **{PART: "<a"}), "The "),
    "an entity that grows": (
        changed(
            LIST,
            **{
                "xl/workbook.xml": '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">'
                + "".join(f'<!ENTITY b{n} "{f"&b{n - 1 or str()};" * 10}">' for n in range(1, 12))
                + "]><a>&b11;</a>"
            },
        ),
        "The workbook is damaged.",
    ),
    "a cell in the last corner": (
        changed(LIST, **{PART: SHEET.format(far("XFD", 1_048_576))}),
        "Cell XFD1048576 is too far to the right; at most 50 columns are allowed.",
    ),
    "a cell in the last row": (
        changed(LIST, **{PART: SHEET.format(far("AX", 1_048_576))}),
        "The workbook needs too much memory. Save it as CSV.",
    ),
    "51 columns": (
        of_rows([f"c{n}" for n in range(51)]),
        "Cell AY1 is too far to the right; at most 50 columns",
    ),
    "a cell of 200 MB": (
        changed(LIST, **{"xl/sharedStrings.xml": b"<sst><si><t>" + b"x" * 200_000_000}),
        "The sheet and its texts unpack to 200,000,",
    ),
    "a sheet of 150 MB": (
        changed(LIST, **{PART: b" " * 150_000_000}),
        "The sheet and its texts unpack to 150,000,",
    ),
    "a sheet of nothing": (
        changed(LIST, **{PART: b" " * 90_000_000}),
        "The sheet or its texts are packed more than 100 to 1, which no list is.",
    ),
    "ten thousand members": (
        changed(LIST, **{f"xl/media/{n}": "" for n in range(10_000)}),
        "The ZIP holds",
    ),
    "no header": (of_rows(["acme", "ada@example.com"]), "Row 1: This looks like data."),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_workbook_is_rejected_in_a_word_and_in_no_time(opened, bad):
    content, said = BAD[bad]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    message, seconds = refused(opened, content)

    assert message.startswith(said)
    assert seconds < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB
