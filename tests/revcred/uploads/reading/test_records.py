"""JSON and JSON Lines: cells by their names."""

import tracemalloc
from json import dumps

import pytest

from revcred.uploads.reading import RowError, UnreadableFile

ORDERS = {"customer": "acme", "name": "Orders", "key": "k-1"}
NIGHTLY = {"name": "Nightly", "tags": ["a", "b"], "customer": "acme"}


def lines(*records):
    return "".join(f"{dumps(each)}\n" for each in records)


def refused(opened, content, **chosen):
    with pytest.raises(UnreadableFile) as raised, opened(content, **chosen) as read:
        for _ in read.rows:
            pass
    return str(raised.value)


# --- As it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "shape", "first"),
    [
        (lines(ORDERS, NIGHTLY), "JSON Lines", 1),
        ("\ufeff" + lines(ORDERS) + "\n" + lines(NIGHTLY), "JSON Lines", 1),
        (dumps([ORDERS, NIGHTLY]), "JSON", 1),
        ("\ufeff\n" + dumps([ORDERS, NIGHTLY], indent=4), "JSON", 1),
        (dumps({"count": 2, "credentials": [ORDERS, NIGHTLY]}), "JSON", 1),
        (dumps({"credentials": [ORDERS, NIGHTLY]}, indent=1), "JSON", 1),
    ],
)
def test_cells_are_found_by_their_names(opened, content, shape, first):
    with opened(content, name="list.txt") as read:
        assert read.file_format == shape
        assert read.header == ["customer", "name", "key", "tags"]
        assert [row for _, row in read.rows] == [
            ["acme", "Orders", "k-1", ""],
            ["acme", "Nightly", "", "a|b"],
        ]
        assert read.done == 1.0


@pytest.mark.parametrize(
    "content",
    [
        dumps([ORDERS]) + "\n" + dumps([NIGHTLY]),
        dumps(ORDERS, indent=1) + "\n" + dumps(NIGHTLY, indent=1),
        ("\ufeff" + lines(ORDERS, NIGHTLY)).encode("utf-16-le"),
    ],
)
def test_several_documents_in_one_file_are_one_list(rows_of, content):
    assert [*rows_of(content).values()] == [
        ["acme", "Orders", "k-1", ""],
        ["acme", "Nightly", "", "a|b"],
    ]


def test_lists_of_values_below_a_list_of_names(opened):
    content = dumps([["customer", "key"], ["acme", 12], ["acme"], {"a": 1}])

    with opened(content) as read:
        assert read.header == ["customer", "key"]
        assert dict(read.rows) == {
            2: ["acme", "12"],
            3: RowError("", "It has 1 cells, the header 2."),
            4: RowError("", "This is not a list, as the first one is."),
        }


def test_an_object_of_objects_that_are_alike_is_a_list_of_them(opened):
    entries = {name: {"name": name.upper(), "key": f"k-{name}"} for name in ("a", "b", "c")}

    with opened(dumps({"keys": entries})) as read:
        assert read.header == ["entry", "name", "key"]
        assert dict(read.rows)[3] == ["c", "C", "k-c"]
    # Two that are different things are the parts of one record.
    with opened(dumps({"app": {"name": "Orders"}, "customer": {"id": "acme"}})) as read:
        assert dict(read.rows) == {1: ["Orders", "acme"]}


def test_one_object_is_a_list_of_one(opened):
    with opened(dumps(ORDERS)) as read:
        assert dict(read.rows) == {1: ["acme", "Orders", "k-1"]}


def test_a_field_may_appear_as_late_as_it_likes(opened):
    with opened(lines(*[{"name": "a"}] * 5_000, {"name": "a", "key": "b"})) as read:
        assert read.header == ["name", "key"]
        assert [row for _, row in read.rows][-2:] == [["a", ""], ["a", "b"]]


@pytest.mark.parametrize("content", ["[{}]", '{"a": {}}\n{}\n'.replace("{}", "%s")])
@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ('"0012"', "0012"),
        ("12", "12"),
        ("1.10", "1.10"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("-0.5e3", "-0.5e3"),
        ("true", "true"),
        ("null", ""),
        ('["a", 1, null]', "a|1|"),
        ('"\\u00e9"', "é"),
        ('"=1+1"', "=1+1"),
        ('"\'=1+1"', "'=1+1"),
    ],
)
def test_values_are_kept_as_they_were_written(rows_of, content, value, cell):
    one = f'{{"x": "y", "a": {value}}}'
    content = f"[{one}]" if content == "[{}]" else f"{one}\n{one}\n"

    assert rows_of(content)[1] == ["y", cell]


def test_metadata_stays_as_it_was_written(rows_of):
    assert rows_of('[{"x": "y", "metadata": {"b":[1, 1.50]}}]') == {1: ["y", '{"b":[1, 1.50]}']}


