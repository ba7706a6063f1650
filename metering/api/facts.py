"""Facts: fields of a call that do not decide anything, such as its latency, status and sizes.

A fact that cannot be read never costs the call: the call is counted without it, and the value is
kept as metadata under the field's name. A wrong value in a decisive field (id, moment, key,
subscription, source, elements) rejects the call instead: see `docs/gateways.md`.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

MAX_METADATA_BYTES = 4_096  # as JSON
MAX_METADATA_LEVELS = 8  # of objects and lists within each other
MAX_UNREADABLE_CHARACTERS = 500  # of a value that metadata keeps as text
MAX_METHOD_CHARACTERS = 20
MAX_PATH_CHARACTERS = 2_000
MAX_SIZE_BYTES = 2**63 - 1  # as large as a bigint of PostgreSQL
MAX_LATENCY_MS = 1e12  # 31 years: more is a clock that was wrong
MAX_STATUS = 999
KNOWN_HTTP_STATUSES = range(100, 600)
NO_VALUE_TEXTS = {"", "-"}  # written by logs where there is no value

_encode_fact = msgspec.json.Encoder(decimal_format="number").encode


class UnreadableFact(ValueError):
    """A value that does not fit its field, such as a negative size."""


# A reader returns None for "no value", and raises UnreadableFact for a value that is wrong.
FactReader = Callable[[Any], Any]


def read_latency(value: Any) -> float | None:
    """Return milliseconds. Raises UnreadableFact."""
    return _read_number(value, largest=MAX_LATENCY_MS)


def read_size(value: Any) -> int | None:
    """Return bytes. Raises UnreadableFact."""
    number = _read_number(value, largest=MAX_SIZE_BYTES)
    if number is None:
        return None
    # A float next to the largest size is larger than it, and has 53 bits only.
    size = int(value) if isinstance(value, int | Decimal) else int(number)
    if size > MAX_SIZE_BYTES:
        raise UnreadableFact
    return size


def read_status(value: Any) -> int | None:
    """Return a status of HTTP, or None for 0, which gateways log for "no answer came".

    Raises:
        UnreadableFact: the value is no number, or above 999.
    """
    code = read_size(value)
    if code is not None and code > MAX_STATUS:
        raise UnreadableFact
    return code if code in KNOWN_HTTP_STATUSES else None


def read_strict_status(value: Any) -> int | None:
    """Return a status of HTTP, where 0 is unreadable, too. Raises UnreadableFact."""
    code = read_size(value)
    if code is not None and code not in KNOWN_HTTP_STATUSES:
        raise UnreadableFact
    return code


def read_method(value: Any) -> str | None:
    """Return a method of HTTP. Raises UnreadableFact."""
    method = _read_plain_text(value)
    if len(method) > MAX_METHOD_CHARACTERS:
        raise UnreadableFact
    return method or None


def read_path(value: Any) -> str | None:
    """Return the beginning of a path, up to MAX_PATH_CHARACTERS. Raises UnreadableFact."""
    return _read_plain_text(value)[:MAX_PATH_CHARACTERS] or None


def read_text(value: Any) -> str | None:
    """Return a text as it was sent. Raises UnreadableFact."""
    return _read_plain_text(value) or None


def as_short_text(value: Any) -> str:
    """Return any value as text that PostgreSQL can store, cut to MAX_UNREADABLE_CHARACTERS."""
    # A text stays as it is: encoded as JSON it would be shown with quotes and escapes.
    text = value if isinstance(value, str) else _encode_fact(_encodable_or_repr(value)).decode()
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_UNREADABLE_CHARACTERS]


def replace_nul(value: Any) -> Any:
    """Return the value with U+FFFD for each NUL, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {replace_nul(name): replace_nul(member) for name, member in value.items()}
    return [replace_nul(element) for element in value] if isinstance(value, list) else value


def read_or_none(read: FactReader, value: Any) -> Any:
    """Return the fact that a value means, or None if it cannot be read."""
    try:
        return read(value)
    except UnreadableFact:
        return None


def unreadable_facts(
    fields: Mapping[str, Any], readers: Mapping[str, FactReader]
) -> dict[str, Any]:
    """Return the fields whose values cannot be read, in a form that metadata can hold."""
    return {
        name: as_metadata_value(fields[name])
        for name, read in readers.items()
        if name in fields and _is_unreadable(read, fields[name])
    }


def as_metadata_value(value: Any) -> Any:
    """Return the value if metadata can hold it, else the beginning of it as text."""
    return value if fits_metadata({"": value}) else as_short_text(value)


def add_to_metadata(metadata: Any, unreadable: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the metadata with unreadable facts added, cut to its smallest members if too large.

    A member that the client named itself wins over an unreadable fact of the same name.
    """
    if not unreadable:
        return metadata or None
    return fit_metadata({**unreadable, **(metadata or {})}) or None


def fit_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata if it fits, else as many of its members as do, the smallest first."""
    if fits_metadata(metadata):
        return dict(metadata)
    kept: dict[str, Any] = {}
    # Each member is measured with its braces, which stand for the comma before the next one.
    left = MAX_METADATA_BYTES - len("{}")
    keepable = {name: as_metadata_value(value) for name, value in metadata.items()}
    # The smallest first: ids and labels are short, and one long prompt must not push them out.
    for name, value in sorted(keepable.items(), key=_encoded_bytes):
        left -= _encoded_bytes((name, value))
        if left >= 0 and fits_metadata({name: value}):
            kept[name] = value
    return kept


def fits_metadata(metadata: Mapping[str, Any]) -> bool:
    """Return True if it is small and flat enough, and PostgreSQL and all readers accept it."""
    try:
        return len(_encode_fact(metadata)) <= MAX_METADATA_BYTES and _is_storable(
            metadata, MAX_METADATA_LEVELS
        )
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return False


def _is_storable(value: Any, levels: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    if isinstance(value, int):
        # Larger integers are valid JSON, but many readers would take them for doubles.
        return -(2**63) <= value < 2**63
    if not isinstance(value, dict | list):
        return True
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return levels > 0 and all(_is_storable(part, levels - 1) for part in inner)


def _is_unreadable(read: FactReader, value: Any) -> bool:
    try:
        read(value)
    except UnreadableFact:
        return True
    return False


def _read_number(value: Any, *, largest: float) -> float | None:
    if isinstance(value, str):
        text = value.strip()
        if text in NO_VALUE_TEXTS:
            return None
        try:
            value = float(text)
        except ValueError:
            raise UnreadableFact from None
    if value is None:
        return None
    # To Python, True is the integer 1; as a latency or size it is a mistake of the client.
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnreadableFact
    if not 0 <= value <= largest:  # also true of NaN
        raise UnreadableFact
    return float(value)


def _read_plain_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnreadableFact
    text = str(value)
    if "\0" in text:
        raise UnreadableFact
    return text


def _encodable_or_repr(value: Any) -> Any:
    """Return the value if JSON can hold it, else its `ascii()`, cut."""
    try:
        _encode_fact(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        # Python decodes JSON that msgspec cannot encode, such as huge integers and lone surrogates.
        return ascii(value)[:MAX_UNREADABLE_CHARACTERS]
    return value


def _encoded_bytes(member: tuple[str, Any]) -> int:
    try:
        return len(_encode_fact({member[0]: member[1]}))
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return MAX_METADATA_BYTES + 1
