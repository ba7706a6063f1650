from datetime import UTC, date, datetime, timedelta

import pytest

from storefront.windows import CalendarSpan, DateRange

THURSDAY = date(2026, 1, 15)


@pytest.mark.parametrize(
    ("span", "start", "end", "said", "parts"),
    [
        (CalendarSpan.DAY, (2026, 1, 15), (2026, 1, 16), "15 January 2026", 24),
        (CalendarSpan.WEEK, (2026, 1, 12), (2026, 1, 19), "12 to 18 January 2026", 7),
        (CalendarSpan.MONTH, (2026, 1, 1), (2026, 2, 1), "January 2026", 31),
        (CalendarSpan.YEAR, (2026, 1, 1), (2027, 1, 1), "2026", 365),
    ],
)
def test_a_window_holds_its_day(span, start, end, said, parts):
    window = DateRange.holding(THURSDAY, span)

    assert window.start == datetime(*start, tzinfo=UTC)
    assert window.end == datetime(*end, tzinfo=UTC)
    assert str(window) == said
    assert len(window.starts) == parts
    assert window.starts[-1] + window.step == window.end


@pytest.mark.parametrize("span", list(CalendarSpan))
def test_windows_follow_each_other_without_a_gap(span):
    window = DateRange.holding(THURSDAY, span)

    assert DateRange.holding(window.following, span).start == window.end
    assert DateRange.holding(window.previous, span).end == window.start
    assert window.contains(THURSDAY)
    assert not window.contains(window.following)
    assert not window.contains(window.previous)


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (date(2026, 1, 29), "26 January to 1 February 2026"),
        (date(2025, 12, 31), "29 December 2025 to 4 January 2026"),
    ],
)
def test_a_week_names_what_it_crosses(day, said):
    assert str(DateRange.holding(day, CalendarSpan.WEEK)) == said


def test_february_of_a_leap_year():
    assert DateRange.holding(date(2028, 2, 29), CalendarSpan.MONTH).days == 29
    assert DateRange.holding(date(2028, 2, 29), CalendarSpan.MONTH).previous == date(2028, 1, 31)
    assert DateRange.holding(date(2028, 2, 1), CalendarSpan.DAY).step == timedelta(hours=1)
