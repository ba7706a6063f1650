"""Cells that hold days, moments and durations, however another system writes them."""

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from django.utils.translation import gettext_noop

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
        *("no", "n.a.", "∞", "—", "–", "\\n", "(null)", "not set", "kein", "keine", "ohne"),  # noqa: RUF001
        # What programs write for no moment.
        *("0000-00-00", "0000-00-00 00:00:00"),
    )
)
ISO_DAY = re.compile(r"(\d{4})[-/.](\d\d?)[-/.](\d\d?)(.*)", re.DOTALL)
COMPACT_DAY = re.compile(r"((?:19|20)\d\d)(\d\d)(\d\d)(?:T?(\d\d)(\d\d)(\d\d)(Z?))?")
DAY_OF_A_SPREADSHEET = re.compile(r"[3-7]\d{4}(?:[.,]\d+)?")  # days since 1900
ISO_WITH_ZONE_NAME = re.compile(r"(.*\d)\s*(?:UTC|GMT)", re.IGNORECASE)
NUMERIC_DAY = re.compile(r"(\d\d?)([./-])(\d\d?)\2(\d{4})(.*)", re.DOTALL)
DOTTED_SHORT_YEAR = re.compile(r"(\d\d?\.\d\d?\.)(\d\d)((?:\D.*)?)", re.DOTALL)
SHORT_YEAR = re.compile(r"\d\d?([./-])\d\d?\1\d\d(?:\D.*)?", re.DOTALL)
NAMED_MONTH = re.compile(
    r"(?:[^\W\d_]{2,13}\.?,?\s+)??"
    r"(?:(\d\d?)(?:st|nd|rd|th|er|\.)?[\s-]+(?:de\s+)?([^\W\d_]{3,10})\.?"
    r"|([^\W\d_]{3,10})\.?\s+(\d\d?)(?:st|nd|rd|th)?),?[\s-]+(?:de\s+)?(\d{4}|\d\d(?!\d))(.*)",
    re.DOTALL,
)
TIME_OF_DAY = re.compile(
    r"(?:,?\s*(?:um|at|T)?\s*)(\d\d?)(?::|\.)(\d\d)(?:(?::|\.)(\d\d)(?:[.,](\d{1,9}))?)?"
    r"\s*(?:(AM|PM)|Uhr)?\s*(Z|(?:UTC|GMT)?[+-]\d\d:?\d\d|UTC|GMT)?\s*(?:\([^()]*\))?",
    re.IGNORECASE,
)
MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jänner janvier janv enero ene gennaio gen janeiro januari",
            "feb february februar février févr febrero febbraio fevereiro fev februari",
            "mar march mär märz maerz mrz mars marzo março maart mrt",
            "apr april avril avr abril abr aprile",
            "may mai mayo maggio mag maio mei",
            "jun june juni juin junio giugno giu junho",
            "jul july juli juillet juil julio luglio lug julho",
            "aug august août agosto ago augustus",
            "sep sept september septembre septiembre settembre set setembro",
            "oct october okt oktober octobre octubre ottobre ott outubro out",
            "nov november novembre noviembre novembro",
            "dec december dez dezember décembre déc diciembre dic dicembre dezembro",
        ),
        start=1,
    )
    for name in names.split()
}
# The zero values of clocks: nobody chose such a moment.
ZERO_MOMENTS = (datetime(1, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))
UNIX_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
# By the size of the number: whoever wrote it meant a moment of these years in one of the units.
UNIX_YEARS = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
MONTHS_PER_YEAR = HOURS_OF_A_CLOCK = 12
UNITS_PER_SECOND = (1, 10**3, 10**6, 10**9)
DURATION_PART = re.compile(r"(\d+(?:[.,]\d+)?)\s*([^\W\d_]*)\.?\s*,?\s*")
ISO_DURATION = re.compile(
    r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?",
    re.IGNORECASE,
)
ISO_DURATION_UNITS = ("y", "mo", "w", "d", "h", "m", "s")
CLOCK_DURATION = re.compile(r"(\d+):(\d\d):(\d\d)")
SECONDS_PER_UNIT = {
    word: seconds
    for seconds, words in (
        (0.001, "ms msec millis millisecond milliseconds millisekunden"),
        (1, "s sec secs second seconds sek sekunde sekunden"),
        (60, "m min mins minute minutes minuten"),
        (3600, "h hr hrs hour hours std stunde stunden heure heures hora horas"),
        (86400, "d day days tag tage tagen jour jours día días dia dias giorni dagen"),
        (604800, "w wk week weeks woche wochen"),
        (30 * 86400, "mo mon mth month months monat monate monaten mois mes meses mesi"),
        (365 * 86400, "y yr yrs year years jahr jahre jahren an ans año años anni jaar a"),
    )
    for word in words.split()
}
# Behind a separator, in brackets, or with a capital as in `ttlSeconds`.
UNIT_IN_HEADER = re.compile(r"(?:[\s_\-.(\[]+|(?<=[a-z])(?=[A-Z]))([^\W\d_]+)[)\]]?$")
MAX_DURATION = timedelta(days=365 * 100)

