"""Template filters for pages of uploads and for histories."""

from datetime import datetime, timedelta
from typing import Any

from django import template

from revcred.time_zones import moment_text

register = template.Library()


@register.filter
def shown_value(value: Any) -> str:
    """Return a row's value as text. True stands for a secret, which is never shown."""
    if value is True:
        return "sealed"
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
