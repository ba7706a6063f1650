"""Filters of lists: fields of one form above a list, each with a parameter in the list's address.

Addresses can be shared. What is typed is posted first, so that no key gets into one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, tzinfo
from functools import cached_property
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.db import OperationalError, connection, models
from django.db.models import BooleanField, Exists, Func, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.transaction import atomic
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.utils.text import capfirst
from django.utils.translation import gettext
from psycopg.errors import QueryCanceled

from revcred.admin_toolkit.lists import parse_id
from revcred.admin_toolkit.pickers import row_picker
from revcred.languages import within_sentence
from revcred.postgresql.statement_timeouts import statement_timeout
from revcred.texts import gettext_lazy
from revcred.time_zones import day_text, moment_text, moment_with_zone

MAX_TYPED_CHARACTERS = 300
MAX_LOOK_MILLISECONDS = 1_000
COLUMNS_PARAMETER = "columns"
OLDER_PARAMETER = "older_than"
# Each is looked at by itself where no index serves a filter: a tenth of a second in all.
MAX_ROWS_LOOKED_AT = 10_000
YES, NO = "yes", "no"


class FieldFilter(admin.SimpleListFilter):
    """A filter of one parameter, shown as a field and, once it is set, in words."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[Any, str]]:
        return ()

    def has_output(self) -> bool:
        return True

    def value(self) -> str | None:
        """Return what the address has, without what PostgreSQL takes in no text; None if empty."""
        text = (super().value() or "").replace("\0", "").strip()[:MAX_TYPED_CHARACTERS]
        return text or None

    def form_field(self) -> forms.Field | None:
        """Return the field of the form; None if the user may not choose."""
        raise NotImplementedError

    def in_words(self) -> str:
        """Return the value as people read it."""
        return self.value() or ""

    def typed_value(self) -> str | None:
        """Return the value as people type it."""
        return self.value()

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset if self.value() is None else self.narrow_by_text(queryset)

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that the value asks for; none if it means nothing."""
        raise NotImplementedError


class ChoiceFilter(FieldFilter):
    """A filter with a few values, from `choices_of` or the subclass's own `lookups`."""

    choices_of: type[models.TextChoices] | None = None

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[Any, str]]:
        return [
            (value, capfirst(str(label)))
            for value, label in (self.choices_of.choices if self.choices_of else ())
        ]

    def form_field(self) -> forms.Field:
        choices = [("", gettext("Any")), *self.lookup_choices]
        return forms.ChoiceField(choices=choices, required=False)

    def in_words(self) -> str:
        labels = dict(self.lookup_choices)
        return within_sentence(labels.get(str(self.value()), gettext("none of the choices")))

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        is_known = self.value() in dict(self.lookup_choices)
        return self.narrow(queryset, str(self.value())) if is_known else queryset.none()

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        """Return the rows with the chosen value."""
        return queryset.filter(**{str(self.parameter_name): chosen})


