import json

import pytest

from metering.api.decoding import ItemRejected
from metering.api.line_formats.posted_lines import PostedLine, split_lines
from revcred.api.errors import BodyTooLarge, MalformedRequest

NDJSON = "application/x-ndjson"
JSON = "application/json"


def lines(body, media_type=""):
    return split_lines(body.encode() if isinstance(body, str) else body, media_type)


def read(body, media_type):
    return [PostedLine(line.text, line.line_id) for line in lines(body, media_type)]


@pytest.mark.parametrize("media_type", [JSON, "text/plain", ""])
def test_an_array_of_objects_or_texts(media_type):
    found = read('[{"a": 1}, "a line\\n", {"line": "b", "file": "f", "at": 7}]', media_type)

    assert found == [PostedLine('{"a": 1}'), PostedLine("a line"), PostedLine("b", "f-7")]


def test_one_object_with_line_breaks():
    assert lines('{\n "a": 1\n}\n', JSON) == [PostedLine('{\n "a": 1\n}')]


@pytest.mark.parametrize("media_type", [NDJSON, "text/plain", JSON, ""])
def test_an_object_a_line(media_type):
    assert lines('{"a":1}\r\n\n{"a":2}\n', media_type) == [
        PostedLine('{"a":1}'),
        PostedLine('{"a":2}'),
    ]


def test_lines_of_text():
    assert lines("[GIN] 200\n10.0.0.1 - -\n", "text/plain") == [
        PostedLine("[GIN] 200"),
        PostedLine("10.0.0.1 - -"),
    ]


def test_a_line_with_its_place_has_an_id():
    body = "\n".join(
        json.dumps({"file": f"edge-{n}", "at": n, "line": f"text {n}\n"}) for n in range(2)
    )

    assert read(body, NDJSON) == [
        PostedLine("text 0", "edge-0-0"),
        PostedLine("text 1", "edge-1-1"),
    ]
    assert [line.as_posted for line in lines(body, NDJSON)] == body.split("\n")


def test_a_file_with_a_long_name_is_known_by_a_digest():
    (first, second) = lines(
        "\n".join(json.dumps({"file": "f" * 300, "at": n, "line": "x"}) for n in range(2)), NDJSON
    )

    assert len(first.line_id) == 32
    assert first.line_id != second.line_id


def test_a_line_without_its_place_has_none():
    assert read('{"line": "x"}', NDJSON) == [PostedLine("x")]


def test_another_object_with_such_a_member_is_a_line_itself():
    for text in ('{"file": "a", "line": "x", "level": "info"}', '{"at": 7}', '{"file": '):
        assert lines(text, NDJSON) == [PostedLine(text)]


def test_a_wrapping_that_is_wrong_is_rejected():
    (rejected,) = lines('{"file": "f", "at": -1, "line": "x"}', NDJSON)

    assert isinstance(rejected, ItemRejected)
    assert (rejected.field, rejected.code) == ("at", "invalid")


def test_text_that_is_no_utf8_is_read_as_far_as_it_goes():
    assert lines(b"caf\xe9 1\n", "text/plain") == [PostedLine("caf\ufffd 1")]


@pytest.mark.parametrize("body", ["", " \n\n", "[]"])
def test_nothing_is_an_error(body):
    with pytest.raises(MalformedRequest):
        lines(body)


def test_json_that_is_none_is_an_error_if_its_type_says_so():
    with pytest.raises(MalformedRequest):
        lines('[{"a": 1}, ', JSON)


@pytest.mark.parametrize("body", ["x\n" * 1_001, "[" + ",".join(["{}"] * 1_001) + "]"])
def test_too_many_lines_are_sent_in_parts(body):
    with pytest.raises(BodyTooLarge):
        lines(body)
