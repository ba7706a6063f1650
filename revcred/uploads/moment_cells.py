"""Cells that hold days, moments and durations, however another system writes them."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.key_cells import strip_invisible_ends


class DayOrder(StrEnum):
    """The order of day and month in a date such as 03/04/2027, which can be read two ways."""

    ASK = "ask"
    DAY_FIRST = "day_first"
    MONTH_FIRST = "month_first"


NEVER_WORDS = frozenset(
    (
        *("-", "never", "none", "null", "nil", "n/a", "na", "unlimited", "infinity", "no expiry"),
        *("no-expiry", "does not expire", "no expiration", "nie", "unbegrenzt", "unbefristet"),
        *("jamais", "illimité", "nunca", "ilimitado", "mai", "illimitato", "nooit", "onbeperkt"),
    )
)
ISO_DAY = re.compile(r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(.*)", re.DOTALL)
ISO_WITH_ZONE_NAME = re.compile(r"(.*\d)\s*(?:UTC|GMT)", re.IGNORECASE)
NUMERIC_DAY = re.compile(r"(\d\d?)([./-])(\d\d?)\2(\d{4})(.*)", re.DOTALL)
DOTTED_SHORT_YEAR = re.compile(r"(\d\d?\.\d\d?\.)(\d\d)((?:\D.*)?)", re.DOTALL)
SHORT_YEAR = re.compile(r"\d\d?([./-])\d\d?\1\d\d(?:\D.*)?", re.DOTALL)
NAMED_MONTH = re.compile(
    r"(?:[A-Za-zäÄ]{2,10}\.?,?\s+)??(?:(\d\d?)(?:st|nd|rd|th|\.)?[\s-]+([A-Za-zä]{3,9})\.?"
    r"|([A-Za-zä]{3,9})\.?\s+(\d\d?)(?:st|nd|rd|th)?),?[\s-]+(\d{4})(.*)",
    re.DOTALL,
)
TIME_OF_DAY = re.compile(
    r"(?:,?\s*(?:um|at|T)?\s*)(\d\d?)(?::|\.)(\d\d)(?:(?::|\.)(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s*(?:(AM|PM)|Uhr)?\s*(Z|UTC|GMT|[+-]\d\d:?\d\d)?\s*",
    re.IGNORECASE,
)
MONTHS = {
    name: number
    for number, names in enumerate(
        (
            *("jan january januar jänner", "feb february februar", "mar march mär märz maerz mrz"),
            *("apr april", "may mai", "jun june juni", "jul july juli", "aug august"),
            *("sep sept september", "oct october okt oktober", "nov november"),
            "dec december dez dezember",
        ),
        start=1,
    )
    for name in names.split()
}
UNIX_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
# By the size of the number: whoever wrote it meant a moment of these years in one of the units.
UNIX_YEARS = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
MONTHS_PER_YEAR = HOURS_OF_A_CLOCK = 12
UNITS_PER_SECOND = (1, 10**3, 10**6, 10**9)
DURATION = re.compile(
    r"(?:(\d+(?:[.,]\d+)?)\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|tage?|w|weeks?|y|years?)?)",
    re.IGNORECASE,
)
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400, "t": 86400, "w": 604800, "y": 31536000}
MAX_DURATION = timedelta(days=365 * 100)

TWO_WAYS = "This can be read two ways. Choose the order of day and month, or write 2027-12-31."
NO_MOMENT = "This is not a date or time. Write 2027-12-31 or 2027-12-31T23:59:00Z."
OTHER_ORDER = "There is no such month. The order of day and month is another one here."
OUT_OF_RANGE = "No moment between 1990 and 2200 is this number, in whatever unit."


def parse_moment(cell: str, *, day_order: DayOrder, time_zone: ZoneInfo) -> str:
    """Return the moment as ISO 8601 in UTC; "" for blank cells and words for never.

    A day means its first moment in the time zone, as does a time without an offset. Numbers are
    seconds since 1970, or thousandths, millionths or billionths of them; 0 and -1 mean never.
    Raises InvalidCell.
    """
    value = strip_invisible_ends(cell)
    if not value or value.lower() in NEVER_WORDS:
        return ""
    if UNIX_NUMBER.fullmatch(value):
        return _of_unix_number(value)
    try:
        moment = _parts_of(value, day_order)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=time_zone)
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidCell):
            raise
        raise InvalidCell(NO_MOMENT) from None


def is_time_zone(name: str) -> bool:
    """Return True if moments without an offset can be read in the time zone of this name."""
    return name in _time_zones()


@cache
def _time_zones() -> set[str]:
    # Each call opens some 600 files.
    return available_timezones()


def parse_duration(cell: str) -> str:
    """Return whole seconds; "" for blank cells, 0, -1 and words for never. Raises InvalidCell."""
    value = strip_invisible_ends(cell)
    if not value or value.lower() in NEVER_WORDS or value in {"0", "-1"}:
        return ""
    found = DURATION.fullmatch(value)
    if not found:
        raise InvalidCell("This is not a duration. Write seconds, or such as 30d or 12h.")
    unit = (found[2] or "s")[0].lower()
    seconds = float(found[1].replace(",", ".")) * SECONDS_PER_UNIT[unit]
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidCell("At most 100 years are allowed.")
    return str(int(seconds))


def _of_unix_number(value: str) -> str:
    number = float(value.replace(",", "."))
    if number in {0, -1}:
        return ""
    for unit in UNITS_PER_SECOND:
        if UNIX_YEARS[0].timestamp() <= number / unit <= UNIX_YEARS[1].timestamp():
            # Integers: a float has too few digits for nanoseconds.
            whole, _, rest = value.replace(",", ".").partition(".")
            microseconds = int(whole) * 10**6 // unit
            if rest and unit == 1:
                microseconds += int(rest[:6].ljust(6, "0"))
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
            return moment.isoformat()
    raise InvalidCell(OUT_OF_RANGE)


def _parts_of(value: str, day_order: DayOrder) -> datetime:
    """Return the moment, without a time zone if the text has none. Raises ValueError."""
    if found := ISO_WITH_ZONE_NAME.fullmatch(value):
        value = f"{found[1]}Z"
    if found := ISO_DAY.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            return _with_time(int(found[1]), int(found[2]), int(found[3]), found[4])
    # Where dots stand, the year is last; and no credential is from another century.
    if found := DOTTED_SHORT_YEAR.fullmatch(value):
        value = f"{found[1]}20{found[2]}{found[3]}"
    if found := NUMERIC_DAY.fullmatch(value):
        day, month = _day_and_month(int(found[1]), int(found[3]), found[2], day_order)
        return _with_time(int(found[4]), month, day, found[5])
    if found := NAMED_MONTH.fullmatch(value):
        day_text, name = (found[1], found[2]) if found[1] else (found[4], found[3])
        if name.lower() not in MONTHS:
            raise ValueError
        return _with_time(int(found[5]), MONTHS[name.lower()], int(day_text), found[6])
    if SHORT_YEAR.fullmatch(value):
        raise InvalidCell("Write the year with four digits, such as 2027-12-31.")
    raise ValueError


def _day_and_month(first: int, second: int, separator: str, day_order: DayOrder) -> tuple[int, int]:
    # Dots are written where the day comes first; nobody writes 12.31.2027.
    if separator == "." or first == second:
        return first, second
    if day_order is DayOrder.DAY_FIRST:
        day, month = first, second
    elif day_order is DayOrder.MONTH_FIRST:
        day, month = second, first
    elif first > MONTHS_PER_YEAR:
        day, month = first, second
    elif second > MONTHS_PER_YEAR:
        day, month = second, first
    else:
        raise InvalidCell(TWO_WAYS)
    if month > MONTHS_PER_YEAR:
        raise InvalidCell(OTHER_ORDER)
    return day, month


def _with_time(year: int, month: int, day: int, rest: str) -> datetime:
    day_start = datetime(year, month, day)  # noqa: DTZ001 - the zone follows, or is chosen
    if not rest.strip():
        return day_start
    found = TIME_OF_DAY.fullmatch(rest)
    if not found:
        raise ValueError
    hour = int(found[1])
    if found[5]:
        if not 1 <= hour <= HOURS_OF_A_CLOCK:
            raise ValueError
        hour = hour % HOURS_OF_A_CLOCK + (HOURS_OF_A_CLOCK if found[5].upper() == "PM" else 0)
    microsecond = int((found[4] or "0")[:6].ljust(6, "0")) if found[4] else 0
    moment = day_start.replace(
        hour=hour, minute=int(found[2]), second=int(found[3] or 0), microsecond=microsecond
    )
    zone = found[6]
    if not zone:
        return moment
    if zone.upper() in {"Z", "UTC", "GMT"}:
        return moment.replace(tzinfo=UTC)
    return datetime.fromisoformat(f"{moment.isoformat()}{zone[:3]}:{zone[-2:]}")
