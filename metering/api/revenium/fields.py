"""What clients of every age send in one field, as what it means.

Numbers come as text, text as numbers, and what a log has no value for as an empty string or a dash.
"""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from metering.api.decoding import Refused
from metering.calls import only_path

Text = str | int | None
Number = int | float | str | None
Moment = Annotated[
    str | int | float | None,
    Meta(description="RFC 3339, or milliseconds or seconds since 1970. In UTC if it does not say."),
]

NOTHING = {"", "-"}
LONGEST_ID = 1_000
LONGEST_KEY = 1_000
LONGEST_NAME = 200
LONGEST_METHOD = 20
LONGEST_PATH = 2_000
LARGEST = 2**63 - 1
LONGEST_LATENCY = 1e12  # milliseconds
GREATEST_STATUS = 999
STATUSES = range(100, 600)
MILLISECONDS = 1e11  # a number of seconds as large as this is far ahead


def text(field: str, value: Text, *, most: int = LONGEST_NAME) -> str | None:
    """Raises Refused."""
    said = "" if value is None else str(value)
    if len(said) > most:
        raise Refused(field, "too_long", f"It has more than {most:,} characters.")
    if "\0" in said:
        raise Refused(field, "bad_text", "It contains a NUL character.")
    return said or None


def whole(field: str, value: Number, *, largest: int = LARGEST) -> int | None:
    """A whole number from zero. Raises Refused."""
    number = decimal(field, value, largest=largest)
    return None if number is None else int(value) if isinstance(value, int) else int(number)


def decimal(field: str, value: Number, *, largest: float = LONGEST_LATENCY) -> float | None:
    """A number from zero. Raises Refused."""
    if isinstance(value, str):
        if value.strip() in NOTHING:
            return None
        try:
            value = float(value)
        except ValueError as error:
            raise Refused(field, "invalid", "It is not a number.") from error
    if value is None:
        return None
    if not 0 <= value <= largest:
        raise Refused(field, "out_of_range", f"It is not between 0 and {largest:g}.")
    return float(value)


def status(field: str, value: Number) -> int | None:
    """A gateway that never got an answer says 0. Raises Refused."""
    code = whole(field, value, largest=GREATEST_STATUS)
    return code if code in STATUSES else None


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
