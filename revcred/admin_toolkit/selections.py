"""Actions on many rows of a list: on those that are ticked, or on all that match its filters."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext

from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.admin_toolkit.confirmation import Effect
from revcred.metering_port import RecentCalls
from revcred.texts import gettext_lazy, grouped, number_of, number_of_rows, quoted

MAX_ROWS_AT_ONCE = 1_000  # each is an action with an event, in one transaction
MAX_ROWS_NAMED = 10
MAX_ROWS_WHOSE_CALLS_ARE_COUNTED = 100  # a query each
NOTHING_SELECTED_MESSAGE = gettext_lazy(
    "No row is selected any more. Go back to the list and select some."
)


class SelectionForm(ActionForm):
    """The form of an action on many rows.

    `ids`: of the rows that were ticked. `matching`: the address's part with the filters of a list,
    for `all` its rows and to lead back to. What is selected is looked up anew at each step.
    """

    model: ClassVar[type[models.Model]]
    max_rows: ClassVar[int] = MAX_ROWS_AT_ONCE
    rights: ClassVar[tuple[str, ...]] = ()  # besides the `permission` to the model

    ids = forms.CharField(required=False, widget=forms.HiddenInput, max_length=50_000)
    all = forms.BooleanField(required=False, widget=forms.HiddenInput)
    matching = forms.CharField(required=False, widget=forms.HiddenInput, max_length=4_000)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.page: Any = admin.site.get_model_admin(self.model)
        # Set by `clean`.
        self.rows: list[Any] = []
        self.undo: tuple[str, str, list[Any]] | None = None  # action, button, ids of rows

    @property
    def explanation(self) -> str:  # type: ignore[override]
        said = self.data if self.is_bound else self.initial
        selected = self._selected(said.get("ids", ""), said.get("all"), said.get("matching", ""))
        count = 0 if selected is None else selected.values("pk")[: self.max_rows + 1].count()
        if count > self.max_rows:
            return gettext("More than %(most)s rows are selected, which is the most at once.") % {
                "most": grouped(self.max_rows)
            }
        sentence = ngettext(
            "%(rows)s is selected. %(about)s", "%(rows)s are selected. %(about)s", count
        )
        return sentence % {"rows": number_of_rows(count, self.model), "about": self.about}

    about: ClassVar[str] = ""

    def _selected(self, ids: Any, is_all: Any, matching: Any) -> QuerySet[Any] | None:
        if is_all:
            return self.page.rows_matching(self.request, str(matching))  # type: ignore[no-any-return]
        numbers = []
        for text in str(ids).split(","):
            try:
                numbers.append(self.model._meta.pk.to_python(text))
            except ValidationError:
                continue
        rows: QuerySet[Any] = self.page.get_queryset(self.request)
        return rows.filter(pk__in=numbers)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        selected = self._selected(cleaned.get("ids"), cleaned.get("all"), cleaned.get("matching"))
        found = [] if selected is None else list(selected[: self.max_rows + 1])
        if not found:
            raise forms.ValidationError(NOTHING_SELECTED_MESSAGE)
        if len(found) > self.max_rows:
            message = gettext("At most %(most)s rows can be selected at once. Narrow the list.") % {
                "most": grouped(self.max_rows)
            }
            raise forms.ValidationError(message)
        self.rows = self.concerned(found)
        if not self.rows:
            raise forms.ValidationError(self.none_concerned)
        self.unconcerned = len(found) - len(self.rows)
        return cleaned

    none_concerned: ClassVar[str] = gettext_lazy("None of these rows would change.")

    def concerned(self, rows: list[Any]) -> list[Any]:
        """Return the rows that the action changes. The others stay as they are."""
        return rows

    def named(self) -> str:
        """Return the first rows that change by name, and how many others there are."""
        names = ", ".join(quoted(row) for row in self.rows[:MAX_ROWS_NAMED])
        more = len(self.rows) - MAX_ROWS_NAMED
        return (
            gettext("%(names)s and %(more)s more") % {"names": names, "more": grouped(more)}
            if more > 0
            else names
        )

    def left_in_words(self) -> str:
        """Return a sentence on the selected rows that stay as they are, or nothing."""
        if not self.unconcerned:
            return ""
        sentence = number_of(
            self.unconcerned,
            "%(count)s of the selected rows stays as it is.",
            "%(count)s of the selected rows stay as they are.",
        )
        return f" {sentence}"

    def effect_on_rows(self, sentence: str, calls_of: Callable[[Any], RecentCalls]) -> Effect:
        """Return an effect that names the rows and sums the calls of the last days."""
        counted_rows = self.rows[:MAX_ROWS_WHOSE_CALLS_ARE_COUNTED]
        lately = sum_of_recent_calls(calls_of(row) for row in counted_rows)
        subject = (
            gettext("They")
            if len(counted_rows) == len(self.rows)
            else gettext("The first 100 of them")
        )
        return confirmation.effect(
            f"{sentence}: {self.named()}.{self.left_in_words()}", lately, subject
        )


def sum_of_recent_calls(several: Iterable[RecentCalls]) -> RecentCalls:
    """Return the calls of several things together."""
    all_of_them = list(several)
    by_day: Counter[Any] = Counter()
    for each in all_of_them:
        for day, calls in each.by_day:
            by_day[day] += calls
    hours = [each.last_hour for each in all_of_them if each.last_hour]
    starts = [each.last_day_since for each in all_of_them if each.last_day_since]
    return RecentCalls(
        calls=sum(each.calls for each in all_of_them),
        last_hour=max(hours, default=None),
        last_day=sum(each.last_day for each in all_of_them),
        last_day_since=min(starts, default=None),
        by_day=tuple(sorted(by_day.items())),
        is_complete=all(each.is_complete for each in all_of_them),
    )


class SelectionMixin(ActionPagesMixin):
    """A list with actions on many of its rows, by the last part of each action's address."""

    selection_forms: ClassVar[Mapping[str, type[SelectionForm]]] = {}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"many/{slug}/",
                self.admin_site.admin_view(self._selection_page_of(form)),
                name=f"{self.opts.app_label}_{self.opts.model_name}_many-{slug}",
            )
            for slug, form in self.selection_forms.items()
        ]
        return own + super().get_urls()

    def _selection_page_of(self, form_class: type[SelectionForm]) -> Any:
        def page(request: HttpRequest) -> HttpResponse:
            return self.action_page(request, form_class)

        return page

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        user: Any = request.user
        needed = form_class.rights if issubclass(form_class, SelectionForm) else ()
        return super().may_perform(request, form_class) and user.has_perms(needed)

    def get_actions(self, request: HttpRequest) -> Any:
        """Return the actions that the user may perform, for Django's ticks and its menu."""
        return {
            slug: (self._go_to(slug), slug, form.title)
            for slug, form in self.selection_forms.items()
            if self.may_perform(request, form)
        }

    def _go_to(self, slug: str) -> Any:
        """Return what Django calls with the selection: it leads to the page of the action."""

        def go(_: Any, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
            if request.POST.get("select_across") == "1":
                query = {"all": "on"}
            else:
                query = {"ids": ",".join(request.POST.getlist("_selected_action"))}
            # Where the action leads back to, whatever is selected.
            matching = request.GET.urlencode()
            return HttpResponseRedirect(self.selection_url(slug, **query, matching=matching))

        return go

    def selection_url(self, slug: str, **query: str) -> str:
        """Return the address of an action's page with a selection."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_many-{slug}"
        return f"{reverse(name)}?{urlencode(query)}"

    def rows_matching(self, request: HttpRequest, matching: str) -> QuerySet[Any] | None:
        """Return the rows of a list by the filters of its address; None if these are none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        before = request.GET
        try:
            request.GET = QueryDict(matching)
            changelist: Any = self.get_changelist_instance(request)
            rows: QuerySet[Any] | None = changelist.get_queryset(request)
        except IncorrectLookupParameters:
            rows = None
        finally:
            request.GET = before
        return rows

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        """Lead back to the list, or to the upload that was made; offer to undo."""
        if not isinstance(form, SelectionForm):
            return super().action_done(request, form, target, sentence)
        if form.undo:
            slug, button, ids = form.undo
            url = self.selection_url(slug, ids=",".join(map(str, ids)))
            sentence = format_html('{} <a href="{}">{}</a>', sentence, url, button)
        messages.success(request, sentence)
        if upload := getattr(form, "upload", None):
            return HttpResponseRedirect(reverse("admin:revcred_upload_change", args=[upload.pk]))
        matching = form.cleaned_data["matching"]
        return HttpResponseRedirect(
            f"{self._list_url()}?{matching}" if matching else self._list_url()
        )
