"""CSV, however it was written; and a clear word where it was written wrongly."""

import csv
import tracemalloc
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from revcred.formulas import remove_guard
from revcred.uploads.reading import MAX_FILE_BYTES, RowError, UnreadableFile, open_list

# --- As it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delimiter", "shape"),
    [(",", "CSV, comma, UTF-8"), (";", "CSV, semicolon, UTF-8"), ("\t", "CSV, tab, UTF-8")],
)
def test_what_separates_the_cells_is_seen(opened, delimiter, shape):
    with opened(f"name{delimiter}key{delimiter}tags\nA{delimiter}k-1{delimiter}x|y\n") as read:
        assert read.file_format == shape
        assert read.header == ["name", "key", "tags"]
        assert list(read.rows) == [(2, ["A", "k-1", "x|y"])]


def test_a_comma_within_quotes_separates_nothing(opened):
    with opened('"name, in full";"key, if any, or none"\nA;B\n') as read:
        assert read.header == ["name, in full", "key, if any, or none"]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_first_line_for_excel_says_what_separates(opened, mark, end):
    content = end.join([f"{mark}sep=;", "name;key, if any", "A;B", ""])
    with opened(content) as read:
        assert read.file_format == "CSV, semicolon, UTF-8"
        assert read.header == ["name", "key, if any"]
        assert list(read.rows) == [(3, ["A", "B"])]


def test_quotes_around_whole_lines_are_taken_off(opened):
    content = '"name;key;note"\r\n"Checkout;k-1;""a; b"""\r\n"Backend;k-2;"\r\n'
    with opened(content) as read:
        assert read.file_format == "CSV, semicolon, UTF-8"
        assert read.header == ["name", "key", "note"]
        assert list(read.rows) == [(2, ["Checkout", "k-1", "a; b"]), (3, ["Backend", "k-2", ""])]


@pytest.mark.parametrize(
    ("content", "header"),
    [
        ('"place, country"\n"Bern"\n', ["place, country"]),
        ('"place, country"\n', ["place, country"]),
        ('"a","b"\n"c","d"\n', ["a", "b"]),
    ],
)
def test_quotes_around_cells_stay(opened, content, header):
    with opened(content) as read:
        assert read.header == header


def test_what_separates_may_be_chosen(opened):
    with opened("name,first;key\nA,a;B\n", delimiter=";") as read:
        assert read.header == ["name,first", "key"]


