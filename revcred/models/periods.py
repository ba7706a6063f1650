"""What is true from one moment until, but not including, another."""

from datetime import datetime, timedelta
from typing import ClassVar, Self, TypeVar

from django.contrib.postgres.fields import DateTimeRangeField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Func, Q


class TsTzRange(Func):
    function = "TSTZRANGE"
    output_field = DateTimeRangeField()


ACTIVE_PERIOD = TsTzRange("active_from", "active_until")


# A moment without a fraction stands for its whole second: it may have been any moment of it.
REST_OF_SECOND = timedelta(microseconds=999_999)

DatedModelT = TypeVar("DatedModelT", bound="DatedModel")


def last_possible_moment(moment: datetime) -> datetime:
    """Return the last moment that `moment` may stand for, as some logs say whole seconds only."""
    return moment if moment.microsecond else moment + REST_OF_SECOND


def start_of_second(moment: datetime) -> datetime:
    """Return the beginning of its second: what is said in whole seconds is judged from there on."""
    return moment.replace(microsecond=0)


class DatedQuerySet(models.QuerySet[DatedModelT]):
    def at(self, moment: datetime) -> Self:
        return self.filter(active_from__lte=moment).exclude(active_until__lte=moment)

    def not_ended_at(self, moment: datetime) -> Self:
        """What holds now or will."""
        return self.exclude(active_until__lte=moment)


class DatedModel(models.Model):
    active_from = models.DateTimeField("from")
    active_until = models.DateTimeField(
        "until", null=True, blank=True, help_text="Not included. Empty: open-ended."
    )

    class Meta:
        abstract = True
        constraints: ClassVar[tuple[models.BaseConstraint, ...]] = (
            models.CheckConstraint(
                name="%(class)s_ends_after_it_starts",
                condition=Q(active_until=None) | Q(active_until__gt=F("active_from")),
                violation_error_message="The end has to be after the start.",
            ),
        )

    def clean(self) -> None:
        """Say so before constraints are looked at: for PostgreSQL it would be no period."""
        super().clean()
        starts: datetime | None = self.active_from  # missing where it was typed wrong
        ends = self.active_until
        if starts and ends and ends <= starts:
            raise ValidationError({"active_until": "The end has to be after the start."})

    def is_active_at(self, moment: datetime) -> bool:
        return self.active_from <= moment and (
            self.active_until is None or moment < self.active_until
        )

    def holds_within(self, first: datetime, last: datetime) -> bool:
        """Return True if it holds at any moment from `first` to `last`, both included."""
        return self.active_from <= last and (
            self.active_until is None or max(first, self.active_from) < self.active_until
        )

    def outlasts(self, moment: datetime) -> bool:
        return self.active_until is None or moment < self.active_until
