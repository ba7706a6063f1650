"""What clients of every age send in one field, as what it means.

Numbers come as text, text as numbers, and what a log has no value for as an empty string or a dash.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metering.api import facts
from metering.api.decoding import Refused
from metering.api.facts import NOTHING
from metering.inbox.calls import only_path
from revcred.external_keys import MAX_KEY_CHARACTERS, KeyTooLong, trimmed

Text = str | int | None
# What decides nothing is read leniently: see `metering.api.facts`.
KEPT = "Anything else is kept as metadata, and costs no call."
Number = Annotated[Any, Meta(description=f"A number, also as text. {KEPT}")]
Fact = Annotated[Any, Meta(description=f"A text. {KEPT}")]
Moment = Annotated[
    str | int | float | None,
    Meta(description="RFC 3339, or milliseconds or seconds since 1970. In UTC if it does not say."),
]

LONGEST_ID = 1_000
LONGEST_KEY = MAX_KEY_CHARACTERS
LONGEST_NAME = 200
LONGEST_METHOD = facts.MAX_METHOD_CHARACTERS
LONGEST_PATH = facts.MAX_PATH_CHARACTERS
LARGEST = 2**63 - 1
MILLISECONDS = 1e11  # a number of seconds as large as this is far ahead


def text(field: str, value: Text, *, most: int = LONGEST_NAME) -> str | None:
    """Raises Refused."""
    said = "" if value is None else str(value)
    if len(said) > most:
        raise Refused(field, "too_long", f"It has more than {most:,} characters.")
    if "\0" in said:
        raise Refused(field, "bad_text", "It contains a NUL character.")
    return said or None


def key(field: str, value: Text) -> str | None:
    """Without white space around it. Raises Refused."""
    said = text(field, value, most=LARGEST)
    try:
        return (trimmed(said) or None) if said else None
    except KeyTooLong as error:
        raise Refused(field, "too_long", str(error)) from error


def whole(field: str, value: Number) -> int | None:
    """A size in bytes, or None if it is odd."""
    size: int | None = facts.readable(facts.size, value)
    return size


def decimal(field: str, value: Number) -> float | None:
    """A latency in milliseconds, or None if it is odd."""
    latency: float | None = facts.readable(facts.latency, value)
    return latency


def status(field: str, value: Number) -> int | None:
    """None if it is odd, or 0 of a gateway that never got an answer."""
    code: int | None = facts.readable(facts.status, value)
    return code


def fact(value: Fact) -> str | None:
    """A fact that is a text, or None if it is odd."""
    said: str | None = facts.readable(facts.whole_text, value)
    return said


def moment(field: str, value: Moment) -> datetime | None:
    """Raises Refused."""
    if value is None or value in NOTHING:
        return None
    try:
        if not isinstance(value, str) or value.isdigit():
            number = float(value)
            return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS else number, UTC)
        at = msgspec.convert(value, datetime, strict=False)
        return at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
    except (msgspec.ValidationError, ValueError, OverflowError, OSError) as error:
        raise Refused(field, "invalid", "It is not a moment.") from error


def path(url: str | None) -> str | None:
    """Of a whole address only the path: what follows it may hold a key."""
    return only_path(url)[:LONGEST_PATH] if url else None
