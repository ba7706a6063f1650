"""Moments as logs write them: ISO 8601, numbers of any unit, and the brackets of web servers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from metering.api.line_formats.definition import AUTOMATIC_UNIT, Pointer

UNIX_EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
# Seconds, milliseconds, microseconds and nanoseconds since 1970 do not overlap from 1973 to 5138.
UPPER_BOUNDS = ((1e11, "s"), (1e14, "ms"), (1e17, "us"))
WEB_SERVER_FORMAT = "%d/%b/%Y:%H:%M:%S %z"
MAX_CACHED_TEXTS = 4_096  # many lines of a log have the same second

# It raises ValueError, TypeError or OverflowError.
MomentReader = Callable[[object], datetime]


def moment_reader(pointer: Pointer, time_zone: str) -> MomentReader:
    """Return the function that reads moments in UTC."""
    zone: tzinfo = UTC if time_zone == "UTC" else ZoneInfo(time_zone)
    unit = pointer.unit
    if "%" in unit:
        return lambda value: _moment_of_format(str(value), unit, zone)
    return lambda value: _read_moment(value, unit, zone)


def _read_moment(value: object, unit: str, zone: tzinfo) -> datetime:
    if type(value) is str:
        # Nearly all moments that are text are ISO 8601, and it is the fastest of all.
        if unit == AUTOMATIC_UNIT and value[4:5] == "-":
            return _in_utc(datetime.fromisoformat(value), zone)
        try:
            value = int(value) if value.isdigit() else float(value)
        except ValueError:
            if unit != AUTOMATIC_UNIT:
                raise
            return _moment_of_text(value, zone)
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    return _moment_of_number(value, unit)


def _moment_of_number(number: float, unit: str) -> datetime:
    if unit == AUTOMATIC_UNIT:
        unit = next((unit for bound, unit in UPPER_BOUNDS if number < bound), "ns")
    if unit == "ns":
        # Whole numbers only: a float of nanoseconds is right to a fraction of a microsecond.
        return UNIX_EPOCH + timedelta(microseconds=int(number) // 1_000)
    return UNIX_EPOCH + timedelta(microseconds=round(number * MICROSECONDS[unit]))


@lru_cache(MAX_CACHED_TEXTS)
def _moment_of_text(text: str, zone: tzinfo) -> datetime:
    """Return the moment of a text that is no number. Raises ValueError."""
    try:
        return datetime.strptime(text.strip("[]"), WEB_SERVER_FORMAT).astimezone(UTC)
    except ValueError:
        return _in_utc(datetime.fromisoformat(text), zone)


@lru_cache(MAX_CACHED_TEXTS)
def _moment_of_format(text: str, unit: str, zone: tzinfo) -> datetime:
    return _in_utc(datetime.strptime(text, unit), zone)  # noqa: DTZ007 - the zone follows


def _in_utc(moment: datetime, zone: tzinfo) -> datetime:
    if moment.tzinfo is UTC:
        return moment
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
