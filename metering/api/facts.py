"""Facts: what a call says that decides nothing, such as its latency, status or sizes.

A fact that cannot be read never costs the call: the call is counted without it, and the odd value
is kept as metadata under the field's name. What decides (the id, the moment, the key, the
subscription, the source and what is counted) is rejected instead: see `docs/gateways.md`.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

MAX_METADATA_BYTES = 4_096  # as JSON
MAX_METADATA_LEVELS = 8
MAX_UNREADABLE_CHARACTERS = 500  # of a value that is kept as text
MAX_METHOD_CHARACTERS = 20
MAX_PATH_CHARACTERS = 2_000
MAX_SIZE_BYTES = 2**63 - 1  # bytes
MAX_LATENCY_MS = 1e12  # milliseconds
MAX_STATUS = 999
KNOWN_HTTP_STATUSES = range(100, 600)
NO_VALUE_TEXTS = {"", "-"}  # what logs write for no value

_encode_fact = msgspec.json.Encoder(decimal_format="number").encode


class UnreadableFact(ValueError):
    """A value that its field cannot mean."""


FactReader = Callable[[Any], Any]


def read_latency(value: Any) -> float | None:
    """Milliseconds. Raises UnreadableFact."""
    return _read_number(value, largest=MAX_LATENCY_MS)


def read_size(value: Any) -> int | None:
    """Bytes. Raises UnreadableFact."""
    number = _read_number(value, largest=MAX_SIZE_BYTES)
    if number is None:
        return None
    # A double next to the largest size is larger than it.
    size = int(value) if isinstance(value, int | Decimal) else int(number)
    if size > MAX_SIZE_BYTES:
        raise UnreadableFact
    return size


def read_status(value: Any) -> int | None:
    """A status of HTTP. A gateway that never got an answer says 0. Raises UnreadableFact."""
    code = read_size(value)
    if code is not None and code > MAX_STATUS:
        raise UnreadableFact
    return code if code in KNOWN_HTTP_STATUSES else None


def read_strict_status(value: Any) -> int | None:
    """The same where 0 is no status. Raises UnreadableFact."""
    code = read_size(value)
    if code is not None and code not in KNOWN_HTTP_STATUSES:
        raise UnreadableFact
    return code


def read_method(value: Any) -> str | None:
    """Raises UnreadableFact."""
    said = _read_plain_text(value)
    if len(said) > MAX_METHOD_CHARACTERS:
        raise UnreadableFact
    return said or None


def read_path(value: Any) -> str | None:
    """As much of it as is kept. Raises UnreadableFact."""
    return _read_plain_text(value)[:MAX_PATH_CHARACTERS] or None


def read_text(value: Any) -> str | None:
    """As it was sent. Raises UnreadableFact."""
    return _read_plain_text(value) or None


def as_short_text(value: Any) -> str:
    """Anything as text, without what PostgreSQL cannot keep."""
    said = value if isinstance(value, str) else _encode_fact(_encodable_or_repr(value)).decode()
    return said.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_UNREADABLE_CHARACTERS]


def replace_nul(value: Any) -> Any:
    """The same with U+FFFD for NUL, which PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {replace_nul(name): replace_nul(each) for name, each in value.items()}
    return [replace_nul(each) for each in value] if isinstance(value, list) else value


def read_or_none(read: FactReader, value: Any) -> Any:
    """What the value means, or None if it is odd."""
    try:
        return read(value)
    except UnreadableFact:
        return None


def unreadable_facts(said: Mapping[str, Any], reads: Mapping[str, FactReader]) -> dict[str, Any]:
    """Those of these members whose values are odd, as metadata can keep them."""
    return {
        name: as_metadata_value(said[name])
        for name, read in reads.items()
        if name in said and _is_unreadable(read, said[name])
    }


def as_metadata_value(value: Any) -> Any:
    """The value if metadata may hold it, and else the beginning of it as text."""
    return value if fits_metadata({"": value}) else as_short_text(value)


def add_to_metadata(metadata: Any, odd: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata with these values, and of too much the smallest."""
    if not odd:
        return metadata or None
    return fit_metadata({**odd, **(metadata or {})}) or None


def fit_metadata(said: Mapping[str, Any]) -> dict[str, Any]:
    """All of it if metadata may hold it, and else the smallest members."""
    if fits_metadata(said):
        return dict(said)
    kept: dict[str, Any] = {}
    left = MAX_METADATA_BYTES - len("{}")
    keepable = {name: as_metadata_value(value) for name, value in said.items()}
    for name, value in sorted(keepable.items(), key=_encoded_bytes):
        left -= _encoded_bytes((name, value))
        if left >= 0 and fits_metadata({name: value}):
            kept[name] = value
    return kept


def fits_metadata(said: Mapping[str, Any]) -> bool:
    """Tell whether it is small and flat enough, and PostgreSQL and every reader can take it."""
    try:
        return len(_encode_fact(said)) <= MAX_METADATA_BYTES and _is_storable(
            said, MAX_METADATA_LEVELS
        )
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return False


def _is_storable(value: Any, levels: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if not isinstance(value, dict | list):
        return True
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return levels > 0 and all(_is_storable(each, levels - 1) for each in inner)


def _is_unreadable(read: FactReader, value: Any) -> bool:
    try:
        read(value)
    except UnreadableFact:
        return True
    return False


def _read_number(value: Any, *, largest: float) -> float | None:
    if isinstance(value, str):
        said = value.strip()
        if said in NO_VALUE_TEXTS:
            return None
        try:
            value = float(said)
        except ValueError:
            raise UnreadableFact from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnreadableFact
    if not 0 <= value <= largest:  # nor is NaN
        raise UnreadableFact
    return float(value)


def _read_plain_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise UnreadableFact
    said = str(value)
    if "\0" in said:
        raise UnreadableFact
    return said


def _encodable_or_repr(value: Any) -> Any:
    """What JSON can say of it."""
    try:
        _encode_fact(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return ascii(value)[:MAX_UNREADABLE_CHARACTERS]
    return value


def _encoded_bytes(member: tuple[str, Any]) -> int:
    try:
        return len(_encode_fact({member[0]: member[1]}))
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return MAX_METADATA_BYTES + 1
