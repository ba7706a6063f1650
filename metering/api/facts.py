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
MAX_ODD_CHARACTERS = 500  # of a value that is kept as text
MAX_METHOD_CHARACTERS = 20
MAX_PATH_CHARACTERS = 2_000
MAX_SIZE = 2**63 - 1  # bytes
MAX_LATENCY = 1e12  # milliseconds
MAX_STATUS = 999
STATUSES = range(100, 600)
NOTHING = {"", "-"}  # what logs write for no value

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Odd(ValueError):
    """A value that its field cannot mean."""


Read = Callable[[Any], Any]


def latency(value: Any) -> float | None:
    """Milliseconds. Raises Odd."""
    return _number(value, largest=MAX_LATENCY)


def size(value: Any) -> int | None:
    """Bytes. Raises Odd."""
    number = _number(value, largest=MAX_SIZE)
    return None if number is None else int(value) if type(value) is int else int(number)


def status(value: Any) -> int | None:
    """A status of HTTP. A gateway that never got an answer says 0. Raises Odd."""
    code = size(value)
    if code is not None and code > MAX_STATUS:
        raise Odd
    return code if code in STATUSES else None


def strict_status(value: Any) -> int | None:
    """The same where 0 is no status. Raises Odd."""
    code = size(value)
    if code is not None and code not in STATUSES:
        raise Odd
    return code


def method(value: Any) -> str | None:
    """Raises Odd."""
    said = _text(value)
    if len(said) > MAX_METHOD_CHARACTERS:
        raise Odd
    return said or None


def path(value: Any) -> str | None:
    """As much of it as is kept. Raises Odd."""
    return _text(value)[:MAX_PATH_CHARACTERS] or None


def whole_text(value: Any) -> str | None:
    """As it was sent. Raises Odd."""
    return _text(value) or None


def text(value: Any) -> str:
    """Anything as text, without what PostgreSQL cannot keep."""
    said = value if isinstance(value, str) else _encode(_plain(value)).decode()
    return said.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MAX_ODD_CHARACTERS]


def without_nul(value: Any) -> Any:
    """The same with U+FFFD for NUL, which PostgreSQL cannot keep."""
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {without_nul(name): without_nul(each) for name, each in value.items()}
    return [without_nul(each) for each in value] if isinstance(value, list) else value


def readable(read: Read, value: Any) -> Any:
    """What the value means, or None if it is odd."""
    try:
        return read(value)
    except Odd:
        return None


def odd_ones(said: Mapping[str, Any], reads: Mapping[str, Read]) -> dict[str, Any]:
    """Those of these members whose values are odd, as metadata can keep them."""
    return {
        name: kept_as_said(said[name])
        for name, read in reads.items()
        if name in said and _is_odd(read, said[name])
    }


def kept_as_said(value: Any) -> Any:
    """The value if metadata may hold it, and else the beginning of it as text."""
    return value if may_be_kept({"": value}) else text(value)


def beside(metadata: Any, odd: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metadata with these values, and of too much the smallest."""
    if not odd:
        return metadata or None
    return fitting({**odd, **(metadata or {})}) or None


def fitting(said: Mapping[str, Any]) -> dict[str, Any]:
    """All of it if metadata may hold it, and else the smallest members."""
    if may_be_kept(said):
        return dict(said)
    kept: dict[str, Any] = {}
    left = MAX_METADATA_BYTES - len("{}")
    keepable = {name: kept_as_said(value) for name, value in said.items()}
    for name, value in sorted(keepable.items(), key=_bytes_of):
        left -= _bytes_of((name, value))
        if left >= 0 and may_be_kept({name: value}):
            kept[name] = value
    return kept


def may_be_kept(said: Mapping[str, Any]) -> bool:
    """Tell whether it is small and flat enough, and PostgreSQL and every reader can take it."""
    try:
        return len(_encode(said)) <= MAX_METADATA_BYTES and _is_plain(said, MAX_METADATA_LEVELS)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return False


def _is_plain(value: Any, levels: int) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, float | Decimal):
        return math.isfinite(value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    if not isinstance(value, dict | list):
        return True
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return levels > 0 and all(_is_plain(each, levels - 1) for each in inner)


def _is_odd(read: Read, value: Any) -> bool:
    try:
        read(value)
    except Odd:
        return True
    return False


def _number(value: Any, *, largest: float) -> float | None:
    if isinstance(value, str):
        said = value.strip()
        if said in NOTHING:
            return None
        try:
            value = float(said)
        except ValueError:
            raise Odd from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise Odd
    if not 0 <= value <= largest:  # nor is NaN
        raise Odd
    return float(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Odd
    said = str(value)
    if "\0" in said:
        raise Odd
    return said


def _plain(value: Any) -> Any:
    """What JSON can say of it."""
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return ascii(value)[:MAX_ODD_CHARACTERS]
    return value


def _bytes_of(member: tuple[str, Any]) -> int:
    try:
        return len(_encode({member[0]: member[1]}))
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeEncodeError):
        return MAX_METADATA_BYTES + 1