class YesNoFilter(ChoiceFilter):
    """A filter by a condition: yes, or no."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[Any, str]]:
        return [(YES, gettext("Yes")), (NO, gettext("No"))]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        condition = self.condition(timezone.now())
        return queryset.filter(condition if chosen == YES else ~condition)

    def condition(self, now: datetime) -> Q | Exists:
        """Return what is true of the rows of “yes”."""
        raise NotImplementedError


class TextFilter(FieldFilter):
    """A filter by a typed text: rows whose field `lookup` has just this text."""

    lookup = ""
    placeholder = ""

    def form_field(self) -> forms.Field:
        attrs = {"placeholder": self.placeholder, "autocomplete": "off", "spellcheck": "false"}
        return forms.CharField(
            max_length=MAX_TYPED_CHARACTERS, required=False, widget=forms.TextInput(attrs)
        )

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return self.narrow(queryset, str(self.value()))

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        """Return the rows with the text."""
        return queryset.filter(**{self.lookup or str(self.parameter_name): text})

    def finds_any(self, rows: QuerySet[Any]) -> bool:
        """Return True if the filter finds one of the rows, as far as that is found out quickly."""
        try:
            with (
                atomic(),
                connection.cursor() as cursor,
                statement_timeout(cursor, MAX_LOOK_MILLISECONDS),
            ):
                return self.narrow_by_text(rows).exists()
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
            return False


class TagFilter(TextFilter):
    """Rows that have a tag, spelt just so."""

    title, parameter_name, lookup = gettext_lazy("tag"), "tag", "tags__contains"

    def narrow(self, queryset: QuerySet[Any], text: str) -> QuerySet[Any]:
        return queryset.filter(tags__contains=[text])


class MomentFilter(FieldFilter):
    """A filter by a day or moment: rows whose `lookup` compares to it.

    It is typed and shown in the page's zone. The address has it in UTC, so that it means the same
    to whoever gets the address.
    """

    lookup = ""

    def form_field(self) -> forms.Field:
        # As text: a browser's own field would show the moment in the form of its language.
        attrs = {"placeholder": gettext("2026-11-30 or 2026-11-30 14:00"), "autocomplete": "off"}
        return forms.CharField(max_length=40, required=False, widget=forms.TextInput(attrs))

    def moment(self) -> datetime | None:
        return parse_moment_in_address(self.value())

    def in_words(self) -> str:
        moment = self.moment()
        if moment is None:
            return gettext("“%(value)s”, which is no day such as 2026-11-30") % {
                "value": self.value()
            }
        local = timezone.localtime(moment)
        return day_text(moment) if local.time() == time.min else moment_with_zone(moment)

    def typed_value(self) -> str | None:
        moment = self.moment()
        if moment is None:
            return self.value()
        text = moment_text(moment)
        return text.removesuffix(" 00:00")

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        moment = self.moment()
        return queryset.none() if moment is None else self.narrow(queryset, moment)

    def narrow(self, queryset: QuerySet[Any], moment: datetime) -> QuerySet[Any]:
        """Return the rows before, or from the moment on."""
        return queryset.filter(**{self.lookup: moment})


def moment_for_address(typed: str) -> str | None:
    """Return what an address has of a moment that was typed in the page's zone; None if it is none.

    What is no moment may be anything, also a key, and so must not get into an address.
    """
    zone = timezone.get_current_timezone()
    moment = parse_moment_in_address(typed, zone)
    if moment is None or timezone.get_current_timezone_name() == "UTC":
        return None if moment is None else typed
    return f"{moment:%Y-%m-%d %H:%M}" if moment.time() != time.min else f"{moment:%Y-%m-%d}"


def parse_moment_in_address(text: str | None, zone: tzinfo = UTC) -> datetime | None:
    """Return the moment that a text such as `2026-11-30` or `2026-11-30 14:00` stands for.

    `zone`: that of a text that names none.
    """
    text = (text or "").strip()
    if text.endswith("UTC"):
        text, zone = text.removesuffix("UTC").strip(), UTC
    try:
        moment = parse_datetime(text)
        day = parse_date(text)
    except ValueError:  # such as the 31st of February
        return None
    # A day is read as its first moment; `parse_datetime` may or may not take it.
    if day is not None:
        moment = datetime.combine(day, time.min)
    if moment is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except OverflowError:  # of the first or the last day of all
        return None


def moment_filter(name: str, label: str, lookup: str) -> type[MomentFilter]:
    """Return a filter by a moment."""
    return type(
        f"{name.title()}Filter",
        (MomentFilter,),
        {"title": label, "parameter_name": name, "lookup": lookup},
    )


class LinkedFilter(FieldFilter):
    """A filter by a row of another table, which is searched for while one types."""

    model: type[models.Model]

    def lookups(self, request: HttpRequest, model_admin: Any) -> Sequence[tuple[Any, str]]:
        opts, user = self.model._meta, request.user
        self.may_choose = user.has_perm(f"{opts.app_label}.view_{opts.model_name}")
        return ()

    def form_field(self) -> forms.Field | None:
        return row_picker(self.model) if self.may_choose else None

    def in_words(self) -> str:
        chosen = parse_id(self.value())
        found = chosen and self.model._base_manager.filter(pk=chosen).first()
        return str(found or gettext("no such row"))

    def narrow_by_text(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_id(self.value())
        return queryset.none() if chosen is None else self.narrow(queryset, chosen)

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        """Return the rows that belong to the chosen one."""
        return queryset.filter(**{f"{self.parameter_name}_id": chosen})


def parse_key(model: type[models.Model], text: str | None) -> Any:
    """Return the primary key that a text from a URL stands for, or None."""
    key = model._meta.pk
    if not isinstance(key, models.UUIDField):
        return parse_id(text)
    try:
        return UUID(text) if text else None
    except ValueError:
        return None


class IsAnyOf(Func):
    """True if the first expression is one of an array that a subquery fills.

    PostgreSQL computes the array once and looks its values up by index. For `IN` it may read the
    whole table in its order instead, hoping to meet one of few rows soon.
    """

    template = "%(expressions)s)"
    arg_joiner = " = ANY("
    output_field = BooleanField()


def has_any(rows: QuerySet[Any]) -> Q:
    """Return the condition that there is one of `rows`, which is looked up for each row of a list.

    For EXISTS PostgreSQL may read the whole of both tables, for a page that looks at some rows.
    """
    found = rows.order_by().annotate(is_one=Value(True)).values("is_one")[:1]  # noqa: FBT003
    return Q(Coalesce(Subquery(found), Value(False)))  # noqa: FBT003


class FilterForm(forms.Form):
    """The form of a list's filters."""

    def __init__(self, filters: Sequence[FieldFilter]) -> None:
        chosen = {str(each.parameter_name): each.typed_value() for each in filters}
        super().__init__(initial=chosen, auto_id="filter-%s", label_suffix="")
        for each in filters:
            field = each.form_field()
            if field is not None:
                field.label = str(each.title)[:1].upper() + str(each.title)[1:]
                self.fields[str(each.parameter_name)] = field


