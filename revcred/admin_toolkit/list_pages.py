"""What every list can do besides being narrowed: other columns, saved views, and exports."""

from collections.abc import Iterator, Sequence
from html import unescape
from tempfile import TemporaryFile
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.admin.views.main import PAGE_VAR
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.db.transaction import atomic
from django.http import (
    FileResponse,
    HttpRequest,
    HttpResponseBase,
    HttpResponseRedirect,
    QueryDict,
    StreamingHttpResponse,
)
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.safestring import SafeData
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.views.decorators.http import require_POST
from msgspec import json

from revcred import pasting
from revcred.admin_toolkit.filters import COLUMNS_PARAMETER
from revcred.admin_toolkit.generic import ModelAdmin
from revcred.admin_toolkit.lists import parse_id
from revcred.list_files import (
    CONTENT_TYPES,
    ListFormat,
    TooLongForSheet,
    csv_lines,
    write_list,
)
from revcred.models import AuditEvent, AuditVerb, SavedView
from revcred.models.saved_views import MAX_QUERY_CHARACTERS
from revcred.texts import grouped, kept_language

# An export holds a thread of the pages for about a second per 10,000 rows.
MAX_ROWS_EXPORTED = 100_000
ROWS_PER_QUERY = 1_000
MAX_SAVED_VIEWS = 30  # of a person and a list
MAX_VIEW_NAME_CHARACTERS = 60
EXPORT_FORMATS = (ListFormat.CSV, ListFormat.XLSX)


