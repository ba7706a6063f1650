"""Template filters for pages of uploads and for histories."""

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from revcred.texts import grouped
from revcred.time_zones import moment_text
from revcred.uploads.columns import KIND_LABELS, ListKind

register = template.Library()


@register.filter
def shown_value(value: Any) -> str:
    """Return a row's value as text. True stands for a secret, which is never shown."""
    if value is True:
        return gettext("sealed")
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown_value(item)}" for name, item in value.items())
    return "" if value is None else _moment_or_text(str(value))


def _moment_or_text(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    # Moments of plans always have an offset. What has none is text that only looks like a moment.
    if not moment.tzinfo:
        return value
    return moment_text(moment).removesuffix(" 00:00")  # a day was meant


@register.filter
def kind_label(kind: str) -> str:
    """Return what pages call a kind of list, such as `Customers`."""
    return gettext(KIND_LABELS[ListKind(kind)])


@register.filter
def counted_things(counts: dict[str, int]) -> SafeString:
    """Return what rows create besides, such as `2 customers, 1 subscription`, in bold."""
    return format_html_join(
        ", ", "<strong>{} {}</strong>", ((grouped(n), _noun(name, n)) for name, n in counts.items())
    )


def _noun(name: str, count: int) -> str:
    """Return the name of things of a plan, such as `customers`, or of one of them."""
    return gettext(name[:-1] if count == 1 else name)


@register.filter
def value_of(values: dict[str, Any] | None, name: str) -> Any:
    """Return the value with that name, or None. Templates cannot look up a variable name."""
    return (values or {}).get(name)


@register.filter
def duration(span: timedelta) -> str:
    """Return the time span in words, such as 0.4 s, 12 s, 3 min 5 s, 1 h 2 min."""
    seconds = span.total_seconds()
    if seconds < 10:  # noqa: PLR2004 - tenths matter only for short spans
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