def test_objects_become_columns_and_a_list_of_objects_becomes_rows(opened):
    content = dumps(
        [
            {
                "application": {"name": "Orders", "owner": {"org": "acme"}},
                "keys": [{"key": "k-1", "tags": ["a", "b"]}, {"key": "k-2"}, 3],
            },
            {"application": {"name": "Bills"}, "keys": []},
        ]
    )

    with opened(content) as read:
        assert dict(read.rows) == {
            1: ["Orders", "acme", "k-1", "a|b"],
            2: ["Orders", "acme", "k-2", ""],
            3: RowError("", "One of several in “keys” is no object."),
            4: ["Bills", "", "", ""],
        }
        assert read.header[:4] == [
            *("application.name", "application.owner.org", "keys.key", "keys.tags"),
        ]


def test_an_item_may_end_anywhere_in_what_is_read_at_once(rows_of):
    names = [f"{'x' * (number % 97)}{number}" for number in range(3_000)]

    rows = rows_of(dumps([{"a": each, "b": {"c": [each]}} for each in names]))

    assert [row[0] for row in rows.values()] == names
    assert [*rows] == [*range(1, 3_001)]


def test_the_column_of_errors_is_left_out(rows_of):
    assert rows_of(lines({"a": "1", "error": "Not known."}, {"a": "", "error": "Alone."})) == {
        1: ["1"]
    }


@pytest.mark.parametrize("written", [lines, lambda *records: dumps(records)])
def test_a_long_list_needs_no_more_memory_than_a_short_one(opened, written):
    with opened(written(*[ORDERS] * 60_000)) as read:
        next(read.rows)
        tracemalloc.start()
        for _ in read.rows:
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert peak < 1_500_000


# --- A clear word ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"a": "1"', RowError("", "This is not JSON.")),
        ('{"a": "1"} x', RowError("", "This is not JSON.")),
        ('["a"]', RowError("", "This is not an object.")),
        ("null", RowError("", "This is not an object.")),
        ('{"a": ' + "[" * 50_000, RowError("", "This is not JSON.")),
        ('{"a": NaN}', RowError("", "This is not JSON.")),
        ('{"a": "x\\u0000"}', RowError("a", "It contains U+0000, which cannot be stored.")),
        ('{"a": "x\\ud800"}', RowError("", "This is not JSON.")),
        ('{"a": ["x|y"]}', RowError("a", "One of several values may not contain |.")),
        (
            dumps({"a": "x" * 5_000}),
            RowError("a", "It has 5,000 characters; at most 4,096 are allowed."),
        ),
    ],
)
def test_a_line_that_is_wrong_leaves_the_others_alone(rows_of, content, error):
    assert rows_of(f'{{"a": "x"}}\n{content}\n{{"a": "y"}}\n') == {1: ["x"], 2: error, 3: ["y"]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "The file is empty."),
        ("{}", "The file is empty."),
        ("[", "The list is not closed at the end of the file."),
        ('[{"a": 1}', "The list is not closed at the end of the file."),
        ('[{"a": 1}, ', "The list is not closed at the end of the file."),
        ('[{"a": 1} {"a": 2}]', "Row 1: A comma is missing behind it."),
        ('[{"a": 1}, {"a" 2}]', "Row 2: This is not JSON: Expecting ':' delimiter."),
        ('[{"a": 1}, {"a": "2', "Row 2: This is not JSON: Unterminated string starting at."),
        ('[{"a": 1}, 2]', "Row 2: This is not an object."),
        ('[{"a": 1}] x', "Row 1: Something stands behind it that is no JSON."),
        ('{"a": [{"b": 1}], "c": [{"d": 1}], "total": 2}', "It has several lists: a, c. Upload"),
        ('{"a": 1', "Row 1: This is not JSON: Expecting ',' delimiter."),
        ('[{"a": ' + "[" * 200_000, "Row 1: This is nested too deeply."),
        ('{"a": ' + "[" * 200_000, "This is nested too deeply."),
        (dumps([{f"a{n}": 1 for n in range(51)}]), "Row 1: There are more than 50 fields"),
        (dumps([{"": 1}]), "There is a field without a name."),
        (lines({"a": 1}) * 2 + "x" * 3_000_000, "Row 3: This line is too long."),
        (lines({"a": 1}).encode() * 2 + b'{"a": "\xe9"}', "Row 3, byte 26: This is not UTF-8."),
        (b'[{"a": "\xe9"}]', "Row 1, byte 9: This is not UTF-8."),
        ('[{"a": "' + "x" * 3_000_000 + '"}]', "Row 1: This is not JSON: Unterminated string"),
        (
            '{"a": "' + "x" * 9_000_000 + '"}',
            "A single object may have at most 8,000,000 bytes. Write a",
        ),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_is_wrong_with_the_whole(opened, content, said):
    assert refused(opened, content).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "This is an old or a protected Excel file."),
        (b"\x1f\x8b\x08\x00", "This is compressed. Unpack it first."),
        (b"%PDF-1.7\n", "This is a PDF. Only tables of text are read."),
    ],
)
def test_what_is_no_list_at_all(opened, content, said):
    assert refused(opened, content, name="list.csv").startswith(said)
