"""States in the words of other systems."""

import pytest

from revcred.uploads.invalid_cell import InvalidCell
from revcred.uploads.state_cells import (
    CredentialState,
    parse_state,
    parse_state_words,
    parse_switched_off,
    parse_withdrawn,
)


@pytest.mark.parametrize(
    ("cell", "state"),
    [
        *(("active", "active"), ("TRUE", "active"), ("live", "active"), ("Freigegeben", "active")),
        *(("APPROVED", "active"), ("ACCEPTED", "active"), ("1", "active"), ("", "")),
        *(("suspended", "suspended"), ("false", "suspended"), ("On hold", "suspended")),
        *(("pending", "suspended"), ("Gesperrt", "suspended"), ("inactive", "suspended")),
        *(("revoked", "revoked"), ("CLOSED", "revoked"), ("gekündigt", "revoked")),
        *(("expired", "expired"), ("abgelaufen", "expired")),
        *(("active|false", "suspended"), ("true, revoked", "revoked"), ("|active|", "active")),
    ],
)
def test_words_of_other_systems_are_states(cell, state):
    assert parse_state(cell, words={}) == state


def test_an_unknown_word_is_no_guess():
    with pytest.raises(InvalidCell, match="not known"):
        parse_state("ruht", words={})


def test_words_can_be_chosen():
    words = parse_state_words("ruht = suspended, Frei=active;  außer Betrieb = revoked,")

    assert [parse_state(each, words=words) for each in ("Ruht", "frei", "außer betrieb")] == [
        *(CredentialState.SUSPENDED, CredentialState.ACTIVE, CredentialState.REVOKED)
    ]


@pytest.mark.parametrize("text", ["ruht", "ruht = asleep", "= active"])
def test_only_pairs_of_words_and_states_can_be_chosen(text):
    with pytest.raises(InvalidCell):
        parse_state_words(text)


def test_yes_means_that_it_is_switched_off():
    assert [parse_switched_off(each) for each in ("true", "No", "", "ja")] == [
        *("suspended", "active", "", "suspended")
    ]
    with pytest.raises(InvalidCell):
        parse_switched_off("perhaps")


def test_a_moment_that_has_come_says_yes():
    assert [
        parse_withdrawn(each)
        for each in ("2026-01-01", "31.12.2199", "never", "", "0001-01-01T00:00:00Z", "yes", "0")
    ] == ["revoked", "active", "", "", "", "revoked", "active"]
    assert parse_switched_off("1700000000") == "suspended"
    assert [parse_withdrawn(each) for each in ("false|2026-01-01", "no|", "|")] == [
        *("revoked", "active", "")
    ]
    with pytest.raises(InvalidCell, match="nor a date"):
        parse_withdrawn("by Ada")
