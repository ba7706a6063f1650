from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from storefront.templatetags import wording
from storefront.templatetags.wording import local_datetime, percent_of, plain_number, relative_time

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0, "0"),
        (1234567, "1,234,567"),
        (Decimal("1234567.500000000"), "1,234,567.5"),
        (Decimal("1E+3"), "1,000"),
        (
            Decimal("12345678901234567890123456789.000000001"),
            "12,345,678,901,234,567,890,123,456,789.000000001",
        ),
        (Decimal("-2.000"), "-2"),
        (98.8, "98.8"),
        (1e-7, "0.0000001"),
        (100, "100"),
        (None, "\N{EN DASH}"),
    ],
)
def test_numbers_are_written_whole_and_without_idle_zeros(value, said):
    assert plain_number(value) == said


def test_percent_is_not_full_before_it_is():
    assert [percent_of(part, 1000) for part in (0, 999, 1000, 1500)] == [0, 99, 100, 150]
    assert percent_of(5, 0) == 0


def test_moments_are_written_in_utc():
    assert local_datetime(NOON.astimezone(tz=None)) == (
        '<time datetime="2026-01-15T12:00:00+00:00" title="15 January 2026, 12:00:00 UTC">'
        "15 Jan 2026, 12:00</time>"
    )


@pytest.mark.parametrize(
    ("away", "said"),
    [
        (timedelta(seconds=-20), "just now"),
        (timedelta(hours=-3), "3\xa0hours ago"),
        (timedelta(days=2), "in 2\xa0days"),
    ],
)
def test_distances_are_written_as_people_say_them(away, said):
    assert f">{said}</time>" in relative_time(NOON + away, NOON)


def test_what_never_was_says_so():
    assert relative_time(None, NOON) == "never"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("checkout", "checkout"),
        ("\u202eevil", "evil"),
        ("a\u2066b\u2069c", "abc"),
        ("עברית", "עברית"),
        ("e\u0301", "é"),
        ("Z" + "\u0335" * 40, "Z" + "\u0335" * 3),
        ("tiếng Việt", "tiếng Việt"),
    ],
)
def test_a_name_turns_nothing_around_and_piles_nothing_up(name, shown):
    assert wording.shown_name(name) == shown
