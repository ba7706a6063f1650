"""Numbers, moments and durations as texts, in each language."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone, translation

from revcred.formats.de import formats as german_formats
from revcred.formats.en import formats as english_formats
from storefront.formatting import (
    moment_with_zone,
    plain_number,
    short_day,
    short_moment_with_zone,
    time_since,
    time_until,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("language", "number", "moment", "day", "ago"),
    [
        ("en", "1,234,567.5", "2026-03-01 13:00 CET", "1 Mar 2026", "3 days"),
        ("de", "1.234.567,5", "1. März 2026, 13:00 CET", "1. März 2026", "3 Tagen"),
    ],
)
def test_texts_are_in_the_language_and_zone_of_the_page(language, number, moment, day, ago):
    with translation.override(language), timezone.override("Europe/Berlin"):
        assert plain_number(Decimal("1234567.500")) == number
        assert moment_with_zone(NOON) == moment
        assert short_day(NOON) == day
        assert short_moment_with_zone(NOON) == f"{day}, 13:00 CET"
        assert time_since(NOON, NOON + timedelta(days=3)).replace("\xa0", " ") == ago
        assert time_until(NOON, NOON - timedelta(days=3)).replace("\xa0", " ") == ago


def test_each_format_that_has_a_name_is_in_every_language():
    names = {name for name in vars(english_formats) if name.isupper()}

    assert names <= {name for name in vars(german_formats) if name.isupper()}
