"""Lines of a log as records: JSON, a regular expression, or columns between separators."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from metering.api import facts
from metering.api.decoding import ItemRejected, refuse_doubled
from metering.api.line_formats.definition import FormatDefinition, Pointer
from metering.api.quantities import exact_decimal

MAX_LINE_CHARACTERS = 64_000
MAX_RECORDS_PER_LINE = 1_000
MAX_TEXTS_IN_TEXTS = 3  # a container's log holds a line, which may hold JSON
NUL_ESCAPE = "\\u0000"
# nginx and Apache write bytes so, which is no JSON. An even number of backslashes before it is
# itself escaped.
BYTE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\x([0-9a-fA-F]{2})")
NOT_JSON = "It is not JSON, as this format expects."
NOT_AN_OBJECT = "It is no object of JSON."
NOT_A_MATCH = "The format's expression does not match this line."

Record = Mapping[str, Any]
_decode = msgspec.json.Decoder(float_hook=exact_decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_scanner = json.JSONDecoder(strict=False, parse_float=exact_decimal)


class RecordPlace(NamedTuple):
    """The line that a record is from."""

    text: str  # the record as it was sent
    line_id: str | None = None  # what tells the line from all others, if its sender says it
    moment: datetime | None = None  # the record's, where it has none itself


class LineReader:
    """Reads lines of one kind."""

    def __init__(self, definition: FormatDefinition) -> None:
        """Prepare to read. The definition has been checked."""
        self._kind = definition.lines
        self._expression = re.compile(definition.pattern) if definition.pattern else None
        self._separator, self._columns = definition.separator, definition.columns
        self._places = [Pointer(place).steps for place in definition.records]

    def records_in(self, line: str, depth: int = MAX_TEXTS_IN_TEXTS) -> list[tuple[Record, str]]:
        """Return the records of a line, each with its text; none of a comment or a head.

        Raises:
            ItemRejected: the line cannot be read.
        """
        if len(line) > MAX_LINE_CHARACTERS:
            message = f"It has more than {MAX_LINE_CHARACTERS:,} characters."
            raise ItemRejected(None, "too_long", message)
        if line[:1] == "#":
            return []
        if self._kind == "json":
            return self._records_of_json(line, depth)
        if self._kind == "regex":
            return [(self._match(line), line)]
        cells = next(csv.reader([line], delimiter=self._separator), [])
        if tuple(cells) == self._columns:
            return []
        if len(cells) != len(self._columns):
            message = f"It has {len(cells):,} columns. The format has {len(self._columns):,}."
            raise ItemRejected(None, "malformed", message)
        return [(_without_nul(dict(zip(self._columns, cells, strict=True)), line), line)]

    def _match(self, line: str) -> Record:
        assert self._expression
        found = self._expression.match(line)
        if not found:
            raise ItemRejected(None, "malformed", NOT_A_MATCH)
        return _without_nul(found.groupdict(), line)  # type: ignore[no-any-return]

    def _records_of_json(self, line: str, depth: int) -> list[tuple[Record, str]]:
        try:
            values = list(islice(_json_values(line), MAX_RECORDS_PER_LINE + 1))
            if len(values) == 1 and not self._places and type(values[0]) is dict:
                return [(values[0], line)]
            records = self._records_of_value(values, line, depth)
        except RecursionError as error:
            raise ItemRejected(None, "too_deep", "It is nested too deeply.") from error
        if len(records) == 1:
            return records
        # Each has a text of its own: they would otherwise have one id.
        return [(record, f"{text}\0{n}") for n, (record, text) in enumerate(records)]

    def _records_of_value(self, value: Any, line: str, depth: int) -> list[tuple[Record, str]]:
        for steps in self._places:
            inner = _value_at(value, steps)
            if inner is not None:
                value = inner
                break
        if isinstance(value, str) and depth:
            return self.records_in(value.rstrip("\r\n"), depth - 1)
        if isinstance(value, list):
            records: list[tuple[Record, str]] = []
            for inner in value:
                records += self._records_of_value(inner, line, depth)
                # Looked at on the way: a line may have many more than can be read in time.
                if len(records) > MAX_RECORDS_PER_LINE:
                    message = f"A line has at most {MAX_RECORDS_PER_LINE:,} records."
                    raise ItemRejected(None, "too_many", message)
            return records
        if not isinstance(value, dict):
            raise ItemRejected(None, "invalid", NOT_AN_OBJECT)
        return [(value, line)]


def _value_at(value: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if not isinstance(value, dict):
            return None
        value = value.get(step)
    return value


def _json_values(line: str) -> Iterator[Any]:
    """Yield the value in a line, or several one after the other. Raises ItemRejected."""
    if line[:1] not in {"{", "["}:
        # Syslog and container runtimes write a head before it.
        at = line.find("{")
        if at < 0:
            raise ItemRejected(None, "malformed", NOT_JSON)
        line = line[at:]
    try:
        value = _decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError):
        pass
    else:
        if not _has_each_member_once(line, value):
            refuse_doubled(line.encode(), value)
        yield _without_nul(value, line)
        return
    line = BYTE_ESCAPE.sub(r"\1\\u00\2", line)
    at = 0
    while at < len(line):
        try:
            value, at = _scanner.raw_decode(line, at)
            # Python reads NaN and infinities, which are no JSON.
            storable = _storable(value)
        except (ValueError, msgspec.DecodeError) as error:
            raise ItemRejected(None, "malformed", NOT_JSON) from error
        yield storable
        while line[at : at + 1].isspace():
            at += 1


def _has_each_member_once(line: str, value: Any) -> bool:
    """Return True if certainly no object in the line has two members of one name.

    Where no text holds a quote, a quote before a colon ends a member's name: as many are in the
    line as in what was decoded, encoded again.
    """
    if '\\"' in line or "\\u0022" in line:
        return False
    if '" :' in line or '"\t:' in line or '"\r:' in line or '"\n:' in line:
        return False
    try:
        return line.count('":') == _encode(value).count(b'":')
    except OverflowError:  # msgspec decodes larger integers than it encodes
        return False


def _without_nul(value: Any, line: str) -> Any:
    """Return the value with U+FFFD for each NUL, which PostgreSQL cannot store."""
    return facts.replace_nul(value) if NUL_ESCAPE in line or "\0" in line else value


def _storable(value: Any) -> Any:
    """Return a value of Python's decoder as msgspec would have it: no halves of characters."""
    text = json.dumps(value, default=str, ensure_ascii=False).encode(errors="replace")
    return facts.replace_nul(_decode(text))
