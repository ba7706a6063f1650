"""What clients of every age send in one field, as what it means.

Numbers come as text, text as numbers, and what a log has no value for as an empty string or a dash.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metering.api import facts
from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.inbox.calls import strip_url_to_path
from revcred.external_keys import MAX_KEY_CHARACTERS, KeyTooLong, trim_key

TextValue = str | int | None
# What decides nothing is read leniently: see `metering.api.facts`.
KEPT_NOTE = "Anything else is kept as metadata, and costs no call."
NumberFact = Annotated[Any, Meta(description=f"A number, also as text. {KEPT_NOTE}")]
TextFact = Annotated[Any, Meta(description=f"A text. {KEPT_NOTE}")]
MomentValue = Annotated[
    str | int | float | None,
    Meta(description="RFC 3339, or milliseconds or seconds since 1970. In UTC if it does not say."),
]

MAX_ID_CHARACTERS = 1_000
MAX_CLIENT_KEY_CHARACTERS = MAX_KEY_CHARACTERS
MAX_NAME_CHARACTERS = 200
MAX_CLIENT_METHOD_CHARACTERS = facts.MAX_METHOD_CHARACTERS
MAX_URL_PATH_CHARACTERS = facts.MAX_PATH_CHARACTERS
MAX_INTEGER = 2**63 - 1
MIN_MILLISECOND_TIMESTAMP = 1e11  # a number of seconds as large as this is far ahead


def parse_text(field: str, value: TextValue, *, most: int = MAX_NAME_CHARACTERS) -> str | None:
    """Raises ItemRejected."""
    said = "" if value is None else str(value)
    if len(said) > most:
        raise ItemRejected(field, "too_long", f"It has more than {most:,} characters.")
    if "\0" in said:
        raise ItemRejected(field, "bad_text", "It contains a NUL character.")
    return said or None


def parse_key(field: str, value: TextValue) -> str | None:
    """Without white space around it. Raises ItemRejected."""
    said = parse_text(field, value, most=MAX_INTEGER)
    try:
        return (trim_key(said) or None) if said else None
    except KeyTooLong as error:
        raise ItemRejected(field, "too_long", str(error)) from error


def parse_size(field: str, value: NumberFact) -> int | None:
    """A size in bytes, or None if it is odd."""
    size: int | None = facts.read_or_none(facts.read_size, value)
    return size


def parse_latency(field: str, value: NumberFact) -> float | None:
    """A latency in milliseconds, or None if it is odd."""
    latency: float | None = facts.read_or_none(facts.read_latency, value)
    return latency


def parse_status(field: str, value: NumberFact) -> int | None:
    """None if it is odd, or 0 of a gateway that never got an answer."""
    code: int | None = facts.read_or_none(facts.read_status, value)
    return code


def parse_text_fact(value: TextFact) -> str | None:
    """A fact that is a text, or None if it is odd."""
    said: str | None = facts.read_or_none(facts.read_text, value)
    return said


def parse_moment(field: str, value: MomentValue) -> datetime | None:
    """Raises ItemRejected."""
    if value is None or value in NO_VALUE_TEXTS:
        return None
    try:
        if not isinstance(value, str) or value.isdigit():
            number = float(value)
            return datetime.fromtimestamp(
                number / 1000 if number >= MIN_MILLISECOND_TIMESTAMP else number, UTC
            )
        at = msgspec.convert(value, datetime, strict=False)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError, OSError) as error:
        raise ItemRejected(field, "invalid", "It is not a moment.") from error


def path_of_address(url: str | None) -> str | None:
    """Of a whole address only the path: what follows it may hold a key."""
    return strip_url_to_path(url)[:MAX_URL_PATH_CHARACTERS] if url else None
