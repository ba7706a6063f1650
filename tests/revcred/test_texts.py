"""Numbers with their nouns, in the language of the page, and texts that are kept."""

from django.utils.translation import gettext, override

from revcred.texts import kept_language, number_of


def test_a_number_has_its_noun_in_the_language_of_the_page():
    calls = ("%(count)s call", "%(count)s calls")

    assert number_of(1, *calls) == "1 call"
    assert number_of(2_000, *calls) == "2,000 calls"
    with override("de"):
        assert number_of(2_000, *calls) == "2.000 Aufrufe"


def test_what_is_kept_is_english():
    with override("de"), kept_language():
        assert gettext("Owner") == "Owner"
