"""Names of classes, modules, folders, templates and addresses use the words of the glossary."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from django.apps import apps
from django.urls import URLPattern, URLResolver, get_resolver

ROOT = Path(__file__).parents[1]
OURS = ("revcred", "metering", "storefront")
GLOSSARY_ROW = re.compile(r"^\| (?P<words>[^|]+) \| (?P<meaning>[^|]+) \| ?(?P<elsewhere>[^|]*)\|$")
# Words that revcred has done without since they were given up for one of the glossary.
GIVEN_UP = {
    "act": "action",
    "canary": "keyring check",
    "care": "cautious mode",
    "doorkeeper": "concurrency limiter",
    "half": "partial transaction",
    "halves": "partial transactions",
    "identity": "deduplication key",
    "joining": "pairing",
    "newcomer": "provisioning",
    "patience": "deadline",
    "refusal": "problem, rejection",
    "settlement": "attribution",
    "settle": "attribute, process",
    "tally": "intake stats",
    "tallies": "intake stats",
    "licence": "subscription",
    "license": "subscription",
    "asset": "source",
    "report": "transaction",
    "organisation": "customer",
}
# Terms of elsewhere that a name here may have, because it means what the reason says.
OTHER_MEANINGS = {
    "account": "a login, as allauth and operating systems call it",
    "alias": "a second external key of a credential",
    "client id": "revcred's own name at a company's provider, as OpenID Connect calls it",
    "api": "an interface of programs",
    "consumer": "Kong's word, in what reads its lists",
    "duplicate": "an equal row of a list, or what a database calls a unique violation",
    "failed": "a sign-in with a wrong password",
    "idempotency key": "the header of that name",
    "import": "what the agent does with files that are complete, and its command on the server",
    "invalid": "what cannot be read, in the names of errors",
    "link": "an address in a mail or on a page",
    "message": "what a page tells a person",
    "meter": "a part of the name of a client or its address",
    "metric": "what Prometheus reads, and OpenTelemetry's signal of that name",
    "plan": "what an upload will do with each row",
    "status": "an HTTP status",
    "staging": "the tables that hold a list before it is applied",
    "trace": "what is kept of a key to recognise it",
}


def words_in(name: str) -> str:
    """Return a name's words in lower case, each between blanks."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    return f" {' '.join(word.lower() for word in words)} "


def terms_of_elsewhere() -> dict[str, str]:
    """Return the terms that the glossary gives to other systems, each with ours."""
    rows = map(GLOSSARY_ROW.match, (ROOT / "docs/glossary.md").read_text().splitlines())
    return {
        term.strip().lower(): row["words"]
        for row in rows
        if row and row["words"] != "word"
        for term in row["elsewhere"].split(",")
        if term.strip()
    }


def names() -> Iterator[tuple[str, str]]:
    """Yield each name with where it stands."""
    for path in sorted(path for app in OURS for path in (ROOT / app).rglob("*.py")):
        place = str(path.relative_to(ROOT))
        if "migrations" in path.parts:
            continue
        yield from ((part, place) for part in Path(place).with_suffix("").parts[1:])
        tree = ast.walk(ast.parse(path.read_text()))
        yield from ((node.name, place) for node in tree if isinstance(node, ast.ClassDef))
    for path in (ROOT / "templates").rglob("*.html"):
        place = str(path.relative_to(ROOT))
        yield from ((part, place) for part in Path(place).with_suffix("").parts[1:])
    for app in OURS:
        for model in apps.get_app_config(app).get_models():
            yield from ((field.name, str(model)) for field in model._meta.get_fields())
    yield from url_names(get_resolver())


def url_names(resolver: URLResolver) -> Iterator[tuple[str, str]]:
    """Yield the names of our own addresses, without those that libraries bring."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            yield from url_names(pattern)
        elif isinstance(pattern, URLPattern) and pattern.name:
            module = getattr(pattern.callback, "__module__", "")
            if module.partition(".")[0] in OURS:
                yield pattern.name, str(pattern.pattern)


def found(terms) -> dict[str, set[tuple[str, str]]]:
    """Return for each of the terms the names that have it as a word, or in the plural."""
    hits: dict[str, set[tuple[str, str]]] = {}
    for name, place in names():
        words = words_in(name)
        for term in terms:
            if f" {term} " in words or f" {term}s " in words:
                hits.setdefault(term, set()).add((name, place))
    return hits


def test_no_name_has_another_systems_term_for_ours():
    assert len(terms_of_elsewhere()) > 60
    assert found(terms_of_elsewhere().keys() - OTHER_MEANINGS.keys()) == {}


def test_no_name_has_a_word_that_was_given_up():
    assert found(GIVEN_UP) == {}


def test_each_other_meaning_is_needed():
    assert found(OTHER_MEANINGS).keys() == OTHER_MEANINGS.keys()
