"""Coloured labels for states in admin lists."""

from typing import Literal

from django.utils.html import format_html
from django.utils.safestring import SafeString

BadgeTone = Literal["good", "warn", "bad", "over"]


def badge(text: str, tone: BadgeTone) -> SafeString:
    """Return a coloured label."""
    return format_html('<span class="badge badge-{}">{}</span>', tone, text)
