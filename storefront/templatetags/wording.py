"""Template filters and tags by which pages write numbers and times."""

import re
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil

from revcred.models import Assignment, Credential
from storefront.figures import UsageChart
from storefront.listings import SubscriptionRow
from storefront.uncounted import UncountedGroup
from storefront.windows import DateRange, Step

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
MISSING_VALUE_TEXT = "\N{EN DASH}"


@register.filter
def plain_number(value: Decimal | float | None) -> str:
    """Write 1234567.500000000 as 1,234,567.5."""
    if value is None:
        return MISSING_VALUE_TEXT
    # By way of str, which gives a float's shortest form: 0.1 and not 0.1000000000000000055.
    text = f"{Decimal(str(value)):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@register.filter
def shown_name(name: Any) -> str:
    """Return a name without characters that turn the text around, and with few marks on each.

    Marks beyond MAX_MARKS_IN_A_ROW would run into the lines above and below.
    """
    text = unicodedata.normalize("NFC", str(name)).translate(TURNING_CHARACTERS)
    return PILED_MARKS.sub(lambda found: found[0][:MAX_MARKS_IN_A_ROW], text)


@register.simple_tag
def utc_datetime(at: datetime | None, otherwise: str = MISSING_VALUE_TEXT) -> SafeString | str:
    """Write date and time, in UTC."""
    return _time_element(at, date_format(at.astimezone(UTC), "j M Y, H:i")) if at else otherwise


@register.simple_tag
def utc_seconds(at: datetime) -> SafeString:
    """Write date and time with seconds, in UTC."""
    return _time_element(at, date_format(at.astimezone(UTC), "j M Y, H:i:s"))


@register.simple_tag
def utc_date(at: datetime | None, otherwise: str = MISSING_VALUE_TEXT) -> SafeString | str:
    """Write the date, in UTC, with the time as tooltip."""
    return _time_element(at, date_format(at.astimezone(UTC), "j M Y")) if at else otherwise


@register.simple_tag
def relative_time(at: datetime | None, now: datetime, otherwise: str = "never") -> SafeString | str:
    """Write how long ago a moment was, or in how long it will be."""
    if at is None:
        return otherwise
    if at > now:
        return _time_element(at, f"in {timeuntil(at, now, depth=1)}")
    ago = timesince(at, now, depth=1)
    return _time_element(at, "just now" if ago.startswith("0") else f"{ago} ago")


@register.simple_tag
def state_badge(credential: Credential, at: datetime) -> SafeString:
    """Write the state of a credential listed `with_suspended` and `with_charged`."""
    suspended: bool = credential.suspended  # type: ignore[attr-defined]
    current = credential.state_at(at, suspended=suspended)
    charged: bool = credential.charged  # type: ignore[attr-defined]
    if current is Credential.State.ACTIVE and not charged:
        return mark_safe('<span class="state uncharged">Active, but charged to nothing</span>')
    return format_html('<span class="state {}">{}</span>', current.value, current.label)


@register.simple_tag
def uncounted_sentence(group: UncountedGroup) -> SafeString:
    """Write how many calls are not counted, since when, and why."""
    is_one, number = group.calls == 1, plain_number(Decimal(group.calls))
    return format_html(
        "<b>{}</b> {} {} {} not counted: {}.",
        number,
        "call" if is_one else "calls",
        format_html("of {}" if is_one else "since {}", utc_date(group.first)),
        "was" if is_one else "were",
        group.because,
    )


@register.simple_tag
def assignment_end(assignment: Assignment, now: datetime) -> SafeString | str:
    """Write until when calls are charged: an assignment ends with its subscription, too."""
    subscription = assignment.subscription
    own_end, end = assignment.active_until, subscription.active_until
    if end is not None and (own_end is None or end <= own_end):
        text = "subscription ended {}" if end <= now else "subscription ends {}"
        return format_html(text, utc_date(end))
    if subscription.active_from > now:
        return format_html("subscription begins {}", utc_date(subscription.active_from))
    return utc_datetime(own_end, "open")


@register.simple_tag
def usage_step(start: datetime, window: DateRange) -> str:
    """Write which hour, day or month a bar of usage stands for."""
    if window.step is Step.MONTH:
        return date_format(start, "F Y")
    if window.step is Step.DAY:
        return date_format(start, "D j M Y" if window.days > DAYS_WITHOUT_YEAR else "D j M")
    return date_format(start, "H:i" if window.days == 1 else "D j M, H:i")


@register.simple_tag
def usage_change(figures: UsageChart) -> SafeString:
    """Write how usage compares with the range before, as far as both are over."""
    earlier = figures.earlier
    if earlier is None:
        return SafeString()
    step, percent = figures.window.step.value, earlier.change_percent
    if earlier.steps == len(figures.window.starts):
        compared = "All of it"
    else:
        compared = f"First {step}" if earlier.steps == 1 else f"First {earlier.steps} {step}s"
    if percent is None:
        return format_html(
            "There was no usage in the same part of {} to compare with.", earlier.window
        )
    if percent == 0:
        change = "about the same"
    else:
        change = f"{abs(percent):,} % {'more' if percent > 0 else 'less'}"
    return format_html(
        "{}: <b>{}</b>, compared with {} ({}, before {})",
        compared,
        change,
        earlier.window,
        plain_number(earlier.total_now),
        plain_number(earlier.total_before),
    )


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
        f"Calls of each hour, the latest last: {', '.join(map(str, amounts))}",
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
        ' aria-label="{} % of the quota used; {} % of the month is over">'
        '<rect class="rest" width="100" height="8" /><rect width="{}" height="8" />'
        '<rect class="mark" x="{}" width="1" height="8" /></svg>',
        " ahead" if is_ahead else "",
        percent_of(row.calls_this_month, quota),
        int(mark),
        used,
        mark,
    )


@register.simple_tag
def pace_sentence(row: SubscriptionRow) -> SafeString:
    """Write how this month compares with the one before, and where it will end at this pace."""
    parts = []
    if row.change_percent is not None:
        change = row.change_percent
        than = f"{abs(change):,} % {'more' if change > 0 else 'less'} than" if change else "as in"
        parts.append(f"{than} last month by then")
    if row.projected is not None and row.calls_this_month:
        parts.append(f"about {int(row.projected):,} at this pace")
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
        date_format(utc, "j F Y, H:i:s"),
        text,
    )
