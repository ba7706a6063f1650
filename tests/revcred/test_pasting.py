"""A key is understood as people paste it."""

import pytest

from revcred.actions.credentials import generate_key
from revcred.pasting import extract_key, is_known_key, is_marked_as_key, looks_like_key
from tests.factories import a_credential

KEY = "aK3y-0f.harbour/9+x="
PASTED = [
    "{}",
    "  {}\n",
    '"{}"',
    "'{}'",
    "“{}”",
    "Bearer {}",
    "bearer {}",
    "Authorization: Bearer {}",
    "authorization: bearer {}",
    '-H "Authorization: Bearer {}"',
    "-H 'x-api-key: {}'",
    "x-api-key: {}",
    "X-API-Key={}",
    '"x-api-key": "{}",',
    "api_key={}",
    "apikey: {}",
    "Ocp-Apim-Subscription-Key: {}",
    "Authorization: ApiKey {}",
    "\t`{}`",
]
BARE = 5  # of these have nothing before the key


@pytest.mark.parametrize("line", PASTED)
def test_the_key_is_found_in_what_was_pasted(line):
    assert extract_key(line.format(KEY)) == KEY


@pytest.mark.parametrize("line", PASTED[BARE:-1])
def test_what_stands_before_it_says_that_it_is_one(line):
    assert is_marked_as_key(line.format(KEY))


def test_what_was_issued_here_says_so_itself():
    assert is_marked_as_key(generate_key())


@pytest.mark.parametrize("text", ["", " ", "Harbour", "ada@aviary.example", "Acme: north", "token"])
def test_names_are_no_keys(db, text):
    assert not is_marked_as_key(text)
    assert not is_known_key(text)
    assert not looks_like_key(text)


def test_a_known_one_is_a_key(db):
    assert not is_known_key(KEY)

    a_credential(key=KEY)

    assert is_known_key(f" '{KEY}'")
