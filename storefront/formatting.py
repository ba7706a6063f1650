"""Numbers and moments as texts, in the language of the page and in the reader's time zone."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, get_format
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import npgettext_lazy

MISSING_VALUE_TEXT = "\N{EN DASH}"
# Django's own are in the nominative, which is wrong in German after “vor” and “in”.
# They are lazy, which timesince takes; its types know texts only.
DURATIONS: Any = {
    "year": npgettext_lazy("after “in” or before “ago”", "%(num)d year", "%(num)d years", "num"),
    "month": npgettext_lazy("after “in” or before “ago”", "%(num)d month", "%(num)d months", "num"),
    "week": npgettext_lazy("after “in” or before “ago”", "%(num)d week", "%(num)d weeks", "num"),
    "day": npgettext_lazy("after “in” or before “ago”", "%(num)d day", "%(num)d days", "num"),
    "hour": npgettext_lazy("after “in” or before “ago”", "%(num)d hour", "%(num)d hours", "num"),
    "minute": npgettext_lazy(
        "after “in” or before “ago”", "%(num)d minute", "%(num)d minutes", "num"
    ),
}


def plain_number(value: Decimal | float | None) -> str:
    """Write 1234567.500000000 as 1,234,567.5, or as the language of the page has it."""
    if value is None:
        return MISSING_VALUE_TEXT
    # By way of str, which gives a float's shortest form: 0.1 and not 0.1000000000000000055.
    text = f"{Decimal(str(value)):,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.translate(_marks())


def _marks() -> dict[int, str]:
    """Return what stands in the language for the marks of thousands and of decimals."""
    marks = {",": get_format("THOUSAND_SEPARATOR"), ".": get_format("DECIMAL_SEPARATOR")}
    return str.maketrans(marks)


def short_day(at: datetime) -> str:
    """Write the day, such as `30 Nov 2026`."""
    return date_format(timezone.localtime(at), "SHORT_DAY")


def short_moment(at: datetime) -> str:
    """Write day and time, such as `30 Nov 2026, 14:00`."""
    return date_format(timezone.localtime(at), "SHORT_MOMENT")


def short_moment_with_zone(at: datetime) -> str:
    """Write day and time with the zone, such as `30 Nov 2026, 14:00 UTC`."""
    return f"{short_moment(at)} {timezone.localtime(at):%Z}"


def moment_with_zone(at: datetime) -> str:
    """Write day and time with the zone, such as `2026-11-30 14:00 UTC`."""
    local = timezone.localtime(at)
    return f"{date_format(local, 'DATETIME_FORMAT')} {local:%Z}"


def time_since(at: datetime, now: datetime) -> str:
    """Write how long ago a moment was, such as `3 days`."""
    return timesince(at, now, time_strings=DURATIONS, depth=1)


def time_until(at: datetime, now: datetime) -> str:
    """Write in how long a moment will be, such as `3 days`."""
    return timeuntil(at, now, time_strings=DURATIONS, depth=1)
