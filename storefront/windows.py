"""Date ranges of usage pages: a calendar day, week, month or year, in UTC."""

from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

from django.db.models import TextChoices
from django.utils.formats import date_format


class CalendarSpan(TextChoices):
    """The length of a date range."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True)
class DateRange:
    """A day, week, month or year, as its first day and number of days."""

    span: CalendarSpan
    first: date
    days: int

    @classmethod
    def holding(cls, day: date, span: CalendarSpan) -> "DateRange":
        """Return the day, the week from Monday, the month or the year that contains the day."""
        match span:
            case CalendarSpan.DAY:
                return cls(span, day, 1)
            case CalendarSpan.WEEK:
                # ISO weeks begin on Monday, which is weekday 0.
                return cls(span, day - timedelta(days=day.weekday()), 7)
            case CalendarSpan.MONTH:
                return cls(span, day.replace(day=1), monthrange(day.year, day.month)[1])
            case CalendarSpan.YEAR:
                return cls(span, day.replace(month=1, day=1), 366 if isleap(day.year) else 365)

    @property
    def start(self) -> datetime:
        """Return the first moment."""
        return _start_of_day(self.first)

    @property
    def end(self) -> datetime:
        """Return the first moment after the range."""
        return _start_of_day(self.first + timedelta(days=self.days))

    @property
    def step(self) -> timedelta:
        """Return the length of one bar of the chart."""
        # Usage is summed up by hour, so an hour is the finest step there is.
        return timedelta(hours=1) if self.span is CalendarSpan.DAY else timedelta(days=1)

    @cached_property
    def starts(self) -> list[datetime]:
        """Return the beginning of each hour or day of the range."""
        return [self.start + n * self.step for n in range((self.end - self.start) // self.step)]

    def contains(self, day: date) -> bool:
        """Return True if the day lies in the range."""
        return self.first <= day < self.following

    @property
    def previous(self) -> date:
        """Return a day of the range before."""
        return self.first - timedelta(days=1)

    @property
    def following(self) -> date:
        """Return the first day of the next range."""
        return self.first + timedelta(days=self.days)

    # The heading of the section, in the words of a calendar.
    def __str__(self) -> str:
        match self.span:
            case CalendarSpan.DAY:
                return date_format(self.first, "j F Y")
            case CalendarSpan.WEEK:
                return _days_in_words(self.first, self.first + timedelta(days=6))
            case CalendarSpan.MONTH:
                return date_format(self.first, "F Y")
            case CalendarSpan.YEAR:
                return f"{self.first.year}"


def _start_of_day(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _days_in_words(first: date, last: date) -> str:
    first_format = (
        "j" if first.month == last.month else "j F" if first.year == last.year else "j F Y"
    )
    return f"{date_format(first, first_format)} to {date_format(last, 'j F Y')}"