@dataclass(frozen=True)
class ChosenFilter:
    """A filter that narrows the list: its title, its value in words, and the list without it."""

    title: str
    words: str
    url_without: str


@dataclass(frozen=True)
class RowsLookedAt:
    """The newest rows, or those before them, among which a list shows what fits its filters."""

    rows: int
    are_newest: bool
    url_of_older: str  # empty if there are none
    indexed_filters: str  # titles of filters beside which all rows are looked at

    @property
    def rows_in_words(self) -> str:
        return f"{self.rows:,}"


class FilteredChangeList(ChangeList):
    """A list narrowed by its own filters only, with the columns that its address names.

    Django would take any other lookup from a URL, which may read all rows or be invalid in
    PostgreSQL.

    Where no index serves a filter, and no other filter leaves few rows, the page looks at
    MAX_ROWS_LOOKED_AT rows, says so, and leads to those before them. Exports look at all.
    """

    looked_at: RowsLookedAt | None = None

    def get_results(self, request: HttpRequest) -> None:
        self._look_at_some_rows(request)
        super().get_results(request)

    def _look_at_some_rows(self, request: HttpRequest) -> None:
        chosen = {str(each.parameter_name) for each in self.fields if each.value() is not None}
        page: Any = self.model_admin
        if not chosen & page.unindexed_parameters or chosen & page.indexed_parameters or self.query:
            return
        newest = self.model._base_manager.order_by("-pk")
        start = parse_key(self.model, request.GET.get(OLDER_PARAMETER))
        if start is not None:
            newest = newest.filter(pk__lt=start)
        last = newest.values_list("pk", flat=True)[MAX_ROWS_LOOKED_AT - 1 : MAX_ROWS_LOOKED_AT]
        oldest, is_rest = last.first(), False
        if oldest is None or not newest.filter(pk__lt=oldest).exists():
            is_rest = True
        if is_rest and start is None:
            return
        if start is not None:
            self.queryset = self.queryset.filter(pk__lt=start)
        if not is_rest:
            self.queryset = self.queryset.filter(pk__gte=oldest)
        titles = [
            str(each.title)
            for each in self.fields
            if each.parameter_name in page.indexed_parameters
        ]
        self.looked_at = RowsLookedAt(
            rows=newest[:MAX_ROWS_LOOKED_AT].count() if is_rest else MAX_ROWS_LOOKED_AT,
            are_newest=start is None,
            url_of_older=""
            if is_rest
            else self.get_query_string({OLDER_PARAMETER: str(oldest)}, [PAGE_VAR]),
            indexed_filters=gettext(" or ").join(titles),
        )

    def get_filters(self, request: HttpRequest) -> Any:
        filters = super().get_filters(request)
        _, _, unknown, *_ = filters
        # Django then redirects to the list without filters.
        if unknown:
            raise IncorrectLookupParameters
        return filters

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(COLUMNS_PARAMETER, None)
        found.pop(OLDER_PARAMETER, None)
        return found

    @property
    def fields(self) -> Sequence[FieldFilter]:
        """The filters; there are no others."""
        return self.filter_specs  # type: ignore[return-value]

    @cached_property
    def filter_form(self) -> FilterForm:
        return FilterForm(self.fields)

    @cached_property
    def chosen_filters(self) -> list[ChosenFilter]:
        """The filters that narrow the list."""
        return [
            ChosenFilter(
                str(each.title),
                each.in_words(),
                self.get_query_string(remove=[str(each.parameter_name)]),
            )
            for each in self.fields
            if each.value() is not None
        ]

    @property
    def other_parameters(self) -> list[tuple[str, str]]:
        """What the address has besides the page: names and values, for forms that keep them."""
        return [(name, value) for name, values in self.filter_params.items() for value in values]
