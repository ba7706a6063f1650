"""The stretch of time a page of usage looks at: a calendar day, week, month or year, in UTC."""

from calendar import isleap, monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property

from django.db.models import TextChoices
from django.utils.formats import date_format


class CalendarSpan(TextChoices):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True)
class DateRange:
    span: CalendarSpan
    first: date
    days: int

    @classmethod
    def holding(cls, day: date, span: CalendarSpan) -> "DateRange":
        """The day, the week from Monday, or the month that the day lies in."""
        match span:
            case CalendarSpan.DAY:
                return cls(span, day, 1)
            case CalendarSpan.WEEK:
                return cls(span, day - timedelta(days=day.weekday()), 7)
            case CalendarSpan.MONTH:
                return cls(span, day.replace(day=1), monthrange(day.year, day.month)[1])
            case CalendarSpan.YEAR:
                return cls(span, day.replace(month=1, day=1), 366 if isleap(day.year) else 365)

    @property
    def start(self) -> datetime:
        return _start_of_day(self.first)

    @property
    def end(self) -> datetime:
        return _start_of_day(self.first + timedelta(days=self.days))

    @property
    def step(self) -> timedelta:
        return timedelta(hours=1) if self.span is CalendarSpan.DAY else timedelta(days=1)

    @cached_property
    def starts(self) -> list[datetime]:
        """Where each of its hours or days begins."""
        return [self.start + n * self.step for n in range((self.end - self.start) // self.step)]

    def contains(self, day: date) -> bool:
        return self.first <= day < self.following

    @property
    def previous(self) -> date:
        return self.first - timedelta(days=1)

    @property
    def following(self) -> date:
        return self.first + timedelta(days=self.days)

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
    said = "j" if first.month == last.month else "j F" if first.year == last.year else "j F Y"
    return f"{date_format(first, said)} to {date_format(last, 'j F Y')}"
