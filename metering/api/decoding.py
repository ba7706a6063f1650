"""Decoder of JSON bodies into typed items: in one pass if all is well, else item by item.

An item that cannot be decoded is rejected with its index, field and reason. It spoils no other.
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

# msgspec keeps the last of two members of one name without a word. To notice it, the names in the
# body are counted and compared with those that were decoded: see `_is_decoded_whole`.
MEMBER_NAME_END = b'":'
# With an escape, or space after a name, the bytes above do not always end a member's name.
AMBIGUOUS_BYTES = (b"\\", b" :", b"\t:", b"\r:", b"\n:")
JSON_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
# msgspec reports errors as sentences alone: "Expected `int`, got `str` - at `$.status`".
ERROR_PLACE = re.compile(r" - at (?:`key` in )?`\$(?:\[\d+\])?\.?(?P<field>[^`]*)`$")
UNKNOWN_FIELD = re.compile(r"^Object contains unknown field `(?P<field>.*)`")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# Escapes of NUL and of halves of surrogate pairs, which PostgreSQL cannot store. The even number of
# backslashes before them matters: after an odd one, `\u0000` is six plain characters.
UNFIT_ESCAPE = re.compile(
    rb"(?<!\\)((?:\\\\)*)\\u(?:0000"
    rb"|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u)[dD][c-fC-F][0-9a-fA-F]{2})"
)
NOT_A_NUMBER = object()  # stands for NaN and Infinity, which are no JSON
NESTING_TYPES = frozenset({dict, list})
JSON_SPACE = re.compile(r"[ \t\r\n]*")
MISSING_FIELD = re.compile(r"^Object missing required field `(?P<field>.*)`")


_encode_items = msgspec.json.encode


def _ignore_number(_: str) -> None:
    """Skip a number, since Python takes quadratic time to parse one of a million digits."""


def transaction_id_in(item: Any) -> str | None:
    """Return the id of an object that was posted to `/v1/transactions`."""
    transaction_id: str | None = item.get("transaction_id")
    return transaction_id


class ItemRejected(Exception):
    """An item that is rejected: the field, a code for programs and a reason for people."""

    transaction_id: str | None = None
    key: str | None = None
    text: str | None = None  # the item as it was sent

    def __init__(self, field: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.field, self.code, self.message = field, code, message


class ItemDecoder(Generic[Item]):
    """Decoder of one object, an array of objects, or one object a line."""

    def __init__(
        self,
        item: type[Item],
        *,
        facts: Collection[str] = (),
        leniently: Callable[[bytes], Item] | None = None,
        id_of: Callable[[Any], str | None] = transaction_id_in,
    ) -> None:
        """Prepare for items of one type.

        `facts` are fields that decide nothing: an item with a wrong value in one of them is decoded
        by `leniently` instead of being rejected. `id_of` finds the id of a rejected object.
        """
        self._item_decoder = msgspec.json.Decoder(item)
        self._facts = frozenset(facts)
        self._leniently = leniently
        self._id_of = id_of
        self._list_decoder = msgspec.json.Decoder(list[item])  # type: ignore[valid-type]

    def decode(self, body: bytes, media_type: str) -> list[Item | ItemRejected]:
        """Return each item of a body, or its rejection, in the order of the body.

        Raises:
            MalformedRequest: the body cannot be split into items, or there are none.
            BodyTooLarge: it has more than MAX_ITEMS_PER_BODY items.
        """
        if not body.strip():
            message = "The body is empty."
            raise MalformedRequest(message, code="empty")
        if media_type in NDJSON_MEDIA_TYPES:
            items = self._decode_at_once(body, self._item_decoder.decode_lines)
            items = items or self._decode_each(_ndjson_lines(body))
        else:
            items = self._decode_at_once(body, self._decode_array)
            items = items or self._decode_each(array_elements(body))
        if not items:
            message = "There is no transaction in it."
            raise MalformedRequest(message, code="empty")
        return items

    def _decode_array(self, body: bytes) -> list[Item]:
        if body.lstrip()[:1] == b"[":
            return self._list_decoder.decode(body)
        return [self._item_decoder.decode(body)]

    def _decode_at_once(
        self, body: bytes, decode: Callable[[bytes], list[Item]]
    ) -> list[Item | ItemRejected]:
        """Return all items, or none if any of them needs a closer look.

        One call of msgspec for the whole body is many times faster than one for each item.
        """
        try:
            items = decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        _check_item_count(items)
        return list(items) if _is_decoded_whole(body, items) else []

    def _decode_each(self, raws: Iterable[bytes]) -> list[Item | ItemRejected]:
        # Counted before any is decoded: rejected items take the most time, and a body could have
        # hundreds of thousands of them.
        few = list(islice(raws, MAX_ITEMS_PER_BODY + 1))
        _check_item_count(few)
        return [self._decode_or_reject(raw) for raw in few]

    def _decode_or_reject(self, raw: bytes) -> Item | ItemRejected:
        try:
            return self._decode_one(raw)
        except ItemRejected as rejection:
            rejection.transaction_id, rejection.key = _readable_id_and_key(raw, self._id_of)
            rejection.text = bytes(raw).decode(errors="replace")
            return rejection

    def _decode_one(self, raw: bytes) -> Item:
        try:
            return self._decode_strictly(raw)
        except ItemRejected as rejection:
            if rejection.field in self._facts and self._leniently:
                return self._decode_leniently(raw)
            raise

    def _decode_leniently(self, raw: bytes) -> Item:
        """Return the item if only facts are wrong in it. Raises ItemRejected."""
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

    def _decode_strictly(self, raw: bytes) -> Item:
        try:
            item = self._item_decoder.decode(raw)
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
    """Return the reason to reject an object, with its field, or None if there is none.

    Python's own decoder is slower than msgspec, but it keeps both members of one name and can tell
    in which of them a bad character is.
    """
    try:
        return _problem_in_members(_members_decoder.decode(raw.decode()), passing_over)
    except UnicodeDecodeError as error:
        return ItemRejected(None, "bad_text", f"It is not UTF-8: byte {error.start}.")
    except RecursionError:
        return ItemRejected(None, "too_deep", "It is nested too deeply.")
    except ValueError as error:
        return ItemRejected(None, "malformed", f"It is malformed: {error}.")


def _problem_in_members(members: Any, passing_over: Collection[str] = ()) -> ItemRejected | None:
    """Return the first problem of an object's members. Raises RecursionError."""
    for name, value in members if isinstance(members, ObjectMembers) else ():
        objection = text_problem(name) or text_problem(value) or _nested_problem(value)
        if objection and (name not in passing_over or objection[0] != "bad_text"):
            return ItemRejected(name if name.isprintable() else None, *objection)
    doubled = _repeated_name(members)
    return (
        ItemRejected(doubled, "duplicate_field", "The field is there twice.") if doubled else None
    )