TWO_WAYS = gettext_noop(
    "This can be read two ways. Choose the order of day and month, or write 2027-12-31."
)
NO_MOMENT = gettext_noop("This is not a date or time. Write 2027-12-31 or 2027-12-31T23:59:00Z.")
OTHER_ORDER = gettext_noop(
    "There is no such month. The order of day and month is another one here."
)
NUMBER_OF_A_DAY = gettext_noop(
    "This is a spreadsheet's number of a day. Format the column as a date."
)
OUT_OF_RANGE = gettext_noop("No moment between 1990 and 2200 is this number, in whatever unit.")


def parse_moment(cell: str, *, day_order: DayOrder, time_zone: ZoneInfo) -> str:
    """Return the moment as ISO 8601 in UTC; "" for blank cells and words for never.

    A day means its first moment in the time zone, as does a time without an offset. Numbers are
    seconds since 1970, or thousandths, millionths or billionths of them; 0 and -1 mean never.
    Raises InvalidCell.
    """
    value = strip_invisible_ends(cell)
    if not value or value.lower() in NEVER_WORDS:
        return ""
    compact = COMPACT_DAY.fullmatch(value)
    if UNIX_NUMBER.fullmatch(value) and not compact:
        return _of_unix_number(value)
    if compact:
        year, month, day, *clock, zone = compact.groups(default="")
        value = f"{year}-{month}-{day}" + (f"T{':'.join(clock)}{zone}" if clock[0] else "")
    try:
        moment = _parts_of(value, day_order)
        if moment.replace(tzinfo=moment.tzinfo or UTC) in ZERO_MOMENTS:
            return ""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=time_zone)
        return moment.astimezone(UTC).isoformat()
    except (ValueError, OverflowError) as error:
        if isinstance(error, InvalidCell):
            raise
        raise InvalidCell(NO_MOMENT) from None


def unit_in_header(header: str) -> str:
    """Return the unit of time that the name of a column ends with, or ""."""
    found = UNIT_IN_HEADER.search(header)
    unit = found[1].lower() if found else ""
    return unit if unit in SECONDS_PER_UNIT else ""


def without_unit(header: str) -> str:
    """Return the name of a column without the unit of time that it ends with."""
    return UNIT_IN_HEADER.sub("", header) if unit_in_header(header) else header


def is_time_zone(name: str) -> bool:
    """Return True if moments without an offset can be read in the time zone of this name."""
    return name in _time_zones()


@cache
def _time_zones() -> set[str]:
    # Each call opens some 600 files.
    return available_timezones()


def parse_duration(cell: str, *, unit: str = "s") -> str:
    """Return whole seconds; "" for blank cells, 0, -1 and words for never.

    `unit`: of a number that stands alone. A month has 30 days, a year 365. Raises InvalidCell.
    """
    value = strip_invisible_ends(cell)
    if not value or value.lower() in NEVER_WORDS or value in {"0", "-1"}:
        return ""
    parts = _parts_of_duration(value, unit)
    if not parts or any(name not in SECONDS_PER_UNIT for _, name in parts):
        raise InvalidCell(
            gettext_noop("This is not a duration. Write seconds, or such as 30d or 12h.")
        )
    seconds = sum(number * SECONDS_PER_UNIT[name] for number, name in parts)
    if seconds > MAX_DURATION.total_seconds():
        raise InvalidCell(gettext_noop("At most 100 years are allowed."))
    return str(int(seconds))


def _parts_of_duration(value: str, unit: str) -> list[tuple[float, str]]:
    """Return numbers with their units; [] if the text is no duration."""
    if found := CLOCK_DURATION.fullmatch(value):
        return [*zip(map(float, found.groups()), ("h", "m", "s"), strict=True)]
    if value[:1] in {"P", "p"} and (found := ISO_DURATION.fullmatch(value)):
        numbers = zip(found.groups(), ISO_DURATION_UNITS, strict=True)
        return [(float(number), name) for number, name in numbers if number]
    parts, at = [], 0
    while at < len(value):
        # One part after the other: one expression for all would try every way to split digits.
        found = DURATION_PART.match(value, at)
        if not found:
            return []
        parts.append((float(found[1].replace(",", ".")), found[2].lower()))
        at = found.end()
    # Of several numbers, each needs its unit.
    return [(number, name or unit) for number, name in parts] if len(parts) == 1 else parts


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
    raise InvalidCell(NUMBER_OF_A_DAY if DAY_OF_A_SPREADSHEET.fullmatch(value) else OUT_OF_RANGE)


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
        year = int(found[5]) + (2000 if len(found[5]) == len("27") else 0)
        return _with_time(year, MONTHS[name.lower()], int(day_text), found[6])
    if SHORT_YEAR.fullmatch(value):
        raise InvalidCell(gettext_noop("Write the year with four digits, such as 2027-12-31."))
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
    zone = zone.upper().removeprefix("UTC").removeprefix("GMT")
    return datetime.fromisoformat(f"{moment.isoformat()}{zone[:3]}:{zone[-2:]}")