class ListPagesMixin(ModelAdmin):
    """A list whose address names its columns, and that is exported as it is narrowed.

    Subclasses give `more_columns`, which are not shown until they are chosen.
    """

    more_columns: ClassVar[Sequence[str]] = ()

    # --- Columns ---

    def own_columns(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the columns that are shown unless others are chosen."""
        return tuple(map(str, super().get_list_display(request)))

    def all_columns(self, request: HttpRequest) -> list[str]:
        """Return every column that the list may have, its own ones first."""
        return list(dict.fromkeys([*self.own_columns(request), *self.more_columns]))

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the columns that the address names, or else the list's own."""
        chosen = request.GET.getlist(COLUMNS_PARAMETER)
        known = [name for name in self.all_columns(request) if name in chosen]
        return tuple(known) or self.own_columns(request)

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        """Link the first column if that which is linked is not shown."""
        links = super().get_list_display_links(request, list_display)
        return links if links and set(links) & set(list_display) else tuple(list_display)[:1]

    def column_choices(self, request: HttpRequest) -> list[dict[str, Any]]:
        """Return name, label and whether it is shown, of each column that the list may have."""
        shown = self.get_list_display(request)
        return [
            {"name": name, "label": self._column_label(name), "is_shown": name in shown}
            for name in self.all_columns(request)
        ]

    def _column_label(self, name: str) -> str:
        label: Any = label_for_field(name, self.model, self)
        return capfirst(str(label))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> Any:
        user: Any = request.user
        saved = SavedView.objects.filter(user=user.pk, page=self.opts.label_lower)
        context = {
            "column_choices": self.column_choices(request),
            "saved_views": saved,
            "view_query": _query_of_view(request.GET),
        } | (extra_context or {})
        return super().changelist_view(request, context)

    # --- Export ---

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"{slug}/", self.admin_site.admin_view(require_POST(view)), name=self._name(name))
            for slug, name, view in (
                ("export", "export-list", self.export),
                ("views", "save-view", self.save_view),
            )
        ]
        return [*own, *super().get_urls()]

    def _name(self, page: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{page}"

    # --- Saved views ---

    def save_view(self, request: HttpRequest) -> HttpResponseBase:
        """Save the list's filters and columns under a name for oneself, or forget a saved view."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        user: Any = request.user
        own = SavedView.objects.filter(user=user, page=self.opts.label_lower)
        query = _query_of_view(QueryDict(request.POST.get("query", "").replace("\0", "")))
        name = request.POST.get("name", "").replace("\0", "").strip()[:MAX_VIEW_NAME_CHARACTERS]
        forgotten = parse_id(request.POST.get("forget"))
        if forgotten is not None:
            own.filter(pk=forgotten).delete()
        elif not name:
            messages.error(request, gettext("Give the view a name."))
        elif len(query) > MAX_QUERY_CHARACTERS or pasting.any_known_key(
            [name, *(value for _, values in QueryDict(query).lists() for value in values)]
        ):
            messages.error(
                request, gettext("A view with a key, or with so much in it, cannot be saved.")
            )
        elif own.exclude(name=name).count() >= MAX_SAVED_VIEWS:
            messages.error(
                request,
                gettext("At most %(most)s views of a list can be saved.")
                % {"most": MAX_SAVED_VIEWS},
            )
        else:
            own.update_or_create(
                user=user, page=self.opts.label_lower, name=name, defaults={"query": query}
            )
            messages.success(
                request, gettext("“%(name)s” was saved. Only you see it.") % {"name": name}
            )
        address = reverse(f"admin:{self._name('changelist')}")
        return HttpResponseRedirect(f"{address}?{query}" if query else address)

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the list as a file, narrowed and with the columns as posted, and record it.

        Posted, because it is recorded: a link that is followed ahead of a click would be, too.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        form = request.POST.get("format", "")
        chosen = request.POST.copy()
        for name in ("csrfmiddlewaretoken", "format"):
            chosen.pop(name, None)
        address = reverse(f"admin:{self._name('changelist')}")
        back = HttpResponseRedirect(f"{address}?{chosen.urlencode()}")
        if form not in EXPORT_FORMATS:
            return back
        # The list reads what narrows it from the address.
        request.GET = chosen  # type: ignore[assignment]
        try:
            changelist: Any = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(address)
        rows = changelist.get_queryset(request)
        ids = list(rows.values_list("pk", flat=True)[: MAX_ROWS_EXPORTED + 1])
        if len(ids) > MAX_ROWS_EXPORTED:
            messages.error(
                request,
                gettext(
                    "This list has more than %(most)s rows, which is the most"
                    " that a file may have. Narrow it by filters, such as by period, and"
                    " export the parts."
                )
                % {"most": grouped(MAX_ROWS_EXPORTED)},
            )
            return back
        columns = [name for name in changelist.list_display if name != "action_checkbox"]
        self._record_export(request, chosen, columns, form, len(ids))
        # What is exported is the same whoever does it.
        with kept_language():
            header = [self._column_label(name) for name in columns]
            list_name = str(self.opts.verbose_name_plural)
        texts = self._rows_as_text(rows, ids, columns)
        try:
            return self._file(ListFormat(form), list_name, header, texts)
        except TooLongForSheet:
            messages.error(
                request, gettext("A text is too long for a cell of Excel. Export CSV instead.")
            )
            return back

    def _record_export(
        self, request: HttpRequest, chosen: QueryDict, columns: list[str], form: str, rows: int
    ) -> None:
        """Record who took which list. An export is about no one thing, so it names its person."""
        narrowing = [(name, value) for name, values in chosen.lists() for value in values]
        details = {
            "list": self.opts.verbose_name_plural,
            "filters": "; ".join(
                f"{name}: {value}" for name, value in narrowing if name != COLUMNS_PARAMETER
            ),
            "columns": ", ".join(columns),
            "format": form,
            "number_of_rows": rows,
        }
        user: Any = request.user
        with atomic():
            AuditEvent.objects.record(AuditVerb.EXPORTED, target=user, by=user, details=details)

    def _file(
        self, form: ListFormat, list_name: str, header: list[str], rows: Iterator[list[str]]
    ) -> HttpResponseBase:
        name = f"{list_name}-{timezone.now():%Y-%m-%d-%H%M}.{form}"
        name = name.replace(" ", "-")
        if form is ListFormat.CSV:
            return StreamingHttpResponse(
                csv_lines(header, rows),
                content_type=CONTENT_TYPES[form],
                headers={"Content-Disposition": f'attachment; filename="{name}"'},
            )
        # A sheet is a ZIP archive, which is complete only at its end.
        file = TemporaryFile()  # noqa: SIM115 - the answer closes it
        try:
            write_list(file, form, header, rows)
        except TooLongForSheet:
            file.close()
            raise
        file.seek(0)
        return FileResponse(
            file, as_attachment=True, filename=name, content_type=CONTENT_TYPES[form]
        )

    def _rows_as_text(
        self, rows: QuerySet[Any], ids: list[Any], columns: list[str]
    ) -> Iterator[list[str]]:
        """Yield the texts of each row, in the order of the ids, some rows a query."""
        for first in range(0, len(ids), ROWS_PER_QUERY):
            part = ids[first : first + ROWS_PER_QUERY]
            found = {row.pk: row for row in rows.order_by().filter(pk__in=part)}
            # Rows are asked for while they are sent, when the page's language is no longer set.
            with kept_language():
                texts = [
                    [self._cell(found[number], name) for name in columns]
                    for number in part
                    if number in found
                ]
            yield from texts

    def _cell(self, row: Any, column: str) -> str:
        try:
            field, _, value = lookup_field(column, row, self)
        except ObjectDoesNotExist:  # what it refers to is gone
            return ""
        if field is not None and getattr(field, "flatchoices", None):
            value = dict(field.flatchoices).get(value, value)
        elif field is not None and isinstance(field, models.ForeignKey):
            value = getattr(row, field.name)
        return cell_text(value)


def _query_of_view(asked: QueryDict) -> str:
    """Return what a saved view keeps of a list's address: all but the page."""
    query = asked.copy()
    query.pop(PAGE_VAR, None)
    return query.urlencode()


def cell_text(value: Any) -> str:
    """Return a value as the text of a cell: moments in ISO 8601, several values between bars."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, SafeData):
        # What pages show as a badge, or as several pieces of code.
        return unescape(strip_tags(str(value)))
    if isinstance(value, list | tuple):
        return "|".join(cell_text(item) for item in value)
    return json.encode(value).decode() if isinstance(value, dict) else str(value)