@pytest.mark.parametrize(
    ("encoding", "chosen", "shape"),
    [
        ("utf-8", None, "UTF-8"),
        ("utf-8-sig", None, "UTF-8"),
        ("utf-16", None, "UTF-16"),
        ("utf-16-le", "utf-16", "UTF-16"),
        ("windows-1252", "windows-1252", "Windows-1252"),
        ("utf-8-sig", "windows-1252", "UTF-8"),
    ],
)
def test_the_encoding_is_seen_by_its_mark_or_chosen(opened, encoding, chosen, shape):
    content = 'name,key\n"Café Zürich, €",k-1\n'.encode(encoding)

    with opened(content, encoding=chosen) as read:
        assert read.file_format == f"CSV, comma, {shape}"
        assert read.header == ["name", "key"]
        assert list(read.rows) == [(2, ["Café Zürich, €", "k-1"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_as_on_any_system(rows_of, end):
    assert rows_of(end.join(["a,b", "x,y", "z,w"])) == {2: ["x", "y"], 3: ["z", "w"]}


# The cases of the corpus csv-spectrum, each written anew.
SPECTRUM = [
    ('first,last,town\nJo,Doe,"Rome, NY"\n', [["Jo", "Doe", "Rome, NY"]]),
    ('a,b,c\n1,"",""\n2,3,4\n', [["1", "", ""], ["2", "3", "4"]]),
    ('a,b,c\r\n1,"",""\r\n2,3,4\r\n', [["1", "", ""], ["2", "3", "4"]]),
    ('a,b\n1,"he said ""no"" twice"\n', [["1", 'he said "no" twice']]),
    ('key,val\n1,"{""at"": [102.0, 0.5]}"\n', [["1", '{"at": [102.0, 0.5]}']]),
    ('a,b,c\n"Long \nago",5,6\n7,8,9\n', [["Long \nago", "5", "6"], ["7", "8", "9"]]),
    ('a,b\r\n"Long\r\nago",5\r\n', [["Long\r\nago", "5"]]),
    ('a,b\n1,"""no"" \n""no"""\n3,4\n', [["1", '"no" \n"no"'], ["3", "4"]]),
    ("a,b,c\n1,2,3\n4,5,ʤ\n", [["1", "2", "3"], ["4", "5", "ʤ"]]),
    ("name,lat\nHut,48.1\nPeak,47.4", [["Hut", "48.1"], ["Peak", "47.4"]]),
]


@pytest.mark.parametrize(("content", "rows"), SPECTRUM)
def test_the_spectrum_of_csv(rows_of, content, rows):
    assert [*rows_of(content).values()] == rows


def test_a_row_is_counted_by_the_line_it_begins_in(rows_of):
    assert [*rows_of('a,b\n"1\n2\n3",x\n\n4,y\n')] == [2, 6]


def test_blank_rows_are_left_out(rows_of):
    assert rows_of("\n\na,b\n\n,\n1,2\n,,,\n") == {6: ["1", "2"]}


def test_blank_columns_at_the_end_are_none(opened):
    with opened("a,b,,\n1,2,,\n3,4\n") as read:
        assert read.header == ["a", "b"]
        assert dict(read.rows) == {2: ["1", "2"], 3: ["3", "4"]}


def test_the_column_of_errors_is_left_out(opened):
    with opened("a,Error,b\n1,Not known.,2\n,Alone.,\n") as read:
        assert read.header == ["a", "b"]
        assert dict(read.rows) == {2: ["1", "2"]}


def test_formulas_are_text_and_their_guard_is_taken_away(rows_of):
    content = "a,b,c\n=1+1,'=1+1,''=1\n-5,it's,'quoted'\n"

    assert rows_of(content) == {2: ["=1+1", "=1+1", "'=1"], 3: ["-5", "it's", "'quoted'"]}


def test_it_knows_how_far_it_is(opened):
    line = "x" * 98 + ",\n"
    with opened("a,b\n" + line * 10_000) as read:
        assert read.done < 0.2
        for number, _ in read.rows:
            if number == 5_000:
                assert 0.45 < read.done < 0.55
        assert read.done == 1.0


cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.just("\n"))


@given(
    st.lists(st.lists(cells, min_size=3, max_size=3), max_size=8),
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_whatever_a_writer_writes_is_read(tmp_path_factory, rows, delimiter, encoding):
    written = StringIO(newline="")
    csv.writer(written, delimiter=delimiter).writerows([["one", "two", "three"], *rows])
    path = tmp_path_factory.mktemp("written") / "list.csv"
    path.write_bytes(written.getvalue().encode(encoding))

    with open_list(path, name="list.csv") as read:
        found = [row for _, row in read.rows]

    assert found == [[remove_guard(each) for each in row] for row in rows if any(row)]


# --- A clear word ---------------------------------------------------------------------------------


def refused(opened, content, **chosen):
    with pytest.raises(UnreadableFile) as raised, opened(content, **chosen) as read:
        for _ in read.rows:
            pass
    return str(raised.value)


@pytest.mark.parametrize("content", ["", "\n", " \n\n", ",,\n", "\ufeff"])
def test_an_empty_file(opened, content):
    assert refused(opened, content) == "The file is empty."


def test_a_wrong_encoding_is_named_with_row_and_byte(opened):
    content = b"name,key\nA,k-1\nCaf\xe9,k-2\n"

    assert refused(opened, content) == (
        "Row 3, byte 19: This is not UTF-8. A file from Excel is often in Windows-1252: "
        "choose it, or save as UTF-8."
    )


def test_a_wrong_byte_is_found_wherever_it_is(opened):
    content = b"a,b\n" + b"xxxxx,y\n" * 300_000 + b"caf\xe9,y\n"

    assert refused(opened, content).startswith("Row 300,002, byte 2,400,008: This is not UTF-8.")


def test_a_character_over_the_end_of_a_block_is_no_error(rows_of):
    content = "a,b\n" + "x" * ((1 << 20) - 5) + "é,y\n"

    assert rows_of(content) == {
        2: RowError("", "A cell has over 131,072 characters; at most 4,096 are allowed.")
    }


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_told_by_its_zeros(rows_of, encoding):
    assert rows_of("name,key\nÄ,k-1\n".encode(encoding)) == {2: ["Ä", "k-1"]}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"encoding": "latin-7"}, "The encoding may be UTF-8, Windows-1252, UTF-16."),
        (
            {"delimiter": ":"},
            "Cells may be separated by comma, semicolon, tab, vertical bar, caret, tilde.",
        ),
    ],
)
def test_what_cannot_be_chosen(opened, chosen, said):
    assert refused(opened, "a,b\n1,2\n", **chosen) == said


