"""Bodies of lines: an array, one object, or a line each; and lines wrapped with their place."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, NamedTuple

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metering.api.decoding import (
    MAX_ITEMS_PER_BODY,
    NDJSON_MEDIA_TYPES,
    ItemRejected,
    array_elements,
    rejection_from_msgspec,
)
from metering.inbox.calls import digest_of_parts
from revcred.api.errors import BodyTooLarge, MalformedRequest

MAX_LINE_ID_CHARACTERS = 200
WRAPPED_START = re.compile(r'\s*\{\s*"(?:file|at|line)"\s*:')
ARRAY_START = re.compile(r"\s*\[")
OBJECT_START = re.compile(r"\s*\{")
# Only these say that a body is JSON. Other types are sent with anything, also with no type at all.
JSON_MEDIA_TYPE = "application/json"


class PlacedLine(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A line with its place in a file. File and place are its id, if it has none of its own."""

    line: Annotated[str, Meta(description="The line without its end.")]
    file: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="What tells the file from all others, however it is renamed: a digest "
                "of its first line with the host's name. Never a path.",
            ),
        ]
        | UnsetType
    ) = UNSET
    at: Annotated[int, Meta(ge=0, description="Where the line begins, in bytes.")] | UnsetType = (
        UNSET
    )


class PostedLine(NamedTuple):
    """One line of a body."""

    text: str
    line_id: str | None = None
    wrapped: str | None = None  # the line with its place, as it was sent

    @property
    def as_posted(self) -> str:
        return self.text if self.wrapped is None else self.wrapped


_decode_placed = msgspec.json.Decoder(PlacedLine).decode
_decode_text = msgspec.json.Decoder(str).decode


def split_lines(body: bytes, media_type: str) -> list[PostedLine | ItemRejected]:
    """Return each line of a body, or its rejection, in the order of the body.

    Raises:
        MalformedRequest: there are none, or it is no JSON although its type says so.
        BodyTooLarge: it has more than MAX_ITEMS_PER_BODY lines.
    """
    text = body.decode(errors="replace")
    lines = list(islice(_lines_in(text, body, media_type), MAX_ITEMS_PER_BODY + 1))
    if len(lines) > MAX_ITEMS_PER_BODY:
        message = f"At most {MAX_ITEMS_PER_BODY:,} lines at once. Send them in parts."
        raise BodyTooLarge(message, code="too_many")
    if not lines:
        message = "The body is empty."
        raise MalformedRequest(message, code="empty")
    return lines


def _lines_in(text: str, body: bytes, media_type: str) -> Iterator[PostedLine | ItemRejected]:
    if media_type not in NDJSON_MEDIA_TYPES:
        if ARRAY_START.match(text):
            elements = _elements_or_none(body, is_json=media_type == JSON_MEDIA_TYPE)
            if elements is not None:
                yield from map(_line_of_element, elements)
                return
        elif OBJECT_START.match(text) and _is_one_object(text):
            yield _line_of_text(text.strip())
            return
    for line in text.split("\n"):
        if line and not line.isspace():
            yield _line_of_text(line.rstrip("\r"))


def _elements_or_none(body: bytes, *, is_json: bool) -> list[bytes] | None:
    """Return the elements of an array, or None of lines that only begin like one.

    Raises:
        MalformedRequest: the type says that it is JSON, and it is none.
    """
    try:
        return list(islice(array_elements(body), MAX_ITEMS_PER_BODY + 1))
    except MalformedRequest:
        if is_json:
            raise
        return None


def _is_one_object(text: str) -> bool:
    """Return True for an object that may have line breaks within it."""
    try:
        msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _line_of_element(raw: bytes) -> PostedLine | ItemRejected:
    text = raw.decode(errors="replace")
    if text[:1] != '"':
        return _line_of_text(text)
    try:
        return PostedLine(_decode_text(raw).rstrip("\r\n"))
    except msgspec.MsgspecError:
        return ItemRejected(None, "malformed", "It is not JSON.")


def _line_of_text(text: str) -> PostedLine | ItemRejected:
    """Return a line, out of its wrapping if it has one."""
    if not WRAPPED_START.match(text):
        return PostedLine(text)
    try:
        placed = _decode_placed(text)
    except msgspec.ValidationError as error:
        rejection = rejection_from_msgspec(str(error))
        # Another object, which happens to have a member of that name.
        if rejection.code in {"unknown_field", "missing"}:
            return PostedLine(text)
        return rejection
    except (msgspec.DecodeError, UnicodeEncodeError):
        return PostedLine(text)
    return PostedLine(placed.line.rstrip("\r\n"), _line_id(placed), text)


def _line_id(placed: PlacedLine) -> str | None:
    if placed.file is UNSET or placed.at is UNSET:
        return None
    line_id = f"{placed.file}-{placed.at}"
    if len(line_id) <= MAX_LINE_ID_CHARACTERS and line_id.isprintable():
        return line_id
    return digest_of_parts(placed.file, placed.at)
