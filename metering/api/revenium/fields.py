"""Parsers of single fields that clients of every age send.

Numbers come as text, and text as numbers. A log writes an empty string or a dash for no value.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.inbox.calls import strip_url_to_path
from revcred.external_keys import KeyTooLong, trim_key
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS

TextValue = str | int | None
# Shown on the OpenAPI page at each fact; `metering.api.facts` says why they never reject a call.
KEPT_NOTE = "Any other value is kept as metadata and does not reject the call."
NumberFact = Annotated[Any, Meta(description=f"A number, also as text. {KEPT_NOTE}")]
TextFact = Annotated[Any, Meta(description=f"A text. {KEPT_NOTE}")]
MomentValue = Annotated[
    str | int | float | None,
    Meta(
        description="RFC 3339, or milliseconds or seconds since 1970. UTC if it has no time zone."
    ),
]

MAX_ID_CHARACTERS = 1_000
MAX_URL_PATH_CHARACTERS = facts.MAX_PATH_CHARACTERS
MAX_INTEGER = 2**63 - 1
MIN_MILLISECOND_TIMESTAMP = 1e11  # as seconds, this would be the year 5138


def parse_text(
    field: str, value: TextValue, *, max_characters: int = MAX_EXTERNAL_KEY_CHARACTERS
) -> str | None:
    """Return a text, or None for an empty one. Raises ItemRejected with `field`."""
    text = "" if value is None else str(value)
    if len(text) > max_characters:
        raise ItemRejected(field, "too_long", f"It has more than {max_characters:,} characters.")
    if "\0" in text:
        raise ItemRejected(field, "bad_text", "It contains a NUL character.")
    return text or None


def parse_key(field: str, value: TextValue) -> str | None:
    """Return a key without white space around it. Raises ItemRejected with `field`."""
    # `trim_key` knows the limit of a key, which does not count the white space.
    text = parse_text(field, value, max_characters=MAX_INTEGER)
    try:
        return (trim_key(text) or None) if text else None
    except KeyTooLong as error:
        raise ItemRejected(field, "too_long", str(error)) from error


def parse_size(field: str, value: NumberFact) -> int | None:
    """Return a size in bytes, or None if it cannot be read."""
    size: int | None = facts.read_or_none(facts.read_size, value)
    return size


def parse_latency(field: str, value: NumberFact) -> float | None:
    """Return a latency in milliseconds, or None if it cannot be read."""
    latency: float | None = facts.read_or_none(facts.read_latency, value)
    return latency


def parse_status(field: str, value: NumberFact) -> int | None:
    """Return a status of HTTP, or None if it cannot be read or is 0, which means no answer."""
    code: int | None = facts.read_or_none(facts.read_status, value)
    return code


def parse_text_fact(value: TextFact) -> str | None:
    """Return a fact that is a text, or None if it cannot be read."""
    text: str | None = facts.read_or_none(facts.read_text, value)
    return text


def parse_moment(field: str, value: MomentValue) -> datetime | None:
    """Return a moment in UTC, or None for an empty value. Raises ItemRejected with `field`."""
    if value is None or value in NO_VALUE_TEXTS:
        return None
    try:
        # No moment since 1973 is below the limit in milliseconds, nor any before 5138 above it in
        # seconds: so a number needs no unit.
        if not isinstance(value, str) or value.isdigit():
            number = float(value)
            return datetime.fromtimestamp(
                number / 1000 if number >= MIN_MILLISECOND_TIMESTAMP else number, UTC
            )
        at = msgspec.convert(value, datetime, strict=False)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError, OSError) as error:
        raise ItemRejected(
            field, "invalid", "It is not a date with time, nor a number of seconds or milliseconds."
        ) from error


def path_of_address(url: str | None) -> str | None:
    """Return the path of an address without its query, which may hold a key."""
    return strip_url_to_path(url)[:MAX_URL_PATH_CHARACTERS] if url else None