def test_half_a_character_at_the_end(opened):
    assert refused(opened, "a,b\nx,é".encode()[:-1]).startswith("Row 2, byte 7: This is not UTF-8.")


def test_what_windows_1252_does_not_have(opened):
    assert refused(opened, b"a,b\nx,\x81\n", encoding="windows-1252") == (
        "Row 2, byte 7: This is not Windows-1252."
    )


NO_HEADER = "Row 1: This looks like data. The first row has to name the columns."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', "Row 3: A quote opens here and never closes."),
        ('a,b\n"1,2\n' + "x,y\n" * 100_000, "Row 2: A quote opens here and never closes."),
        ("a,b\n1,2\n" + "x" * 3_000_000, "Row 3: This line is too long."),
        (",,c\n1,2,3\n", "Row 1: Most of the columns have no name."),
        ("acme,ada@example.com\n", NO_HEADER),
        ("acme,2026-01-01\n", NO_HEADER),
        ("acme,ak_live_5f2b8c1e9d00aa77bb66\n", NO_HEADER),
        (
            ",".join(f"c{n}" for n in range(51)),
            "Row 1: There are 51 columns; at most 50 are allowed.",
        ),
        ("a,b\x07\n1,2\n", "Row 1: The name of column 2 is no text."),
        ("a," + "@" * 100_000, "Row 1: The name of column 2 is too long."),
        ("a," + "b" * 201, "Row 1: The name of column 2 is too long."),
    ],
    ids=lambda each: each[:40],
)
def test_what_is_wrong_with_the_whole(opened, content, said):
    assert refused(opened, content) == said


def test_a_file_that_is_too_large_is_not_even_opened(tmp_path):
    path = tmp_path / "large.csv"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    with pytest.raises(
        UnreadableFile, match=r"1,000,000,001 bytes; at most 1,000,000,000 are allowed"
    ):
        open_list(path, name="large.csv").__enter__()


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("1,2", RowError("", "It has 2 cells, the header 3.")),
        ("1,2,3,4", RowError("", "It has 4 cells, the header 3.")),
        ("1,2\x00,3", RowError("b", "It contains U+0000, which cannot be stored.")),
        ("1,2,\x1b[31m", RowError("c", "It contains U+001B, which cannot be stored.")),
        (
            "1," + "2" * 4097 + ",3",
            RowError("b", "It has 4,097 characters; at most 4,096 are allowed."),
        ),
        ('1,"2"2,3', RowError("", "A quote stands in the middle of a cell.")),
    ],
)
def test_a_row_that_is_wrong_leaves_the_others_alone(rows_of, row, error):
    assert rows_of(f"a,b,c\nx,y,z\n{row}\nx,y,z\n") == {
        2: ["x", "y", "z"],
        3: error,
        4: ["x", "y", "z"],
    }


