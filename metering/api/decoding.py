"""JSON into the typed items a door asks for: one pass if all is well, item by item if not.

An item that cannot be taken is refused by its index, field and reason, and spoils no other.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from io import BytesIO
from itertools import islice
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import UNSET

from revcred.api.errors import BodyTooLarge, MalformedRequest

MAX_ITEMS_PER_BODY = 1_000
NDJSON_MEDIA_TYPES = {
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
}

Item = TypeVar("Item", bound=msgspec.Struct)

MEMBER_NAME_END = b'":'
AMBIGUOUS_BYTES = (b"\\", b" :", b"\t:", b"\r:", b"\n:")  # escapes, or space after a name
JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
ERROR_PLACE = re.compile(r" - at (?:`key` in )?`\$(?:\[\d+\])?\.?(?P<field>[^`]*)`$")
UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<field>.*)`")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Escapes of NUL and of halves of surrogate pairs, after an even number of backslashes.
UNFIT_ESCAPE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:0000"
    rb"|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)
NOT_A_NUMBER = object()
NESTING_TYPES = frozenset({dict, list})
JSON_SPACE = re.compile(r"[ \t\r\n]*")
MISSING_FIELD = re.compile(r"^Object missing required field `(?P<field>.*)`")


_encode_items = msgspec.json.encode


def _ignore_number(_: str) -> None:
    """Numbers are only passed over: some are too long for Python to be patient with."""


def transaction_id_in(item: Any) -> str | None:
    """The id of an object, as the native door calls it."""
    said: str | None = item.get("transaction_id")
    return said


class ItemRejected(Exception):
    """One item that cannot be taken: which field, a code for programs, a reason for people."""

    transaction_id: str | None = None
    key: str | None = None

    def __init__(self, field: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


class ItemDecoder(Generic[Item]):
    """Decodes one object, an array of them or one a line into items, or what refuses them."""

    def __init__(
        self,
        item: type[Item],
        *,
        facts: Collection[str] = (),
        leniently: Callable[[bytes], Item] | None = None,
        id_of: Callable[[Any], str | None] = transaction_id_in,
    ) -> None:
        """`facts` are fields that decide nothing: with a wrong value in one of them an item is
        read `leniently`, and not refused. `id_of` finds the id of what is refused.
        """
        self._one = msgspec.json.Decoder(item)
        self._facts = frozenset(facts)
        self._leniently = leniently
        self._id_of = id_of
        self._many = msgspec.json.Decoder(list[item])  # type: ignore[valid-type]

    def decode(self, body: bytes, media_type: str) -> list[Item | ItemRejected]:
        """Raises MalformedRequest when there are no items to be told apart, BodyTooLarge when too
        many.
        """
        if not body.strip():
            message = "The body is empty."
            raise MalformedRequest(message, code="empty")
        if media_type in NDJSON_MEDIA_TYPES:
            items = self._all_well(body, self._one.decode_lines) or self._each(_ndjson_lines(body))
        else:
            items = self._all_well(body, self._array) or self._each(_array_elements(body))
        if not items:
            message = "There is no transaction in it."
            raise MalformedRequest(message, code="empty")
        return items

    def _array(self, body: bytes) -> list[Item]:
        if body.lstrip()[:1] == b"[":
            return self._many.decode(body)
        return [self._one.decode(body)]

    def _all_well(
        self, body: bytes, at_once: Callable[[bytes], list[Item]]
    ) -> list[Item | ItemRejected]:
        """All items, or none if anything in the body needs to be looked at closely."""
        try:
            items = at_once(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        _check_item_count(items)
        return list(items) if _is_decoded_whole(body, items) else []

    def _each(self, raws: Iterable[bytes]) -> list[Item | ItemRejected]:
        # Counted before any is looked at: what is refused costs the most.
        few = list(islice(raws, MAX_ITEMS_PER_BODY + 1))
        _check_item_count(few)
        return [self._alone_or_refused(raw) for raw in few]

    def _alone_or_refused(self, raw: bytes) -> Item | ItemRejected:
        try:
            return self._alone(raw)
        except ItemRejected as rejection:
            rejection.transaction_id, rejection.key = _readable_id_and_key(raw, self._id_of)
            return rejection

    def _alone(self, raw: bytes) -> Item:
        try:
            return self._strictly(raw)
        except ItemRejected as rejection:
            if rejection.field in self._facts and self._leniently:
                return self._without_facts(raw)
            raise

    def _without_facts(self, raw: bytes) -> Item:
        """The item if nothing is wrong with what decides. Raises ItemRejected."""
        assert self._leniently is not None
        objection = _problem_in_json(raw, passing_over=self._facts)
        if objection:
            raise objection
        try:
            return self._leniently(_replace_unfit_escapes(raw))
        except msgspec.ValidationError as error:
            raise rejection_from_msgspec(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ItemRejected(None, "malformed", "It is not JSON.") from error

    def _strictly(self, raw: bytes) -> Item:
        try:
            item = self._one.decode(raw)
        except msgspec.ValidationError as error:
            raise rejection_from_msgspec(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _problem_in_json(raw) or ItemRejected(
                None, "malformed", "It is not JSON."
            ) from error
        if not _is_decoded_whole(raw, [item]):
            objection = _problem_in_json(raw)
            if objection:
                raise objection
        return item


def _problem_in_json(raw: bytes, *, passing_over: Collection[str] = ()) -> ItemRejected | None:
    """Why this JSON, which may even be JSON, is not taken, and in which field that is."""
    try:
        return _problem_in_members(_members_decoder.decode(raw.decode()), passing_over)
    except UnicodeDecodeError as error:
        return ItemRejected(None, "bad_text", f"It is not UTF-8: byte {error.start}.")
    except RecursionError:
        return ItemRejected(None, "too_deep", "It is nested too deeply.")
    except ValueError as error:
        return ItemRejected(None, "malformed", f"It is malformed: {error}.")


def _problem_in_members(members: Any, passing_over: Collection[str] = ()) -> ItemRejected | None:
    """Raises RecursionError."""
    for name, value in members if isinstance(members, ObjectMembers) else ():
        objection = _text_problem(name) or _text_problem(value) or _nested_problem(value)
        if objection and (name not in passing_over or objection[0] != "bad_text"):
            return ItemRejected(name if name.isprintable() else None, *objection)
    doubled = _repeated_name(members)
    return ItemRejected(doubled, "duplicate_field", "It is there twice.") if doubled else None


def _replace_unfit_escapes(raw: bytes) -> bytes:
    """The same JSON with U+FFFD for what no text may hold: NUL and halves of surrogate pairs."""
    return UNFIT_ESCAPE.sub(rb"\1\\ufffd", raw)


class ObjectMembers(list[tuple[str, Any]]):
    """An object as it was sent: with all its members, also those named twice."""


# How it is read then: as sent, and with a stand-in for what is no JSON but some send.
_members_decoder = json.JSONDecoder(
    strict=False,
    object_pairs_hook=ObjectMembers,
    parse_int=_ignore_number,
    parse_float=_ignore_number,
    parse_constant=lambda _: NOT_A_NUMBER,
)


def _text_problem(value: Any) -> tuple[str, str] | None:
    if value is NOT_A_NUMBER:
        return "malformed", "NaN and Infinity are not numbers."
    if isinstance(value, str) and "\0" in value:
        return "bad_text", "It contains a NUL character."
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        return "bad_text", "It contains half of a surrogate pair."
    return None


def _nested_problem(value: Any) -> tuple[str, str] | None:
    if isinstance(value, ObjectMembers):
        if _repeated_name(value):
            return "duplicate_field", "It has a member twice."
        value = [each for pair in value for each in pair]
    if not isinstance(value, list):
        return None
    return next(
        filter(None, (_text_problem(each) or _nested_problem(each) for each in value)), None
    )


def _repeated_name(members: Any) -> str | None:
    names = (
        Counter(name for name, _ in members) if isinstance(members, ObjectMembers) else Counter()
    )
    return next((name for name, count in names.items() if count > 1), None)


def _check_item_count(items: Sized) -> None:
    if len(items) > MAX_ITEMS_PER_BODY:
        message = f"At most {MAX_ITEMS_PER_BODY:,} transactions at once. Send them in parts."
        raise BodyTooLarge(message, code="too_many")


def _is_decoded_whole(body: bytes, items: Sequence[Any]) -> bool:
    """Whether every member was decoded and no text has a NUL: of a name used twice one is lost."""
    if not any(mark in body for mark in AMBIGUOUS_BYTES):
        # Then a quote and a colon are the end of a member's name, and nothing else.
        with suppress(OverflowError):  # numbers that msgspec reads but does not write
            return body.count(MEMBER_NAME_END) == _encode_items(items).count(MEMBER_NAME_END)
    return rb"\u0000" not in body and _count_json_members(body) == sum(
        map(_count_decoded_members, items)
    )


def _count_json_members(body: bytes) -> int:
    """How many members the objects in this JSON have: what a colon outside of strings means."""
    return JSON_STRING.sub(b"", body).count(b":")


def _count_decoded_members(item: Any) -> int:
    """How many members were decoded. Of a field named twice only the last one was."""
    if isinstance(item, msgspec.Struct):
        values = msgspec.structs.astuple(item)
        return (
            len(values)
            - values.count(UNSET)
            + sum(map(_count_decoded_members, filter(_is_nesting, values)))
        )
    if isinstance(item, dict):
        return len(item) + sum(map(_count_decoded_members, filter(_is_nesting, item.values())))
    return sum(map(_count_decoded_members, filter(_is_nesting, item)))


def _is_nesting(value: Any) -> bool:
    return type(value) in NESTING_TYPES


def _readable_id_and_key(
    raw: bytes, id_of: Callable[[Any], str | None]
) -> tuple[str | None, str | None]:
    """The id and the key of what was refused, as far as they can be read."""
    try:
        item = _lenient_scanner.decode(raw.decode())
        said = id_of(item) if isinstance(item, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None, None
    key = item.get("key") or item.get("subject") if isinstance(item, dict) else None
    return (
        said[:200] if isinstance(said, str) and said.isprintable() else None,
        key if isinstance(key, str) else None,
    )


# Where each element ends, also of those that Python itself would not take.
_lenient_scanner = json.JSONDecoder(
    strict=False,
    parse_int=_ignore_number,
    parse_float=_ignore_number,
    parse_constant=_ignore_number,
)


def _ndjson_lines(body: bytes) -> Iterator[bytes]:
    return (line for line in BytesIO(body) if line.strip())


def _array_elements(body: bytes) -> Iterator[bytes]:
    """The elements of an array as they were sent, or the one value there is."""
    try:
        text = body.decode().strip(" \t\r\n")
        yield from _slice_array(text) if text[:1] == "[" else (_single_value(text),)
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start}."
        raise MalformedRequest(message) from error
    except json.JSONDecodeError as error:
        message = f"The JSON is malformed: {error.msg}, line {error.lineno} column {error.colno}."
        raise MalformedRequest(message) from error
    except RecursionError as error:
        message = "The JSON is nested too deeply."
        raise MalformedRequest(message, code="too_deep") from error


def _single_value(text: str) -> bytes:
    _, end = _lenient_scanner.raw_decode(text)
    if end != len(text):
        message = "Extra data"
        raise json.JSONDecodeError(message, text, end)
    return text.encode()


def _slice_array(text: str) -> Iterator[bytes]:
    at = _skip_space(text, 1)
    if text[at : at + 1] == "]":
        end = at
    else:
        while True:
            _, end = _lenient_scanner.raw_decode(text, at)
            yield text[at:end].encode()
            end = _skip_space(text, end)
            if text[end : end + 1] != ",":
                break
            at = _skip_space(text, end + 1)
    if text[end : end + 1] != "]" or end + 1 != len(text):
        message = "Expecting ',' or ']'"
        raise json.JSONDecodeError(message, text, end)


def _skip_space(text: str, at: int) -> int:
    match = JSON_SPACE.match(text, at)
    return match.end() if match else at


def rejection_from_msgspec(message: str) -> ItemRejected:
    """What msgspec says of one item, as field, code and reason."""
    if match := UNKNOWN_FIELD.match(message):
        return ItemRejected(match["field"], "unknown_field", "There is no such field.")
    if match := MISSING_FIELD.match(message):
        return ItemRejected(match["field"], "missing", "It is required.")
    place = ERROR_PLACE.search(message)
    field = place["field"].removesuffix("[...]") if place else ""
    reason = ERROR_PLACE.sub("", message).replace("`", "")
    return ItemRejected(field or None, "invalid", f"{reason}.")
