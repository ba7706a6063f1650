"""Periods: what holds from one moment until, but not including, another.

The database compares them as ranges, so that overlaps are excluded by constraints.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, Self, TypeVar

from django.contrib.postgres.fields import DateTimeRangeField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q
from django.utils.translation import gettext

from revcred.texts import gettext_lazy


class TsTzRange(Func):
    """PostgreSQL's range of two columns, which constraints compare."""

    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


ACTIVE_PERIOD = TsTzRange("active_from", "active_until")


# A moment without a fraction may be any moment of its second.
REST_OF_SECOND = timedelta(microseconds=999_999)

DatedModelT = TypeVar("DatedModelT", bound="DatedModel")


def last_possible_moment(moment: datetime) -> datetime:
    """Return the last moment that `moment` may stand for: some logs have whole seconds only."""
    return moment if moment.microsecond else moment + REST_OF_SECOND


def start_of_second(moment: datetime) -> datetime:
    """Return the beginning of the second: a call in whole seconds is judged from there on."""
    return moment.replace(microsecond=0)


class DatedQuerySet(models.QuerySet[DatedModelT]):
    def at(self, moment: datetime) -> Self:
        """Return the rows whose period contains the moment."""
        # exclude() keeps rows without an end, which a comparison would drop.
        return self.filter(active_from__lte=moment).exclude(active_until__lte=moment)

    def not_ended_at(self, moment: datetime) -> Self:
        """Return the rows that hold at the moment or will hold later."""
        return self.exclude(active_until__lte=moment)


class Period:
    """From a moment until, but not including, another. `active_until`: None: open-ended."""

    active_from: datetime
    active_until: datetime | None

    def is_active_at(self, moment: datetime) -> bool:
        """Return True if the period contains the moment."""
        return self.active_from <= moment and self.outlasts(moment)

    def holds_within(self, first: datetime, last: datetime) -> bool:
        """Return True if it holds at any moment from `first` to `last`, both included."""
        return self.active_from <= last and (
            self.active_until is None or max(first, self.active_from) < self.active_until
        )

    def outlasts(self, moment: datetime) -> bool:
        """Return True if the period ends after the moment, or never."""
        return self.active_until is None or moment < self.active_until


@dataclass(frozen=True, slots=True)
class PlainPeriod(Period):
    """A period that is no row of a table."""

    active_from: datetime
    active_until: datetime | None = None


class DatedModel(Period, models.Model):
    """A row that holds during a period. `active_until`: None leaves it open-ended."""

    active_from = models.DateTimeField(gettext_lazy("from"))
    active_until = models.DateTimeField(
        gettext_lazy("until"),
        null=True,
        blank=True,
        help_text=gettext_lazy("Not included. Empty: open-ended."),
    )

    class Meta:
        abstract = True
        constraints: ClassVar[tuple[models.BaseConstraint, ...]] = (
            models.CheckConstraint(
                name="%(class)s_ends_after_it_starts",
                condition=Q(active_until=None) | Q(active_until__gt=F("active_from")),
                violation_error_message=gettext_lazy("The end has to be after the start."),
            ),
        )

    def clean(self) -> None:
        """Check the order of both ends before constraints are: PostgreSQL rejects such a range."""
        super().clean()
        starts: datetime | None = self.active_from  # missing where it was typed wrong
        ends = self.active_until
        if starts and ends and ends <= starts:
            raise ValidationError({"active_until": gettext("The end has to be after the start.")})