def test_what_looks_odd_and_is_no_fault(rows_of):
    content = 'a,b\n5" pipe,\u00a0\u2003é\nsoft\u00adhyphen,"tab\there"\n'

    assert rows_of(content) == {
        2: ['5" pipe', "\u00a0\u2003é"],
        3: ["soft\u00adhyphen", "tab\there"],
    }


def test_a_long_list_needs_no_more_memory_than_a_short_one(opened):
    row = "acme,Orders service,ak_live_0123456789abcdef,s3cr3t,acme-maps,ada@example.com\n"
    with opened("customer,name,key,secret,subscription,holders\n" + row * 60_000) as read:
        next(read.rows)
        tracemalloc.start()
        for _ in read.rows:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 1_000_000


# --- Headers below titles, and other ways to write cells ------------------------------------------

TITLES = "Keys of all customers;;\nGenerated;2026-11-29;\n\nname;key;plan\nOrders;k-1;Gold\n"


@pytest.mark.parametrize(
    ("content", "header", "rows"),
    [
        (TITLES, ["name", "key", "plan"], {5: ["Orders", "k-1", "Gold"]}),
        ("Keys, of all\nname,key\nOrders,k-1\n", ["Keys", "of all"], None),
        ("All keys\nname,key\nOrders,k-1\n", ["name", "key"], {3: ["Orders", "k-1"]}),
        ("name|key\nOrders|k-1\n", ["name", "key"], {2: ["Orders", "k-1"]}),
        ('name, key\n"Orders",  "k-1"\n', ["name", "key"], {2: ["Orders", "k-1"]}),
        ("'name','key'\n'Orders, new','k-1'\n", ["name", "key"], {2: ["Orders, new", "k-1"]}),
        ("sep=|\nname|key\nOrders|k-1\n", ["name", "key"], {3: ["Orders", "k-1"]}),
        ('"sep=;"\nname;key\nOrders;k-1\n', ["name", "key"], {3: ["Orders", "k-1"]}),
        ("key\nk-1\nk-2\n", ["key"], {2: ["k-1"], 3: ["k-2"]}),
    ],
    ids=lambda each: str(each)[:20],
)
def test_the_header_is_found(opened, content, header, rows):
    with opened(content) as read:
        assert read.header == header
        if rows is not None:
            assert dict(read.rows) == rows


def test_rows_above_the_header_are_counted_and_it_can_be_chosen(opened):
    with opened(TITLES) as read:
        assert read.left_out == {"rows above the header": 2}
    with opened("Keys, of all\nname,key\nOrders,k-1\n", header_row=2) as read:
        assert (read.header, dict(read.rows)) == (["name", "key"], {3: ["Orders", "k-1"]})
    with pytest.raises(UnreadableFile, match="no row of columns"), opened("a\nb\n", header_row=9):
        pass


def test_data_in_place_of_a_header_is_no_title(opened):
    content = "acme,Orders,ak_live_5f2b8c1e9d33\nacme,Bills,second-key-of-it\n"

    with pytest.raises(UnreadableFile, match="looks like data"), opened(content):
        pass


def test_columns_without_a_name_and_with_equal_names_get_one(opened):
    with opened("error,a,,A,a\nwrong,1,2,3,4\n") as read:
        assert read.header == ["a", "Column 2", "A (2)", "a (3)"]
        assert dict(read.rows) == {2: ["1", "2", "3", "4"]}


@pytest.mark.parametrize("separator", ["^", "~"])
def test_odd_separators(rows_of, separator):
    content = "customer,name\nacme,One\nacme,Two\n".replace(",", separator)

    assert rows_of(content) == {2: ["acme", "One"], 3: ["acme", "Two"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html><table><tr><td>a</td></tr></table></html>", "This is HTML or XML."),
        ('[[keys]]\ncustomer = "acme"\n', "This is a file of settings."),
        ("-- keys\nINSERT INTO keys (a, b) VALUES (1, 2);\n", "This is SQL."),
    ],
)
def test_what_is_no_table_is_said_to_be_what_it_is(opened, content, said):
    assert refused(opened, content).startswith(said)
