from datetime import UTC, date, datetime

import pytest

from storefront.windows import MAX_DAYS, CalendarSpan, DateRange, Step

THURSDAY = date(2026, 1, 15)


@pytest.mark.parametrize(
    ("span", "start", "end", "said", "parts"),
    [
        (CalendarSpan.DAY, (2026, 1, 15), (2026, 1, 16), "15 January 2026", 24),
        (CalendarSpan.WEEK, (2026, 1, 12), (2026, 1, 19), "12 to 18 January 2026", 7),
        (CalendarSpan.MONTH, (2026, 1, 1), (2026, 2, 1), "January 2026", 31),
        (CalendarSpan.YEAR, (2026, 1, 1), (2027, 1, 1), "2026", 12),
    ],
)
def test_a_window_holds_its_day(span, start, end, said, parts):
    window = DateRange.holding(THURSDAY, span)

    assert window.start == datetime(*start, tzinfo=UTC)
    assert window.end == datetime(*end, tzinfo=UTC)
    assert str(window) == said
    assert len(window.starts) == parts
    assert window.starts[0] == window.start
    assert window.ends == [*window.starts[1:], window.end]


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
    assert DateRange.holding(date(2028, 2, 1), CalendarSpan.DAY).step is Step.HOUR


@pytest.mark.parametrize(
    ("first", "last", "step", "taken", "bars"),
    [
        (date(2026, 1, 15), date(2026, 1, 16), None, Step.HOUR, 48),
        (date(2026, 1, 15), date(2026, 1, 17), None, Step.DAY, 3),
        (date(2026, 1, 15), date(2026, 6, 1), None, Step.MONTH, 6),
        (date(2026, 1, 15), date(2026, 6, 1), Step.DAY, Step.DAY, 138),
        # Bars that would be too narrow become wider ones.
        (date(2026, 1, 15), date(2026, 6, 1), Step.HOUR, Step.DAY, 138),
        (date(2024, 1, 1), date(2026, 6, 1), Step.HOUR, Step.MONTH, 30),
    ],
)
def test_any_days_have_a_step_that_can_be_drawn(first, last, step, taken, bars):
    window = DateRange.between(first, last, step)

    assert (window.first, window.last, window.step) == (first, last, taken)
    assert len(window.starts) == bars


def test_days_that_are_a_calendar_s_are_named_so():
    assert str(DateRange.between(date(2026, 2, 1), date(2026, 2, 28))) == "February 2026"
    assert str(DateRange.between(date(2026, 2, 2), date(2026, 2, 28))) == "2 to 28 February 2026"
    assert DateRange.between(date(2026, 2, 28), date(2026, 2, 2)).first == date(2026, 2, 2)
    assert DateRange.between(date(2000, 1, 1), date(2199, 1, 1)).days == MAX_DAYS


@pytest.mark.parametrize(
    ("first", "last", "before", "after"),
    [
        # Whole months go on by months, whatever their lengths.
        (
            (2026, 2, 1),
            (2026, 3, 31),
            ((2025, 12, 1), (2026, 1, 31)),
            ((2026, 4, 1), (2026, 5, 31)),
        ),
        ((2026, 2, 1), (2026, 2, 28), ((2026, 1, 1), (2026, 1, 31)), ((2026, 3, 1), (2026, 3, 31))),
        ((2026, 2, 3), (2026, 2, 5), ((2026, 1, 31), (2026, 2, 2)), ((2026, 2, 6), (2026, 2, 8))),
    ],
)
def test_the_range_before_is_as_long(first, last, before, after):
    window = DateRange.between(date(*first), date(*last), Step.DAY)

    for beside, days in ((window.before, before), (window.after, after)):
        assert (beside.first, beside.last) == (date(*days[0]), date(*days[1]))
        assert beside.step is window.step
