from datetime import UTC, datetime, timedelta
from typing import Any

from django import template

register = template.Library()


@register.filter
def told(value: Any) -> str:
    """A value of a row as one reads it aloud. Of a secret it is only known that there is one."""
    if value is True:
        return "sealed"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {told(each)}" for name, each in value.items())
    return "" if value is None else _utc_moment_or_text(str(value))


def _utc_moment_or_text(value: str) -> str:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value
    if not moment.tzinfo:
        return value
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}".removesuffix(" 00:00")  # a day was meant


@register.filter
def of(values: dict[str, Any] | None, name: str) -> Any:
    """The value of that name, if there is one."""
    return (values or {}).get(name)


@register.filter
def lasting(span: timedelta) -> str:
    """How long, such as 0.4 s, 12 s, 3 min 5 s, 1 h 2 min."""
    seconds = span.total_seconds()
    if seconds < 10:  # noqa: PLR2004 - below it a tenth still says something
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if not minutes:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
