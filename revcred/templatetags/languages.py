"""Labels and titles, in the language of the page or mail."""

from typing import Any

from django import template
from django.utils.translation import get_language, gettext

register = template.Library()


@register.filter
def within_sentence(label: Any) -> str:
    """Return a label, translated, as it stands in a sentence: English ones with a small letter.

    Other languages may begin nouns with a capital, so their labels stay as they are.
    """
    text = gettext(str(label))
    return text.lower() if (get_language() or "en") == "en" else text


@register.filter(is_safe=True)
def one_line(text: str) -> str:
    """Return a text without line breaks, and with one space where there are several."""
    return " ".join(text.split())
