"""Date ranges of usage pages, in UTC: a calendar's day, week, month or year, or any days."""

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

from django.db.models import TextChoices
from django.utils.formats import date_format
from django.utils.translation import gettext

from revcred.texts import gettext_lazy

# More bars than these are too narrow to tell apart.
MAX_DAYS_BY_HOUR, MAX_DAYS_BY_DAY, MAX_DAYS = 31, 366, 3660
# In these many days, hours and days are told apart unless somebody chooses otherwise.
USUAL_DAYS_BY_HOUR, USUAL_DAYS_BY_DAY = 2, 92


class CalendarSpan(TextChoices):
    """The length of a date range."""

    DAY = "day", gettext_lazy("Day")
    WEEK = "week", gettext_lazy("Week")
    MONTH = "month", gettext_lazy("Month")
    YEAR = "year", gettext_lazy("Year")


class Step(TextChoices):
    """What one bar of a chart stands for."""

    HOUR = "hour", gettext_lazy("Hour")
    DAY = "day", gettext_lazy("Day")
    MONTH = "month", gettext_lazy("Month")


STEP_OF_SPAN = {
    CalendarSpan.DAY: Step.HOUR,
    CalendarSpan.WEEK: Step.DAY,
    CalendarSpan.MONTH: Step.DAY,
    CalendarSpan.YEAR: Step.MONTH,
}


@dataclass(frozen=True)
class DateRange:
    """Days from a first to a last one, and the step by which they are shown.

    `span`: set if they are a day, week, month or year of the calendar.
    """

    first: date
    last: date
    step: Step
    span: CalendarSpan | None = None

    @classmethod
    def holding(cls, day: date, span: CalendarSpan, step: Step | None = None) -> "DateRange":
        """Return the day, the week from Monday, the month or the year that contains the day."""
        match span:
            case CalendarSpan.DAY:
                first = last = day
            case CalendarSpan.WEEK:
                # ISO weeks begin on Monday, which is weekday 0.
                first = day - timedelta(days=day.weekday())
                last = first + timedelta(days=6)
            case CalendarSpan.MONTH:
                first, last = day.replace(day=1), _last_of_month(day)
            case CalendarSpan.YEAR:
                first, last = day.replace(month=1, day=1), day.replace(month=12, day=31)
        return cls(first, last, step or STEP_OF_SPAN[span], span)

    @classmethod
    def between(cls, first: date, last: date, step: Step | None = None) -> "DateRange":
        """Return the days from the first to the last, at most MAX_DAYS, the latest of them.

        `step`: None chooses one that suits; one that would make too many bars becomes longer.
        """
        first, last = min(first, last), max(first, last)
        first = max(first, last - timedelta(days=MAX_DAYS - 1))
        days = (last - first).days + 1
        if step is None:
            step = _step_for(days, USUAL_DAYS_BY_HOUR, USUAL_DAYS_BY_DAY)
        finest = _step_for(days, MAX_DAYS_BY_HOUR, MAX_DAYS_BY_DAY)
        steps = list(Step)
        step = steps[max(steps.index(step), steps.index(finest))]
        for span in CalendarSpan:
            of_calendar = cls.holding(first, span, step)
            if (of_calendar.first, of_calendar.last) == (first, last):
                return of_calendar
        return cls(first, last, step)

    @property
    def days(self) -> int:
        """Return the number of days."""
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """Return the first moment."""
        return _start_of_day(self.first)

    @property
    def end(self) -> datetime:
        """Return the first moment after the range."""
        return _start_of_day(self.following)

    @cached_property
    def starts(self) -> list[datetime]:
        """Return the beginning of each step. A first month begins before a range within it."""
        if self.step is Step.MONTH:
            return [_start_of_day(month) for month in _months(self.first, self.last)]
        step = timedelta(hours=1) if self.step is Step.HOUR else timedelta(days=1)
        return [self.start + n * step for n in range((self.end - self.start) // step)]

    @property
    def ends(self) -> list[datetime]:
        """Return the end of each step, which is the beginning of the next."""
        return [*self.starts[1:], self.end]

    def contains(self, day: date) -> bool:
        """Return True if the day lies in the range."""
        return self.first <= day <= self.last

    @property
    def previous(self) -> date:
        """Return the last day before the range."""
        return self.first - timedelta(days=1)

    @property
    def following(self) -> date:
        """Return the first day after the range."""
        return self.last + timedelta(days=1)

    @property
    def before(self) -> "DateRange":
        """Return the range before: as many months, if these are whole ones, or as many days."""
        if self.span:
            return DateRange.holding(self.previous, self.span, self.step)
        return self._beside(self.previous, -1)

    @property
    def after(self) -> "DateRange":
        """Return the range after: as many months, if these are whole ones, or as many days."""
        if self.span:
            return DateRange.holding(self.following, self.span, self.step)
        return self._beside(self.following, 1)

    def _beside(self, nearest: date, sign: int) -> "DateRange":
        """Return the neighbouring range that has `nearest` at the end that touches this one."""
        farthest = nearest + sign * timedelta(days=self.days - 1)
        if self.first.day == 1 and self.last == _last_of_month(self.last):
            months = len(list(_months(self.first, self.last)))
            farthest = _month_beside(nearest, sign * (months - 1))
            farthest = _last_of_month(farthest) if sign > 0 else farthest
        return DateRange(min(nearest, farthest), max(nearest, farthest), self.step)

    # The heading of the section, in the words of a calendar.
    def __str__(self) -> str:
        match self.span:
            case CalendarSpan.DAY:
                return date_format(self.first, "LONG_DAY")
            case CalendarSpan.MONTH:
                return date_format(self.first, "MONTH_AND_YEAR")
            case CalendarSpan.YEAR:
                return f"{self.first.year}"
            case _:
                return _days_in_words(self.first, self.last)


def _step_for(days: int, most_by_hour: int, most_by_day: int) -> Step:
    if days <= most_by_hour:
        return Step.HOUR
    return Step.DAY if days <= most_by_day else Step.MONTH


def _last_of_month(day: date) -> date:
    return day.replace(day=monthrange(day.year, day.month)[1])


def _month_beside(day: date, months: int) -> date:
    """Return the first day of the month that is so many months later than the day's."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, 1)


def _months(first: date, last: date) -> Iterator[date]:
    """Yield the first day of each month that the days touch."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = _month_beside(month, 1)


def _start_of_day(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days_in_words(first: date, last: date) -> str:
    if first.year != last.year:
        first_format = "LONG_DAY"
    else:
        same_month = first.month == last.month
        first_format = "LONG_DAY_OF_MONTH" if same_month else "LONG_DAY_WITHOUT_YEAR"
    return gettext("%(first)s to %(last)s") % {
        "first": date_format(first, first_format),
        "last": date_format(last, "LONG_DAY"),
    }