def _replace_unfit_escapes(raw: bytes) -> bytes:
    """Return the JSON with U+FFFD for escapes of NUL and of halves of surrogate pairs."""
    return UNFIT_ESCAPE.sub(rb"\1\\ufffd", raw)


class ObjectMembers(list[tuple[str, Any]]):
    """An object's members as they were sent, also two of one name."""


# Lenient where clients are: some send NaN, and some send line ends within a string.
_members_decoder = json.JSONDecoder(
    strict=False,
    object_pairs_hook=ObjectMembers,
    parse_int=_ignore_number,
    parse_float=_ignore_number,
    parse_constant=lambda _: NOT_A_NUMBER,
)


def text_problem(value: Any) -> tuple[str, str] | None:
    """Return code and message if a name or value is a text that PostgreSQL cannot store."""
    if value is NOT_A_NUMBER:
        return "malformed", "NaN and Infinity are not numbers."
    if isinstance(value, str) and "\0" in value:
        return "bad_text", "It contains a NUL character."
    if isinstance(value, str) and LONE_SURROGATE.search(value):
        return "bad_text", "It contains half of a surrogate pair."
    return None


def _nested_problem(value: Any) -> tuple[str, str] | None:
    """Return code and message of the first problem at any depth. Raises RecursionError."""
    if isinstance(value, ObjectMembers):
        if _repeated_name(value):
            return "duplicate_field", "One of its members is there twice."
        value = [part for pair in value for part in pair]  # names and values alike
    if not isinstance(value, list):
        return None
    return next(filter(None, (text_problem(part) or _nested_problem(part) for part in value)), None)


def _repeated_name(members: Any) -> str | None:
    names = (
        Counter(name for name, _ in members) if isinstance(members, ObjectMembers) else Counter()
    )
    return next((name for name, count in names.items() if count > 1), None)


