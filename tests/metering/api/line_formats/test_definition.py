import msgspec
import pytest

from metering.api.line_formats.definition import (
    POINTER_FIELDS,
    FormatDefinition,
    InvalidDefinition,
    Pointer,
    parse_definition,
    typed,
)

GOOD = {"occurred_at": ["ts"]}


def parse(**fields):
    return parse_definition(msgspec.json.encode(GOOD | fields))


def test_pointers_are_places_or_objects():
    parsed = parse(key=["request/headers/X~1Key~0/0", {"at": "auth", "capture": "^Bearer (.+)"}])

    first, second = typed(parsed.key)
    assert first.steps == ("request", "headers", "X/Key~", "0")
    assert second == Pointer("auth", capture="^Bearer (.+)")


def test_a_definition_survives_json():
    parsed = parse(elements={"bytes": ["size"]}, count_when={"statuses": ["2xx", "400-404"]})

    assert parse_definition(msgspec.json.encode(parsed)) == parsed


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"occurred_at": []}, "occurred_at"),
        ({"occurred_at": 5}, "occurred_at"),
        ({"keys": ["a"]}, ""),
        ({"lines": "xml"}, "lines"),
        ({"lines": "regex"}, "pattern"),
        ({"lines": "regex", "pattern": "("}, "pattern"),
        ({"lines": "regex", "pattern": r"(?P<ts>\d+)", "key": ["k"]}, "key"),
        ({"lines": "regex", "pattern": r"(?P<ts>(a+)+b)"}, "pattern"),
        ({"lines": "regex", "pattern": r"(?P<ts>(?:\w+\s?)+)$"}, "pattern"),
        ({"lines": "regex", "pattern": r"(?P<ts>(?:x\w*,?)*)$"}, "pattern"),
        ({"lines": "regex", "pattern": r"(?P<ts>(?:(?:\w+)-?){2,})$"}, "pattern"),
        ({"lines": "regex", "pattern": r"(?P<ts>(?:[)]\w{1,}?\)?)+?)$"}, "pattern"),
        ({"key": [{"at": "a", "capture": r"((?:\w+,?)+)"}]}, "key"),
        ({"lines": "regex", "pattern": "(?P<ts>" + "a" * 2_000 + ")"}, "pattern"),
        ({"lines": "separated"}, "columns"),
        ({"lines": "separated", "columns": ["ts"], "separator": ";;"}, "separator"),
        ({"lines": "separated", "columns": ["a"]}, "occurred_at"),
        ({"key": ["/"]}, "key"),
        ({"key": [{"at": "a", "capture": "no group"}]}, "key"),
        ({"key": [{"at": "a", "capture": "("}]}, "key"),
        ({"key": [{"at": "a", "unit": "ms"}]}, "key"),
        ({"latency_ms": [{"at": "a", "unit": "minutes"}]}, "latency_ms"),
        ({"occurred_at": [{"at": "a", "unit": "minutes"}]}, "occurred_at"),
        ({"occurred_at": [{"at": "a", "unit": "%Q"}]}, "occurred_at"),
        ({"elements": {"": ["a"]}}, "elements"),
        ({"elements": {f"e{n}": ["a"] for n in range(50)}}, "elements"),
        ({"metadata": {"a": ["/"]}}, "metadata.a"),
        ({"owners": {"customer": ["/"]}}, "owners.customer"),
        ({"count_when": {"statuses": ["ok"]}}, "count_when.statuses"),
        ({"count_when": {"statuses": ["300-200"]}}, "count_when.statuses"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"time_zone": "../etc/passwd"}, "time_zone"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_field(fields, where):
    with pytest.raises(InvalidDefinition) as rejected:
        parse(**fields)

    assert rejected.value.field == where


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?P<ts>\d+(?: \S+)?) (?P<rest>.*)",
        r'(?P<ts>(?:[^"\\]|\\.)*)',
        r"(?P<ts>(?:\w++\s?)+)$",
        r"(?P<ts>(?>\w+\s?)+)$",
        r"(?P<ts>(?:\d{1,3}\.){3}\d+)",
        r"(?P<ts>(?:[(+*]\()+)\w+",
        "(?x)(?P<ts>a+) # :)",
    ],
)
def test_repetitions_that_end_are_taken(pattern):
    assert parse(lines="regex", pattern=pattern).pattern == pattern


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"a":' * 3_000, b" " * 20_001])
def test_what_is_no_definition_is_rejected(text):
    with pytest.raises(InvalidDefinition):
        parse_definition(text)


def test_each_field_of_pointers_is_checked():
    of_pointers = {
        name
        for name in FormatDefinition.__struct_fields__
        if name not in {"records", "columns"}
        and isinstance(getattr(FormatDefinition(), name), tuple)
    }

    found = {field for field, _ in parse(**{key: ["a"] for key in of_pointers}).pointers()}

    assert found == of_pointers == POINTER_FIELDS
