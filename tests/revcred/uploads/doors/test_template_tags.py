from datetime import timedelta

import pytest

from revcred.uploads.doors.template_tags import duration, shown_value, value_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "sealed"),
        (7, "7"),
        ("Orders", "Orders"),
        (["a", "b"], "a, b"),
        ({"team": "maps", "secret": True}, "team: maps, secret: sealed"),
        ("2026-01-01T00:00:00+00:00", "2026-01-01"),
        ("2026-01-01T02:30:00+02:00", "2026-01-01 00:30"),
        ("2026-01-01T02:30:00", "2026-01-01T02:30:00"),
    ],
)
def test_a_value_of_a_row_is_shown_as_text(value, shown):
    assert shown_value(value) == shown


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (12, "12 s"), (185, "3 min 5 s"), (3720, "1 h 2 min")],
)
def test_a_duration_is_said_in_words(seconds, words):
    assert duration(timedelta(seconds=seconds)) == words


def test_a_value_that_is_not_there_is_none():
    assert value_of({"name": "Orders"}, "name") == "Orders"
    assert value_of({}, "name") is value_of(None, "name") is None
