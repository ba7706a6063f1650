"""Sentences of the catalogues, to tell English ones on a page that should be German."""

import re
from functools import cache
from html import unescape
from pathlib import Path

from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[1]
CATALOGUES = [
    ROOT / folder / "de/LC_MESSAGES/django.po" for folder in ("locale", "metering/locale")
]
IN_GERMAN = {"HTTP_ACCEPT_LANGUAGE": "de-CH,de;q=0.9,en;q=0.5"}
NOT_SHOWN = re.compile(r"<script\b.*?</script>|<pre\b.*?</pre>|<[^>]*>", re.DOTALL)
SPOKEN = re.compile(r'\s(?:aria-label|title|placeholder|alt|data-[a-z-]+)="([^"]*)"')
PLACES = re.compile(r"%\(\w+\)[sd]|%%|\{\w+\}|<[^>]*>")


@cache
def english_texts() -> re.Pattern[str]:
    """Return what finds sentences and parts of sentences in English, of three words and more."""
    parts = set()
    for catalogue in CATALOGUES:
        with catalogue.open("rb") as file:
            messages = [message for message in read_po(file) if message.id]
        for message in messages:
            english = message.id if isinstance(message.id, tuple) else [message.id]
            german = " ".join(message.string) if isinstance(message.id, tuple) else message.string
            for part in (" ".join(part.split()) for text in english for part in PLACES.split(text)):
                if part.count(" ") >= 2 and part not in " ".join(german.split()):
                    parts.add(part)
    return re.compile("|".join(rf"\b{re.escape(part)}" for part in sorted(parts)))


def shown(answer) -> str:
    """Return what people read or hear of a page."""
    page = answer.content.decode()
    texts = [unescape(NOT_SHOWN.sub(" ", page)), *map(unescape, SPOKEN.findall(page))]
    return " ".join(" ".join(texts).split())
