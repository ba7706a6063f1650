"""Template filters and tags by which pages write numbers and times."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, gettext_noop, ngettext

from revcred.models import Assignment, Credential
from storefront.figures import UsageChart, UsageRow
from storefront.formatting import (
    MISSING_VALUE_TEXT,
    plain_number,
    short_day,
    short_moment,
    time_since,
    time_until,
)
from storefront.listings import SubscriptionRow
from storefront.uncounted import UncountedGroup
from storefront.windows import CalendarSpan, DateRange, Step

register = template.Library()

MAX_MARKS_IN_A_ROW = 3  # Vietnamese and Hebrew pile up two
# Marks, embeddings, overrides and isolates of the bidirectional algorithm.
TURNING_CHARACTERS = dict.fromkeys(
    [0x200E, 0x200F, 0x061C, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
)
PILED_MARKS = re.compile(
    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{4,}"
)
DAYS_WITHOUT_YEAR = 92

SERIES_CAPTIONS = {
    "credential": gettext_noop("By credential"),
    "subscription": gettext_noop("By subscription"),
    "gateway": gettext_noop("By gateway"),
    "element": gettext_noop("Series"),
}
TABLE_CAPTIONS = {
    "credential": gettext_noop("%(element)s by credential, %(range)s, in UTC"),
    "subscription": gettext_noop("%(element)s by subscription, %(range)s, in UTC"),
    "gateway": gettext_noop("%(element)s by gateway, %(range)s, in UTC"),
    "element": gettext_noop("%(element)s by element, %(range)s, in UTC"),
}
NAMES_OF_DAYS_BEFORE: dict[CalendarSpan | None, str] = {
    CalendarSpan.DAY: gettext_noop("The day before"),
    CalendarSpan.WEEK: gettext_noop("The week before"),
    CalendarSpan.MONTH: gettext_noop("The month before"),
    CalendarSpan.YEAR: gettext_noop("The year before"),
    None: gettext_noop("The days before"),
}
NAMES_OF_DAYS_AFTER: dict[CalendarSpan | None, str] = {
    CalendarSpan.DAY: gettext_noop("The day after"),
    CalendarSpan.WEEK: gettext_noop("The week after"),
    CalendarSpan.MONTH: gettext_noop("The month after"),
    CalendarSpan.YEAR: gettext_noop("The year after"),
    None: gettext_noop("The days after"),
}


register.filter(plain_number)


@register.filter
def shown_name(name: Any) -> str:
    """Return a name without characters that turn the text around, and with few marks on each.

    Marks beyond MAX_MARKS_IN_A_ROW would run into the lines above and below.
    """
    text = unicodedata.normalize("NFC", str(name)).translate(TURNING_CHARACTERS)
    return PILED_MARKS.sub(lambda found: found[0][:MAX_MARKS_IN_A_ROW], text)


@register.simple_tag
def zone_name() -> str:
    """Write the time zone of the page, such as `UTC` or `Europe/Berlin`."""
    return timezone.get_current_timezone_name()


@register.simple_tag
def local_datetime(at: datetime | None, otherwise: str = MISSING_VALUE_TEXT) -> SafeString | str:
    """Write date and time, in the time zone of the page."""
    return _time_element(at, short_moment(at)) if at else otherwise


@register.simple_tag
def local_seconds(at: datetime) -> SafeString:
    """Write date and time with seconds, in the time zone of the page."""
    return _time_element(at, date_format(timezone.localtime(at), "SHORT_MOMENT_SECONDS"))


@register.simple_tag
def local_date(at: datetime | None, otherwise: str = MISSING_VALUE_TEXT) -> SafeString | str:
    """Write the date, in the time zone of the page, with the time as tooltip."""
    return _time_element(at, short_day(at)) if at else otherwise


@register.simple_tag
def relative_time(at: datetime | None, now: datetime, otherwise: str = "") -> SafeString | str:
    """Write how long ago a moment was, or in how long it will be. `otherwise`: empty for never."""
    if at is None:
        return otherwise or gettext("never")
    if at > now:
        return _time_element(at, gettext("in %(time)s") % {"time": time_until(at, now)})
    ago = time_since(at, now)
    text = gettext("just now") if ago.startswith("0") else gettext("%(time)s ago") % {"time": ago}
    return _time_element(at, text)


@register.simple_tag
def state_badge(credential: Credential, at: datetime) -> SafeString:
    """Write the state of a credential listed `with_suspended` and `with_charged`."""
    suspended: bool = credential.suspended  # type: ignore[attr-defined]
    current = credential.state_at(at, suspended=suspended)
    charged: bool = credential.charged  # type: ignore[attr-defined]
    if current is Credential.State.ACTIVE and not charged:
        text = gettext("Active, but charged to nothing")
        return format_html('<span class="state uncharged">{}</span>', text)
    return format_html('<span class="state {}">{}</span>', current.value, current.label)


@register.simple_tag
def uncounted_sentence(group: UncountedGroup) -> SafeString:
    """Write how many calls are not counted, since when, and why."""
    sentence = ngettext(
        "<b>%(number)s</b> call of %(day)s was not counted: %(why)s.",
        "<b>%(number)s</b> calls since %(day)s were not counted: %(why)s.",
        group.calls,
    )
    parts = {
        "number": plain_number(group.calls),
        "day": local_date(group.first),
        "why": group.because,
    }
    return _filled(sentence, parts)


@register.simple_tag
def assignment_end(assignment: Assignment, now: datetime) -> SafeString | str:
    """Write until when calls are charged: an assignment ends with its subscription, too."""
    subscription = assignment.subscription
    own_end, end = assignment.active_until, subscription.active_until
    if end is not None and (own_end is None or end <= own_end):
        if end <= now:
            return _filled(gettext("subscription ended %(day)s"), {"day": local_date(end)})
        return _filled(gettext("subscription ends %(day)s"), {"day": local_date(end)})
    if subscription.active_from > now:
        begins = local_date(subscription.active_from)
        return _filled(gettext("subscription begins %(day)s"), {"day": begins})
    return local_datetime(own_end, gettext("open"))


@register.simple_tag
def usage_step(start: datetime, window: DateRange) -> str:
    """Write which hour, day or month a bar of usage stands for."""
    if window.step is Step.MONTH:
        return date_format(start, "MONTH_AND_YEAR")
    if window.step is Step.DAY:
        return date_format(
            start, "WEEKDAY_AND_YEAR" if window.days > DAYS_WITHOUT_YEAR else "WEEKDAY"
        )
    return date_format(start, "TIME_OF_DAY" if window.days == 1 else "WEEKDAY_AND_TIME")


@register.simple_tag
def so_far(row: UsageRow) -> SafeString:
    """Write that the hour, day or month of a row of figures is not over; nothing if it is."""
    if not row.is_unfinished:
        return SafeString()
    return format_html('<small class="inline">{}</small>', gettext(", so far"))


@register.simple_tag
def usage_change(figures: UsageChart) -> SafeString:
    """Write how usage compares with the range before, as far as both are over."""
    earlier = figures.earlier
    if earlier is None:
        return SafeString()
    percent = earlier.change_percent
    if percent is None:
        sentence = gettext("There was no usage in the same part of %(range)s to compare with.")
        return _filled(sentence, {"range": earlier.window})
    if percent == 0:
        change = gettext("about the same")
    elif percent > 0:
        change = gettext("%(percent)s %% more") % {"percent": plain_number(percent)}
    else:
        change = gettext("%(percent)s %% less") % {"percent": plain_number(-percent)}
    sentence = gettext(
        "%(part)s: <b>%(change)s</b>, compared with %(range)s (%(now)s, before %(before)s)"
    )
    return _filled(
        sentence,
        {
            "part": _compared_part(figures.window, earlier.steps),
            "change": change,
            "range": earlier.window,
            "now": plain_number(earlier.total_now),
            "before": plain_number(earlier.total_before),
        },
    )


def _compared_part(window: DateRange, steps: int) -> str:
    """Return the part of a range that is over, such as `All of it` or `First 3 days`."""
    if steps == len(window.starts):
        return gettext("All of it")
    match window.step:
        case Step.HOUR:
            text = ngettext("First hour", "First %(number)s hours", steps)
        case Step.DAY:
            text = ngettext("First day", "First %(number)s days", steps)
        case Step.MONTH:
            text = ngettext("First month", "First %(number)s months", steps)
    return text % {"number": steps}


@register.simple_tag
def bars_caption(window: DateRange) -> str:
    """Write what one bar of a chart stands for."""
    match window.step:
        case Step.HOUR:
            return gettext("· bars per hour, UTC")
        case Step.DAY:
            return gettext("· bars per day, UTC")
        case Step.MONTH:
            return gettext("· bars per month, UTC")


@register.simple_tag
def chart_description(figures: UsageChart) -> str:
    """Write what a chart shows, for people who do not see it."""
    match figures.window.step:
        case Step.HOUR:
            text = gettext("%(element)s per hour, %(range)s, as bars: %(total)s in all")
        case Step.DAY:
            text = gettext("%(element)s per day, %(range)s, as bars: %(total)s in all")
        case Step.MONTH:
            text = gettext("%(element)s per month, %(range)s, as bars: %(total)s in all")
    shown = text % {
        "element": figures.element,
        "range": figures.window,
        "total": plain_number(figures.total),
    }
    if figures.shows_uncounted and figures.uncounted:
        number = plain_number(figures.uncounted.total)
        shown += gettext(", and %(number)s not counted") % {"number": number}
    more = gettext("The arrow keys read the bars; the table below has the same figures.")
    return f"{shown}. {more}"


@register.simple_tag
def series_caption(party: str) -> str:
    """Write what the series of a chart are."""
    return gettext(SERIES_CAPTIONS[party])


@register.simple_tag
def table_caption(figures: UsageChart, party: str) -> str:
    """Write what the table below a chart has."""
    parts = {"element": figures.element, "range": figures.window}
    return gettext(TABLE_CAPTIONS[party]) % parts


@register.simple_tag
def days_before(window: DateRange) -> str:
    """Write where the arrow back leads."""
    return gettext(NAMES_OF_DAYS_BEFORE[window.span])


@register.simple_tag
def days_after(window: DateRange) -> str:
    """Write where the arrow forward leads."""
    return gettext(NAMES_OF_DAYS_AFTER[window.span])


@register.simple_tag
def hour_bars(amounts: list[int], most: int) -> SafeString:
    """Draw a bar for each hour. `most`: the amount of a bar of full height."""
    heights = [round(10 * amount / (most or 1), 2) for amount in amounts]
    bars = format_html_join(
        "",
        '<rect x="{}.15" y="{}" width="0.7" height="{}" />',
        ((left, round(10 - height, 2), height) for left, height in enumerate(heights)),
    )
    return format_html(
        '<svg class="spark" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>',
        len(amounts),
        gettext("Calls of each hour, the latest last: %(numbers)s")
        % {"numbers": ", ".join(map(str, amounts))},
        bars,
    )


@register.simple_tag
def quota_bar(row: SubscriptionRow) -> SafeString:
    """Draw this month's calls against the quota, with a mark where today's pace would be."""
    quota = row.subscription.quota
    if not quota:
        return SafeString()
    used = min(100.0, round(float(100 * row.calls_this_month / quota), 1))
    mark = round(100 * row.elapsed, 1)
    is_ahead = row.calls_this_month > quota or (row.projected or 0) > quota
    return format_html(
        '<svg class="quota-bar{}" viewBox="0 0 100 8" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">'
        '<rect class="rest" width="100" height="8" /><rect width="{}" height="8" />'
        '<rect class="mark" x="{}" width="1" height="8" /></svg>',
        " ahead" if is_ahead else "",
        gettext("%(used)s %% of the quota used; %(over)s %% of the month is over")
        % {"used": percent_of(row.calls_this_month, quota), "over": int(mark)},
        used,
        mark,
    )


@register.simple_tag
def pace_sentence(row: SubscriptionRow) -> SafeString:
    """Write how this month compares with the one before, and where it will end at this pace."""
    parts = []
    change = row.change_percent
    if change == 0:
        parts.append(gettext("as in last month by then"))
    elif change is not None:
        than = (
            gettext("%(percent)s %% more than last month by then")
            if change > 0
            else gettext("%(percent)s %% less than last month by then")
        )
        parts.append(than % {"percent": plain_number(abs(change))})
    if row.projected is not None and row.calls_this_month:
        number = plain_number(int(row.projected))
        parts.append(gettext("about %(number)s at this pace") % {"number": number})
    return format_html("<small>{}</small>", "; ".join(parts)) if parts else SafeString()


@register.filter
def percent_of(part: Any, whole: Any) -> int:
    """Return the percentage, rounded down, so that 100 means all of it."""
    return int(100 * part / whole) if whole else 0


def _time_element(at: datetime, text: str) -> SafeString:
    # The full time is in the tooltip, so that the page can be brief.
    utc = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        utc.isoformat(timespec="seconds"),
        date_format(utc, "LONG_MOMENT_SECONDS"),
        text,
    )


def _filled(sentence: str, parts: Mapping[str, Any]) -> SafeString:
    """Return a sentence of the catalogue, which may hold tags, with escaped parts."""
    return mark_safe(sentence % {name: conditional_escape(part) for name, part in parts.items()})  # noqa: S308 - the catalogue is ours
