from datetime import UTC, datetime
from typing import Any

from django import template

from revcred.models import AuditEvent

register = template.Library()


@register.filter
def said(event: AuditEvent) -> list[tuple[str, str]]:
    """The details of an event as one reads them aloud."""
    return [(name.replace("_", " "), _aloud(value)) for name, value in event.details.items()]


def _aloud(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return str(value)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment.tzinfo else str(value)
