"""A key is recognised by its fingerprint, and by nothing else that is kept of it."""

from uuid import UUID

import pytest

from revcred import fingerprints
from revcred.fingerprints import fingerprint, fingerprint_hex, hint


@pytest.fixture
def keyed(settings):
    """Exchanges what fingerprints are keyed with."""

    def exchange(key):
        settings.FINGERPRINT_KEY = key
        fingerprints._keyed_hashes.cache_clear()

    yield exchange
    fingerprints._keyed_hashes.cache_clear()


def test_it_is_the_same_for_ever(keyed):
    """HMAC-SHA256 as anybody may compute it: a change here would make every known key unknown."""
    keyed("a key of fingerprints")

    assert fingerprint("a key of a caller") == UUID("32fcc48f-ecf4-8723-6986-c1572d7ec719")


def test_two_values_differ():
    assert fingerprint("one") != fingerprint("two")


def test_a_label_keeps_the_same_value_apart():
    assert fingerprint("one", label="token") != fingerprint("one", label="key")


def test_a_label_and_a_value_cannot_run_into_each_other():
    assert fingerprint("bc", label="a") != fingerprint("c", label="ab")


def test_under_another_key_it_is_another(keyed):
    keyed("one")
    before = fingerprint("value")

    keyed("two")

    assert fingerprint("value") != before


def test_the_inbox_holds_it_as_digits():
    assert UUID(fingerprint_hex("value")) == fingerprint("value")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", ""), ("short-key", ""), ("x" * 7 + "abcd", ""), ("x" * 8 + "abcd", "abcd")],
)
def test_a_hint_gives_away_a_third_at_most(value, expected):
    assert hint(value) == expected
