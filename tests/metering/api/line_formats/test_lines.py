import pytest

from metering.api.decoding import ItemRejected
from metering.api.line_formats.definition import FormatDefinition
from metering.api.line_formats.lines import LineReader


def records(line, **fields):
    reader = LineReader(FormatDefinition(**{"occurred_at": ("ts",)} | fields))
    return [record for record, _ in reader.records_in(line)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"a": 1}', [{"a": 1}]),
        ('Nov 16 12:00:00 edge haproxy[7]: {"a": "\\/x"}', [{"a": "/x"}]),
        ('{"a":1}{"a":2}', [{"a": 1}, {"a": 2}]),
        ('{"a":1} {"a":2} ', [{"a": 1}, {"a": 2}]),
        ('[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        ('{"a": "caf\\xc3"}', [{"a": "caf\u00c3"}]),
        ('{"a": "q\\x22: 1"}', [{"a": 'q": 1'}]),
        ('{"a": "\\\\x22"}', [{"a": "\\x22"}]),
        ('{"a": "x\\u0000y"}', [{"a": "x\ufffdy"}]),
        ('{"a": "half \\ud800"}', [{"a": "half ?"}]),
        ('{"a": "say \\"b\\": 1"}', [{"a": 'say "b": 1'}]),
        ("# a comment", []),
    ],
)
def test_lines_of_json(line, expected):
    assert records(line) == expected


def test_a_record_lies_where_the_format_says():
    assert records('{"event": {"a": 1}}', records=("event",)) == [{"a": 1}]
    assert records('{"records": [{"a": 1}, {"a": 2}]}', records=("records",)) == [
        {"a": 1},
        {"a": 2},
    ]
    assert records('{"a": 1}', records=("event", "records/inner")) == [{"a": 1}]


def test_lists_in_lists_are_read_as_far_as_json_is():
    assert records("[" * 600 + '{"a": 1}' + "]" * 600) == [{"a": 1}]


def test_a_text_at_that_place_is_a_line_of_its_own():
    line = '{"log": "{\\"a\\": 1}\\n", "stream": "stdout"}'

    assert records(line, records=("log",)) == [{"a": 1}]


def test_several_records_of_a_line_have_texts_of_their_own():
    reader = LineReader(FormatDefinition(occurred_at=("ts",)))

    texts = [text for _, text in reader.records_in('[{"a":1},{"a":1}]')]

    assert len(set(texts)) == 2


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("no json at all", "malformed"),
        ('{"a": ', "malformed"),
        ("[1, 2]", "invalid"),
        ('{"a": 1, "a": 2}', "duplicate_field"),
        ('{"a" : 1, "b": {"c": 1, "c": 1}}', "duplicate_field"),
        ('{"a":' * 5_000 + "1" + "}" * 5_000, "too_deep"),
        ('{"a": "' + "x" * 64_000 + '"}', "too_long"),
        ("[" + ",".join(["{}"] * 1_001) + "]", "too_many"),
        ("{}" * 1_001, "too_many"),
        ("{}" * 1_001 + "no json", "too_many"),
        ("[" * 985 + "{}" + "]" * 985, "too_deep"),
        ('{"a":' * 985 + "1" + "}" * 985 + "{}", "too_deep"),
    ],
)
def test_what_cannot_be_read_is_rejected(line, code):
    with pytest.raises(ItemRejected) as rejected:
        records(line)

    assert rejected.value.code == code


def test_lines_of_an_expression():
    fields = {"lines": "regex", "pattern": r"(?P<ts>\S+) (?P<status>\d+)(?: (?P<more>.+))?"}

    assert records("noon 200", **fields) == [{"ts": "noon", "status": "200", "more": None}]
    with pytest.raises(ItemRejected, match="does not match"):
        records("noon", **fields)


def test_lines_of_columns():
    fields = {"lines": "separated", "separator": ";", "columns": ("ts", "key")}

    assert records('noon;"a;b"', **fields) == [{"ts": "noon", "key": "a;b"}]
    assert records("ts;key", **fields) == []
    with pytest.raises(ItemRejected, match="1 columns"):
        records("noon", **fields)
