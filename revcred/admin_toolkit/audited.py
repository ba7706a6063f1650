"""The base of all admin pages: audited saves, searches by index, nothing saved from an old tab."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.options import ShowFacets
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import PROTECT, QuerySet
from django.db.transaction import atomic
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.views.decorators.http import require_POST

from revcred import hooks, pasting
from revcred.admin_toolkit import confirmation, field_changes, stale_saves
from revcred.admin_toolkit.datetime_field import (
    KeepsMicrosecondsForm,
    MomentField,
    MomentInput,
)
from revcred.admin_toolkit.filters import (
    FilteredChangeList,
    MomentFilter,
    TextFilter,
    moment_for_address,
)
from revcred.admin_toolkit.generic import ModelAdmin, ModelForm
from revcred.admin_toolkit.json_field import JsonObjectField
from revcred.admin_toolkit.list_pages import ListPagesMixin
from revcred.admin_toolkit.lists import BoundedPaginator, ids_found_by_any
from revcred.admin_toolkit.pickers import PickersMixin
from revcred.admin_toolkit.site_search import (
    MAX_HITS_PER_KIND,
    SearchHit,
    SearchTerm,
    page_of,
)
from revcred.models import AuditEvent, AuditVerb, UploadChange
from revcred.texts import gettext_lazy, number_of_rows

MAX_COMPARED = 200  # rows that a search finds, of which it shows the closest
MAX_DEPENDENTS_COUNTED = 100
MAX_HISTORY_SHOWN = 200
KEY_TYPED_MESSAGE = gettext_lazy(
    "You typed a key. To find its credential, use the search at the top of the page."
)
SEARCH_FOUND_NOTHING_MESSAGE = gettext_lazy(
    "Nothing was found. What you typed may be a key, so it is not kept in the address."
)
FILTER_FOUND_NOTHING_MESSAGE = gettext_lazy(
    "No row has the “{title}” that you typed, so the list is not narrowed by it. It may be"
    " a key, and is not kept in the address."
)
NO_MOMENT_MESSAGE = gettext_lazy(
    "“{title}” takes a day such as 2026-11-30, or a moment such as 2026-11-30 14:00. What"
    " you typed is neither, so the list is not narrowed by it."
)
OLD_TAB_MESSAGE = gettext_lazy(
    "Nothing has been saved, because this form was opened before that change. Below is"
    " your input: compare it with the history, then save again to overwrite the current"
    " values."
)


class AuditedModelAdmin(PickersMixin, ListPagesMixin, ModelAdmin):
    """A ModelAdmin whose saves are recorded as audit events.

    Subclasses give `search_queries`, and `ended_calls` and `new_members` if a save may need
    confirmation.
    """

    form: type[ModelForm] = KeepsMicrosecondsForm
    formfield_overrides: ClassVar[dict[Any, Any]] = {
        models.DateTimeField: {"form_class": MomentField, "widget": MomentInput},
        models.JSONField: {"form_class": JsonObjectField},
    }
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    show_facets = ShowFacets.NEVER
    view_on_site = False
    # Actions over many rows at once would bypass the audit and the confirmation.
    actions = None
    # Sorting by a click would sort the whole table: only the default order has an index.
    sortable_by = ()
    # Parameters of filters that no index serves, and of those that leave so few rows that these may
    # be looked at one by one: see `FilteredChangeList`.
    unindexed_parameters: ClassVar[frozenset[str]] = frozenset()
    indexed_parameters: ClassVar[frozenset[str]] = frozenset()
    counted_as = ""
    empty_list_text = ""  # shown where the whole list is empty

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FilteredChangeList]:
        return FilteredChangeList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Take an empty `_to_field` in a URL as none, which Django does not."""
        return super().get_object(request, object_id, from_field or None)

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        """Return queries for the ids that a search should find, each served by an index."""
        return []

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the rows that the search of all pages shows, by the queries of the list's own.

        At most one more than a page shows, which tells that there are more.
        """
        queries = self.search_queries(term.words) if term.words else []
        if not queries:
            return []
        # More than are shown: the closest of them come first.
        ids = list(ids_found_by_any(queries, most=MAX_COMPARED).values_list("pk", flat=True))
        rows = self.get_queryset(request).filter(pk__in=ids)
        found = sorted(rows, key=lambda row: (self._distance(row, term.words.casefold()), -row.pk))
        return [
            SearchHit(label=str(row), url=page_of(row), detail=self.hit_detail(row))
            for row in found[: MAX_HITS_PER_KIND + 1]
        ]

    def _distance(self, row: Any, folded: str) -> int:
        """Return 0 if a text of the row is just this, 1 if one begins with it, else 2."""
        texts = [
            str(getattr(row, name) or "").casefold()
            for name in self.search_fields
            if "__" not in name
        ]
        if folded in texts:
            return 0
        return 1 if any(text.startswith(folded) for text in texts) else 2

    def list_url(self, term: SearchTerm) -> str:
        """Return the address of the list with everything that a term finds."""
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return f"{address}?{urlencode({'q': term.words})}"

    def hit_detail(self, found: Any) -> str:
        """Return what tells a found row apart from others of its name."""
        return ""

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search by `search_queries` instead of Django's OR over all fields."""
        term = search_term.strip().replace("\0", "")
        ways = self.search_queries(term) if term else []
        if not ways:
            return queryset, False
        # Ids first: given a join, PostgreSQL would rather read the whole table in its order.
        found = ids_found_by_any(ways).values_list("pk", flat=True)
        return queryset.filter(pk__in=list(found)), False

    def get_urls(self) -> list[URLPattern]:
        search = self.admin_site.admin_view(require_POST(self.search))
        name = f"{self.opts.app_label}_{self.opts.model_name}_search"
        return [path("search/", search, name=name), *super().get_urls()]

    def search(self, request: HttpRequest) -> HttpResponse:
        """Take a list's search by POST, and keep anything that may be a key out of the URL."""
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        # The filters of the list are posted along, and stay.
        query = request.POST.copy()
        for name, values in request.POST.lists():
            # A field of the form of filters that is left empty narrows nothing.
            is_empty = not any(values)
            if (
                is_empty
                or name in {"csrfmiddlewaretoken", "p", "q"}
                or pasting.any_known_key(values)
            ):
                del query[name]
        self._take_moments(request, query)
        for each in self._fruitless_key_like_filters(request, query):
            del query[each.parameter_name]
            message = FILTER_FOUND_NOTHING_MESSAGE.format(title=capfirst(each.title))
            messages.warning(request, message)
        term = request.POST.get("q", "").replace("\0", "").strip()
        if pasting.is_known_key(term):
            messages.warning(request, KEY_TYPED_MESSAGE)
        elif pasting.looks_like_key(term) and not self.finds_any(term):
            messages.warning(request, SEARCH_FOUND_NOTHING_MESSAGE)
        elif term:
            query["q"] = term
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return HttpResponseRedirect(f"{address}?{query.urlencode()}" if query else address)

    def _take_moments(self, request: HttpRequest, typed: QueryDict) -> None:
        """Write moments as addresses have them, and leave out what is none."""
        for each in self._filters_of(request, MomentFilter):
            name = each.parameter_name
            if name not in typed:
                continue
            moment = moment_for_address(str(typed[name]))
            if moment is None:
                del typed[name]
                message = NO_MOMENT_MESSAGE.format(title=capfirst(each.title))
                messages.warning(request, message)
            else:
                typed[name] = moment

    def _fruitless_key_like_filters(self, request: HttpRequest, typed: QueryDict) -> list[Any]:
        """Return the filters whose text may be a key that nobody knows, and is that of no row."""
        filters = self._filters_of(request, TextFilter)
        rows = self.model._base_manager.all()
        return [
            each
            for each in filters
            if _has_key_like_word(text := typed.get(each.parameter_name, ""))
            # A path is longer than a name, and in one piece, too.
            and not text.startswith("/")
            and not each(request, {each.parameter_name: [text]}, self.model, self).finds_any(rows)
        ]

    def _filters_of(self, request: HttpRequest, kind: type) -> list[Any]:
        """Return the filters of the list that are of a kind."""
        return [
            each
            for each in self.get_list_filter(request)
            if isinstance(each, type) and issubclass(each, kind)
        ]

    def finds_any(self, term: str) -> bool:
        """Return True if a search for the term finds something, or is not supported here."""
        ways = self.search_queries(term)
        return not ways or self.model._base_manager.filter(pk__in=ids_found_by_any(ways)).exists()

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = capfirst(str(self.opts.verbose_name_plural))
        response: HttpResponse = super().changelist_view(
            request, {"title": title} | (extra_context or {})
        )
        return response

    def autocomplete_label(self, found: Any) -> str:
        return str(found)

    # --- Confirmation, and saves from an old tab ---

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        """Return changes by a save that no counted call shows, each with figures.

        `form` and the rows of `formsets` have been saved already, inside the trial.
        """
        return []

    def effects_of_deletion(self, obj: Any) -> list[confirmation.Effect]:
        """Return changes by a deletion, besides the rows that Django's own page lists."""
        return []

    def new_members(self, form: Any) -> list[str]:
        """Return sentences on who becomes a member of a customer by a save."""
        return []

    def get_form(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        form: Any = super().get_form(request, obj, **kwargs)
        if reasons := getattr(request, "unsaved_reasons", None):
            form = type(form.__name__, (_UnsavedForm, form), {"reasons": reasons})
        return form

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Save in one transaction, unless the form is outdated or has to be confirmed first."""

        def view() -> HttpResponse:
            # Set by `construct_change_message` once Django has saved a valid form.
            request.saved_form = None  # type: ignore[attr-defined]
            return super(AuditedModelAdmin, self).changeform_view(
                request, object_id, form_url, extra_context
            )

        if request.method != "POST":
            return view()
        if confirmation.is_going_back(request):
            return self._refuse(request, [str(confirmation.NOTHING_SAVED_MESSAGE)], view)
        obj = self.get_object(request, unquote(object_id)) if object_id else None
        with atomic():
            if obj is not None and self.has_change_permission(request, obj):
                # Locked first, so that two saves of one form are compared one after the other.
                self.model._base_manager.select_for_update(no_key=True).get(pk=obj.pk)
                current = self.model._base_manager.get(pk=obj.pk)
                if sentences := stale_saves.changes_since_version(self, request, current):
                    return self._refuse(request, [*sentences, OLD_TAB_MESSAGE], view)
            return self._asked_first(request, obj, view)

    def delete_view(
        self,
        request: HttpRequest,
        object_id: str,
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Delete, unless that moves calls and has to be confirmed first."""

        def view() -> HttpResponse:
            return super(AuditedModelAdmin, self).delete_view(request, object_id, extra_context)

        if request.method != "POST":
            return view()
        if confirmation.is_going_back(request):
            return HttpResponseRedirect(request.get_full_path())
        return self._asked_first(request, self.get_object(request, unquote(object_id)), view)

    def _asked_first(
        self, request: HttpRequest, obj: Any, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Run the view, and take back what it saved if that has to be confirmed first."""
        name = str(obj or self.opts.verbose_name)
        question = confirmation.ConfirmationQuestion(
            gettext("Change “%(name)s”") % {"name": name}, gettext("Save it")
        )
        if request.resolver_match and request.resolver_match.url_name.endswith("_delete"):  # type: ignore[union-attr]
            question = confirmation.ConfirmationQuestion(
                gettext("Delete “%(name)s”") % {"name": name},
                gettext("Delete it"),
                is_destructive=True,
            )
            question.effects = self.effects_of_deletion(obj) if obj is not None else []

        def asked(response: HttpResponse) -> confirmation.ConfirmationQuestion | None:
            if _asks_again(response):
                return None
            if form := getattr(request, "saved_form", None):
                question.effects = self.effects(form, request.saved_formsets)  # type: ignore[attr-defined]
                question.new_members = self.new_members(form)
            return question

        try:
            tried = confirmation.do_or_ask(request, view, asked)
        except hooks.ConcurrentChange:
            return self._refuse(request, [str(confirmation.CONCURRENT_CHANGE_MESSAGE)], view)
        if not tried.is_kept:
            # Read again: what was typed is in `obj`, and has been taken back.
            original = obj and self.model._base_manager.filter(pk=obj.pk).first()
            return confirmation.confirmation_page(
                request,
                self.admin_site,
                self.opts,
                question,
                tried.consequences,
                original=original,
                back=request.path,
                conceal=confirmation.concealed_field_names(self.get_form(request, obj).base_fields),
            )
        confirmation.announce_moving_calls(request, tried)
        return tried.result  # type: ignore[no-any-return]

    def _refuse(
        self, request: HttpRequest, sentences: list[str], view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Show the form with what was typed and with the sentences as errors; save nothing."""
        request.unsaved_reasons = sentences  # type: ignore[attr-defined]
        return view()

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Add the version of the thing to the form, by which an old tab is recognised."""
        obj = kwargs.get("obj")
        if obj is not None and obj.pk and self.has_change_permission(request, obj):
            version = request.POST.get(stale_saves.VERSION_FIELD)
            if version is None or getattr(request, "unsaved_reasons", None) is not None:
                # Django has written what was typed into `obj`, so read the row again.
                is_typed = request.method == "POST"
                current = self.model._base_manager.get(pk=obj.pk) if is_typed else obj
                version = stale_saves.form_version(self, request, current)
            context["version"] = version
        return super().render_change_form(request, context, *args, **kwargs)

    # --- Audit ---

    def construct_change_message(
        self,
        request: HttpRequest,
        form: Any,
        formsets: Any,
        add: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        """Return old and new values for the audit event instead of Django's list of fields."""
        request.saved_form = form  # type: ignore[attr-defined]
        request.saved_formsets = list(formsets or ())  # type: ignore[attr-defined]
        return field_changes.form_changes(form, formsets or (), is_new=add)

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> None:  # type: ignore[override]
        self._record(AuditVerb.CREATED, request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> None:  # type: ignore[override]
        if message:
            self._record(AuditVerb.CHANGED, request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[models.Model]) -> None:  # type: ignore[override]
        for row in queryset:
            self._record(AuditVerb.DELETED, request, row, field_changes.last_values_of(row))

    def _record(
        self, verb: AuditVerb, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        details = message if isinstance(message, dict) else {}
        AuditEvent.objects.record(verb, target=obj, by=request.user, details=details)  # type: ignore[arg-type]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the audit events about the thing instead of Django's log."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {
            "title": gettext("History of %(obj)s") % {"obj": obj},
            "subtitle": None,
            "opts": self.opts,
            "object": obj,
            "events": AuditEvent.objects.about(obj)[:MAX_HISTORY_SHOWN],
            "undone": undone_event_ids(obj),
            "may_undo": may_undo_changes(request, self.model),
            "changes": UploadChange.objects.about(obj).select_related("upload")[:MAX_HISTORY_SHOWN],
        }
        return TemplateResponse(request, "admin/object_history.html", context)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Name what prevents deletion by kind and number.

        Django would load every dependent row to name it.
        """
        hanging = [line for obj in objs for line in protected_relations(obj)]
        if hanging:
            return [], {}, set(), hanging
        return super().get_deleted_objects(objs, request)


class ReadOnlyModelAdmin(AuditedModelAdmin):
    """Pages of rows that revcred writes itself and nobody edits."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _has_key_like_word(text: str) -> bool:
    """Return True if a word of the text may be a key, as where a name was pasted along with it."""
    return any(map(pasting.looks_like_key, text.split()))


def protected_relations(obj: models.Model) -> list[str]:
    """Return what prevents deletion and how much of it, such as "3 subscriptions"."""
    lines = []
    for relation in obj._meta.related_objects:
        if getattr(relation, "on_delete", None) is not PROTECT:
            continue
        of_it = relation.related_model._base_manager.filter(**{relation.field.name: obj})
        if count := of_it.values("pk")[: MAX_DEPENDENTS_COUNTED + 1].count():
            lines.append(_count_in_words(count, relation.related_model))
    return lines


def _count_in_words(count: int, model: type[models.Model]) -> str:
    if count > MAX_DEPENDENTS_COUNTED:
        return gettext("more than %(most)s %(things)s") % {
            "most": MAX_DEPENDENTS_COUNTED,
            "things": model._meta.verbose_name_plural,
        }
    return number_of_rows(count, model)


def may_undo_changes(request: HttpRequest, model: type[models.Model] | None) -> bool:
    """Return True if the user may change rows of the model, and so may undo changes of them."""
    if model is None:
        return False
    codename = get_permission_codename("change", model._meta)
    user: Any = request.user
    return bool(user.has_perm(f"{model._meta.app_label}.{codename}"))


def undone_event_ids(obj: models.Model) -> set[Any]:
    """Return the ids of the events about a thing that have been undone."""
    events = AuditEvent.objects.about(obj).filter(verb=AuditVerb.UNDONE)
    return set(events.values_list("details__event", flat=True)[:MAX_HISTORY_SHOWN])


def _asks_again(response: HttpResponse) -> bool:
    """Return True if the response is a form shown again, so that nothing was saved."""
    context = getattr(response, "context_data", None) or {}
    return "adminform" in context or "deleted_objects" in context


class _UnsavedForm:
    """A form shown with what was typed, and with the reasons why it was not saved."""

    reasons: ClassVar[list[str]]

    def clean(self) -> Any:
        form: Any = self
        cleaned = super().clean()  # type: ignore[misc]
        for sentence in self.reasons:
            form.add_error(None, sentence)
        return cleaned
