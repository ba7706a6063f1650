"""Moments as people read them: in the time zone of whoever looks at the page.

`PageTimeZoneMiddleware` makes the zone of the signed-in person Django's current one. Whatever is
kept, sent or exported stays in UTC.
"""

from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.utils import timezone
from django.utils.translation import gettext

MAX_ZONE_CHARACTERS = 64


class PageTimeZone(ZoneInfo):
    """A zone that leaves the first and the last hours of all as they are in UTC.

    `9999-12-31 23:59:59` is what some systems give as the end of what has none.
    """

    def fromutc(self, moment: datetime, /) -> datetime:
        try:
            return super().fromutc(moment)
        except OverflowError:
            return moment


@cache
def time_zone_names() -> tuple[str, ...]:
    """Return the names that people may choose: UTC, and every region's."""
    regions = {name for name in available_timezones() if "/" in name}
    return ("UTC", *sorted(name for name in regions if not name.startswith(("Etc/", "SystemV/"))))


def time_zone_of(user: Any) -> tzinfo:
    """Return the zone that a user has chosen, or UTC."""
    name = getattr(user, "time_zone", "")
    if not name:
        return UTC
    try:
        return PageTimeZone(name)
    except (ZoneInfoNotFoundError, ValueError):  # of a system that knew more zones
        return UTC


def moment_text(moment: datetime | None, *, seconds: bool = False) -> str:
    """Return a moment in the current zone, such as `2026-11-30 14:00`; nothing for None."""
    if moment is None:
        return ""
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M:%S}" if seconds else f"{local:%Y-%m-%d %H:%M}"


def moment_with_zone(moment: datetime | None, *, seconds: bool = False) -> str:
    """Return a moment with the current zone's name, such as `2026-11-30 14:00 CET`."""
    if moment is None:
        return ""
    return f"{moment_text(moment, seconds=seconds)} {timezone.localtime(moment):%Z}"


def day_text(moment: datetime) -> str:
    """Return the day of a moment in the current zone, such as `2026-11-30`."""
    return f"{timezone.localtime(moment):%Y-%m-%d}"


def current_zone_in_words() -> str:
    """Return the current zone, such as `UTC` or `Europe/Berlin (UTC+01:00 now)`."""
    name = timezone.get_current_timezone_name()
    if name == "UTC":
        return name
    offset = f"{timezone.localtime():%z}"
    return gettext("%(zone)s (UTC%(offset)s now)") % {
        "zone": name,
        "offset": f"{offset[:3]}:{offset[3:5]}",
    }
