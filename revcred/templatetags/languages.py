"""Labels and titles, in the language of the page or mail."""

from django import template

from revcred.languages import within_sentence

register = template.Library()

register.filter(within_sentence)


@register.filter(is_safe=True)
def one_line(text: str) -> str:
    """Return a text without line breaks, and with one space where there are several."""
    return " ".join(text.split())
