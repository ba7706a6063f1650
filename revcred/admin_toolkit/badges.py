from typing import Literal

from django.utils.html import format_html
from django.utils.safestring import SafeString

Tone = Literal["good", "warn", "bad", "over"]


def badge(text: str, tone: Tone) -> SafeString:
    return format_html('<span class="badge badge-{}">{}</span>', tone, text)
