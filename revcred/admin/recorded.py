"""What every page of the administration has in common: its saves are on record like any act."""

from collections.abc import Iterable
from typing import Any, ClassVar

from django.contrib.admin.options import ShowFacets
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import PROTECT, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.text import capfirst

from revcred.admin.generic import ModelAdmin, ModelForm
from revcred.admin.lists import BoundedPaginator, FilteredList, any_of
from revcred.admin.moments import KeepsMoments, MomentField, MomentInput
from revcred.admin.objects import ObjectField
from revcred.admin.pickers import WithPickers
from revcred.models import AuditEvent, UploadChange

Verb = AuditEvent.Verb

HANGING_COUNTED = 100
HISTORY_SHOWN = 200


class Recorded(WithPickers, ModelAdmin):
    """Plain facts are saved as Django's admin does, and recorded as audit events."""

    form: type[ModelForm] = KeepsMoments
    formfield_overrides: ClassVar[dict[Any, Any]] = {
        models.DateTimeField: {"form_class": MomentField, "widget": MomentInput},
        models.JSONField: {"form_class": ObjectField},
    }
    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    show_facets = ShowFacets.NEVER
    view_on_site = False
    actions = None
    # What may be sorted by a click would have to be sorted in full.
    sortable_by = ()
    counted_as = ""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[FilteredList]:
        return FilteredList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Django takes a field that an address leaves empty for one of that name."""
        return super().get_object(request, object_id, from_field or None)

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        """Queries for the numbers of what a search should find, each by an index."""
        return []

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().replace("\0", "")
        ways = self.ways_to_find(term) if term else []
        if not ways:
            return queryset, False
        # Found first: joined, PostgreSQL would rather read the whole table in its order.
        found = any_of(ways).values_list("pk", flat=True)
        return queryset.filter(pk__in=list(found)), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        title = capfirst(str(self.opts.verbose_name_plural))
        return super().changelist_view(request, {"title": title} | (extra_context or {}))

    def autocomplete_label(self, found: Any) -> str:
        return str(found)

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> None:  # type: ignore[override]
        self._record(Verb.CREATED, request, obj, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> None:  # type: ignore[override]
        if message:
            self._record(Verb.CHANGED, request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[models.Model]) -> None:  # type: ignore[override]
        for each in queryset:
            self._record(Verb.DELETED, request, each, [])

    def _record(
        self, verb: AuditEvent.Verb, request: HttpRequest, obj: models.Model, message: Any
    ) -> None:
        details = _without_values(message)
        AuditEvent.objects.record(verb, target=obj, by=request.user, details=details)  # type: ignore[arg-type]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        context = self.admin_site.each_context(request) | {
            "title": f"History of {obj}",
            "subtitle": None,
            "opts": self.opts,
            "object": obj,
            "events": AuditEvent.objects.about(obj)[:HISTORY_SHOWN],
            "changes": UploadChange.objects.about(obj).select_related("upload")[:HISTORY_SHOWN],
        }
        return TemplateResponse(request, "admin/object_history.html", context)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[Any, Any], set[Any], list[Any]]:
        """Django would load all that hangs on it to name it; how much it is says enough."""
        hanging = [line for each in objs for line in what_hangs_on(each)]
        if hanging:
            return [], {}, set(), hanging
        return super().get_deleted_objects(objs, request)


class ReadOnly(Recorded):
    """What the machine writes and nobody edits."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def what_hangs_on(obj: models.Model) -> list[str]:
    """What keeps it from being deleted, and how much of it, such as "3 subscriptions"."""
    lines = []
    for relation in obj._meta.related_objects:
        if getattr(relation, "on_delete", None) is not PROTECT:
            continue
        of_it = relation.related_model._base_manager.filter(**{relation.field.name: obj})
        if count := of_it.values("pk")[: HANGING_COUNTED + 1].count():
            lines.append(_counted(count, relation.related_model))
    return lines


def _counted(count: int, model: type[models.Model]) -> str:
    if count > HANGING_COUNTED:
        return f"more than {HANGING_COUNTED} {model._meta.verbose_name_plural}"
    one_or_many = model._meta.verbose_name if count == 1 else model._meta.verbose_name_plural
    return f"{count} {one_or_many}"


def _without_values(message: Any) -> dict[str, Any]:
    """Of Django's message the fields and objects it names, by what was done to them."""
    details: dict[str, list[str]] = {}
    for part in message if isinstance(message, list) else []:
        for done, what in part.items():
            named = [what["object"]] if "object" in what else what.get("fields", [])
            if named:
                details.setdefault(done, []).extend(map(str, named))
    return details