def refuse_doubled(raw: bytes, value: Any) -> None:
    """See that no object in this JSON, read as `value`, has a member twice. Raises ItemRejected.

    Of two quantities one would be lost.
    """
    if _has_all_members(raw, [value]):
        return
    try:
        members = _members_decoder.decode(raw.decode())
        doubled = _repeated_name(members) or _doubled_within(members)
    except (ValueError, RecursionError):
        return  # whoever read it knows better what is wrong with it
    if doubled:
        name = doubled if doubled.isprintable() else None
        raise ItemRejected(name, "duplicate_field", "It is there twice.")


def _doubled_within(value: Any) -> str | None:
    """The name of a member that any object further in has twice."""
    if isinstance(value, ObjectMembers):
        value = [each for _, each in value]
    inner = value if isinstance(value, list) else ()
    return next(
        filter(None, (_repeated_name(each) or _doubled_within(each) for each in inner)), None
    )


def _check_item_count(items: Sized) -> None:
    if len(items) > MAX_ITEMS_PER_BODY:
        message = f"At most {MAX_ITEMS_PER_BODY:,} transactions at once. Send them in parts."
        raise BodyTooLarge(message, code="too_many")


def _is_decoded_whole(body: bytes, items: Sequence[Any]) -> bool:
    """Return True if every member was decoded and no text has a NUL."""
    return rb"\u0000" not in body and _has_all_members(body, items)


def _has_all_members(body: bytes, items: Sequence[Any]) -> bool:
    """Return True if no member was lost in decoding, as one is where two have one name.

    Counting the bytes that end a name in the body and in the items encoded again costs much less
    than a second decoder that notices it.
    """
    if not any(ambiguous in body for ambiguous in AMBIGUOUS_BYTES):
        # Without escapes and blanks, a quote before a colon always ends a member's name.
        with suppress(OverflowError):  # msgspec decodes larger integers than it encodes
            return body.count(MEMBER_NAME_END) == _encode_items(items).count(MEMBER_NAME_END)
    return _count_json_members(body) == sum(map(_count_decoded_members, items))


def _count_json_members(body: bytes) -> int:
    """Count the members of all objects in this JSON, which are the colons outside of strings."""
    return JSON_STRING.sub(b"", body).count(b":")


def _count_decoded_members(item: Any) -> int:
    """Count the members that were decoded into an item, at all depths."""
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
    # The exact type is enough: msgspec decodes into no subclasses, and this runs for each value.
    return type(value) in NESTING_TYPES


def _readable_id_and_key(
    raw: bytes, id_of: Callable[[Any], str | None]
) -> tuple[str | None, str | None]:
    """Return the id and the key of a rejected item as far as they can be read.

    The id goes into the answer; the key is only used to cut it out of what is stored.
    """
    try:
        item = _lenient_scanner.decode(raw.decode())
        transaction_id = id_of(item) if isinstance(item, dict) else None
    except (ValueError, TypeError, RecursionError):
        return None, None
    key = item.get("key") or item.get("subject") if isinstance(item, dict) else None
    if not isinstance(transaction_id, str) or not transaction_id.isprintable():
        transaction_id = None
    return transaction_id and transaction_id[:200], key if isinstance(key, str) else None


# It only has to find where each element ends, also where Python's default decoder would give up.
_lenient_scanner = json.JSONDecoder(
    strict=False,
    parse_int=_ignore_number,
    parse_float=_ignore_number,
    parse_constant=_ignore_number,
)


def _ndjson_lines(body: bytes) -> Iterator[bytes]:
    return (line for line in BytesIO(body) if line.strip())


def array_elements(body: bytes) -> Iterator[bytes]:
    """Yield the elements of an array as they were sent, or the one value that is no array.

    Raises:
        MalformedRequest: it is not JSON, so that nobody can tell where an element ends.
    """
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
    """Yield each element of an array. Raises json.JSONDecodeError."""
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
    """Return msgspec's message about one item as a rejection with field, code and reason."""
    if match := UNKNOWN_FIELD.match(message):
        return ItemRejected(match["field"], "unknown_field", "There is no such field.")
    if match := MISSING_FIELD.match(message):
        return ItemRejected(match["field"], "missing", "It is required.")
    place = ERROR_PLACE.search(message)
    field = place["field"].removesuffix("[...]") if place else ""
    reason = ERROR_PLACE.sub("", message).replace("`", "")
    return ItemRejected(field or None, "invalid", f"{reason}.")
