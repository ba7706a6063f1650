"""Moments on pages, in the zone of whoever looks at them and with UTC as their title."""

from datetime import UTC, datetime
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html

from revcred.time_zones import current_zone_in_words, moment_text, moment_with_zone

register = template.Library()


@register.filter
def moment(value: Any, precision: str = "minutes") -> Any:
    """Return a moment to the minute, or to `seconds`; what is no moment becomes nothing."""
    return _shown(value, moment_text(value, seconds=precision == "seconds")) if value else ""


@register.filter
def moment_in_zone(value: Any, precision: str = "minutes") -> Any:
    """Return a moment with the name of the zone, for sentences."""
    return _shown(value, moment_with_zone(value, seconds=precision == "seconds")) if value else ""


@register.simple_tag
def zone_of_page() -> str:
    """Return the zone in which the page shows moments."""
    return current_zone_in_words()


def _shown(value: datetime, text: str) -> Any:
    """Return the text, with UTC as its title where the text is in another zone."""
    if timezone.get_current_timezone_name() == "UTC":
        return text
    utc = value.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        f"{utc:%Y-%m-%dT%H:%M:%SZ}",
        f"{utc:%Y-%m-%d %H:%M:%S}",
        text,
    )
