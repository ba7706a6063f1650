"""Recipes for gateways name what revcred answers. `make gateways` runs them in real gateways."""

from pathlib import Path

import pytest

from conformance.gateways import cases, recipes
from metering.api.verification.answers import HEADERS

DOCS = (Path(__file__).parents[2] / "docs" / "gateways.md").read_text()
# Envoy and the Lua script have all that begin so.
ASKING_FILES = {
    "nginx.conf": "{}",
    "haproxy.cfg": "{}",
    "Caddyfile": "{}",
    "traefik-calls.yml": "{}",
    "revcred.lua": '"{}"',
}


@pytest.mark.parametrize("file", ASKING_FILES)
def test_a_recipe_passes_on_every_header(file):
    text = (recipes.RECIPES / file).read_text().lower()
    names = [name.lower() for name in HEADERS]
    if file == "revcred.lua":
        names = [name.removeprefix("x-revcred-") for name in names]

    assert [name for name in names if ASKING_FILES[file].format(name) not in text] == []


def test_the_cases_look_at_every_header():
    assert cases.HEADERS == HEADERS


@pytest.mark.parametrize("recipe", recipes.ALL, ids=lambda recipe: recipe.name)
def test_the_docs_link_each_file(recipe):
    assert [file for file in recipe.files if f"(../deploy/gateways/{file})" not in DOCS] == []


@pytest.mark.parametrize(
    "recipe", [each for each in recipes.ALL if each.asks], ids=lambda recipe: recipe.name
)
def test_the_head_of_a_recipe_says_how_it_lets_calls_through(recipe):
    text = (recipes.RECIPES / recipe.files[0]).read_text()
    opened = recipes.choose(text, fails_open=True)

    assert opened != text
    assert "#open" in text.partition("\n\n")[0]
    assert recipes.choose(text, fails_open=False) == text
