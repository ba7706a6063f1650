"""Every text that people read has a German one, and the catalogues are compiled."""

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
# The catalogues, and where each collects its texts from. That of metering comes with the app.
CATALOGUES = {
    "locale": ROOT / "deploy/babel.cfg",
    "metering/locale": ROOT / "deploy/babel-metering.cfg",
}
# As in the Makefile; None: a text alone.
KEYWORDS = {
    **dict.fromkeys(("_", "gettext", "gettext_noop", "gettext_lazy")),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    "number_of": (2, 3),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]|%%|\{\w+\}")
TAG = re.compile(r"</?\w+|href=\"[^\"]*\"")

# What only programmers read, and what is shown in development alone.
ENGLISH_TEMPLATES = re.compile(r"templates/drf_spectacular/|styleguide\.html$")
# What is not marked yet.
UNMARKED_TEMPLATES = re.compile(r"templates/admin/(metering/|includes/owner)")
NO_TEXT = re.compile(
    r"\{% blocktranslate.*?\{% endblocktranslate %\}"
    r"|\{% block (?:shape|bodyclass|coltype) %\}.*?\{% endblock %\}"
    r"|\{#.*?#\}|<script\b.*?</script>|<code\b.*?</code>|\{%.*?%\}|\{\{.*?\}\}",
    re.DOTALL,
)
SPOKEN_ATTRIBUTE = re.compile(
    r'\s(?:aria-label|title|placeholder|alt|data-label|data-text)="([^"]*)"'
)
WORD = re.compile(r"[^\W\d_]{2,}")
# Names, and what is the same in every language.
NOT_TRANSLATED = {"revcred", "Redis", "ms", "UTC"}


def path_of(name):
    return ROOT / name / "de/LC_MESSAGES/django.po"


@cache
def catalogue(name):
    with path_of(name).open("rb") as file:
        return read_po(file, locale="de")


@cache
def extracted(name):
    with CATALOGUES[name].open() as file:
        methods, options = parse_mapping_cfg(file)
    found = Catalog()
    for path, line, text, comments, context in extract_from_dir(
        ROOT, methods, options, keywords=KEYWORDS
    ):
        found.add(text, None, [(path, line)], auto_comments=comments, context=context)
    return found


def texts_of(value):
    return list(value) if isinstance(value, list | tuple) else [value]


@pytest.fixture(params=CATALOGUES)
def name(request):
    return request.param


def test_every_text_has_a_german_one(name):
    german = catalogue(name)
    lacking = [
        f"{message.locations[0][0]}: {message.id}"
        for message in extracted(name)
        if message.id
        and not ((found := german.get(message.id, message.context)) and all(texts_of(found.string)))
    ]

    assert not lacking, (
        "`make translations` adds these to the catalogue; write the German beside them"
    )


def test_no_german_text_is_a_guess_or_left_over(name):
    wanted = extracted(name)

    assert [message.id for message in catalogue(name) if message.id and message.fuzzy] == []
    assert [
        message.id
        for message in catalogue(name)
        if message.id and not wanted.get(message.id, message.context)
    ] == []


def test_one_text_has_one_german_text():
    general, of_metering = map(catalogue, CATALOGUES)

    assert [
        message.id
        for message in of_metering
        if message.id
        and (other := general.get(message.id, message.context))
        and other.string != message.string
    ] == []


def test_placeholders_and_tags_are_those_of_the_english_text(name):
    def parts(text):
        return sorted(PLACEHOLDER.findall(text)), sorted(TAG.findall(text))

    wrong = [
        message.id
        for message in catalogue(name)
        if message.id
        for german in texts_of(message.string)
        if parts(german) not in [parts(english) for english in texts_of(message.id)]
    ]

    assert wrong == []


def test_the_compiled_catalogue_is_up_to_date(name):
    compiled = io.BytesIO()
    write_mo(compiled, catalogue(name))

    beside = path_of(name).with_suffix(".mo")
    assert compiled.getvalue() == beside.read_bytes(), "run `make translations`"


@pytest.mark.parametrize(
    "path", [str(path.relative_to(ROOT)) for path in sorted((ROOT / "templates").rglob("*.*"))]
)
def test_visible_text_is_marked(path):
    if ENGLISH_TEMPLATES.search(path) or UNMARKED_TEMPLATES.search(path):
        return
    text = NO_TEXT.sub("", (ROOT / path).read_text())
    spoken = SPOKEN_ATTRIBUTE.findall(text)
    visible = re.sub(r"<[^<>]*>", " ", text)

    assert set(WORD.findall(" ".join([visible, *spoken]))) <= NOT_TRANSLATED
