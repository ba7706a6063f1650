"""Every text of the storefront and of mails has a German one, and the catalogue is compiled."""

import io
import re
from functools import cache
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[1]
GERMAN = ROOT / "locale/de/LC_MESSAGES/django.po"
# As in the Makefile; None: a text alone.
KEYWORDS = {
    **dict.fromkeys(("_", "gettext", "gettext_noop", "gettext_lazy")),
    "ngettext": (1, 2),
    "pgettext": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w+\}")
TAG = re.compile(r"</?\w+|href=\"[^\"]*\"")

# What only staff reads, and what is shown in development alone.
ENGLISH_TEMPLATES = re.compile(
    r"templates/(admin|drf_spectacular)/|styleguide\.html$"
    r"|emails/(credential_requested|staff_invitation|token_issued|tokens_revoked)_"
)
NO_TEXT = re.compile(
    r"\{% blocktranslate.*?\{% endblocktranslate %\}|\{% block shape %\}.*?\{% endblock %\}"
    r"|\{#.*?#\}|<script\b.*?</script>|<code\b.*?</code>|\{%.*?%\}|\{\{.*?\}\}",
    re.DOTALL,
)
SPOKEN_ATTRIBUTE = re.compile(
    r'\s(?:aria-label|title|placeholder|alt|data-label|data-text)="([^"]*)"'
)
WORD = re.compile(r"[^\W\d_]{2,}")
# Names, and what is the same in every language.
NOT_TRANSLATED = {"revcred", "ms", "UTC"}


@cache
def catalogue():
    with GERMAN.open("rb") as file:
        return read_po(file, locale="de")


@cache
def extracted():
    with (ROOT / "deploy/babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)
    found = Catalog()
    for path, line, text, comments, context in extract_from_dir(
        ROOT, methods, options, keywords=KEYWORDS
    ):
        found.add(text, None, [(path, line)], auto_comments=comments, context=context)
    return found


def texts_of(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def test_every_text_has_a_german_one():
    german = catalogue()
    lacking = [
        f"{message.locations[0][0]}: {message.id}"
        for message in extracted()
        if message.id
        and not ((found := german.get(message.id, message.context)) and all(texts_of(found.string)))
    ]

    assert not lacking, "`make translations` adds these to locale/; write the German beside them"


def test_no_german_text_is_a_guess_or_left_over():
    wanted = extracted()

    assert [message.id for message in catalogue() if message.id and message.fuzzy] == []
    assert [
        message.id
        for message in catalogue()
        if message.id and not wanted.get(message.id, message.context)
    ] == []


def test_placeholders_and_tags_are_those_of_the_english_text():
    def parts(text):
        return sorted(PLACEHOLDER.findall(text)), sorted(TAG.findall(text))

    wrong = [
        message.id
        for message in catalogue()
        if message.id
        for german in texts_of(message.string)
        if parts(german) not in [parts(english) for english in texts_of(message.id)]
    ]

    assert wrong == []


def test_the_compiled_catalogue_is_up_to_date():
    compiled = io.BytesIO()
    write_mo(compiled, catalogue())

    assert compiled.getvalue() == GERMAN.with_suffix(".mo").read_bytes(), "run `make translations`"


@pytest.mark.parametrize(
    "path", [str(path.relative_to(ROOT)) for path in sorted((ROOT / "templates").rglob("*.*"))]
)
def test_visible_text_is_marked(path):
    if ENGLISH_TEMPLATES.search(path):
        return
    text = NO_TEXT.sub("", (ROOT / path).read_text())
    spoken = SPOKEN_ATTRIBUTE.findall(text)
    visible = re.sub(r"<[^<>]*>", " ", text)

    assert set(WORD.findall(" ".join([visible, *spoken]))) <= NOT_TRANSLATED
