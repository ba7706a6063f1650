"""Admin pages of the audit, with undo for single events."""

from collections.abc import Mapping
from typing import Any, ClassVar

from allauth.account.adapter import get_adapter
from django.apps import apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.text import capfirst
from django.utils.translation import gettext

from revcred.actions import undoing, users
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin, may_undo_changes
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import ChoiceFilter, TextFilter, moment_filter
from revcred.models import AuditEvent, AuditVerb, User
from revcred.models.audit import REQUEST_ID_DETAIL
from revcred.templatetags.events import event_details, restored_values
from revcred.texts import gettext_lazy
from revcred.time_zones import moment_with_zone

# Shown in red: whoever reads the audit for trouble looks for these first.
GRAVE_VERBS = {
    AuditVerb.REVOKED,
    AuditVerb.DELETED,
    AuditVerb.KEY_REVEALED,
    AuditVerb.SECRET_REVEALED,
    AuditVerb.TOKEN_REVOKED,
    AuditVerb.MANY_REVEALED,
    AuditVerb.MADE_SUPERUSER,
    AuditVerb.SIGN_IN_LIMITED,
}


class ActorFilter(TextFilter):
    """Events by who did it."""

    title, parameter_name, lookup = gettext_lazy("who"), "who", "actor"
    placeholder = "admin@example.com"


class VerbFilter(ChoiceFilter):
    """Events by what was done."""

    title, parameter_name, choices_of = gettext_lazy("what"), "verb", AuditVerb


class KindFilter(ChoiceFilter):
    """Events about things of one kind."""

    title, parameter_name = gettext_lazy("whom, kind"), "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = {
            model._meta.label_lower: capfirst(str(model._meta.verbose_name))
            for model in model_admin.admin_site._registry  # noqa: SLF001
        }
        return sorted(kinds.items(), key=lambda kind: kind[1])

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        return queryset.filter(target_type=chosen)


class TargetFilter(TextFilter):
    """Events about a thing, by its whole name as the event has it."""

    title, parameter_name, lookup = gettext_lazy("whom, whole name"), "whom", "target"
    placeholder = "Acme"


SinceFilter = moment_filter("since", "since", "at__gte")
BeforeFilter = moment_filter("before", "before", "at__lt")


class UndoEventForm(ActionForm):
    """Asks before an event is undone."""

    title = gettext_lazy("Undo")
    button = gettext_lazy("Undo it")
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        undoing.CannotUndo: (None, ""),
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
        users.AddressOfSubscriber: (None, users.AddressOfSubscriber.sentence),
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.obstacle = undoing.undo_obstacle(self.target)
        self.is_refused = self.obstacle is not None

    @property
    def explanation(self) -> str:  # type: ignore[override]
        event: AuditEvent = self.target
        if self.is_refused:
            return gettext("This cannot be undone. %(obstacle)s") % {"obstacle": self.obstacle}
        by = event.actor or "revcred"
        return gettext(
            "Restores the values from before “%(event)s”, by %(by)s at"
            " %(moment)s.%(restored)s This is recorded, too."
        ) % {
            "event": event,
            "by": by,
            "moment": moment_with_zone(event.at, seconds=True),
            "restored": _restored_in_words(event),
        }

    def clean(self) -> dict[str, Any]:
        if self.obstacle:
            self.add_error(None, self.obstacle)
        return super().clean() or self.cleaned_data

    def perform(self, by: User) -> str:
        address = get_adapter(self.request).get_client_ip(self.request)
        self.undone = undoing.undo_event(event=self.target, by=by, address=address)
        return gettext("“%(target)s” was undone.") % {"target": self.target}


def _restored_in_words(event: AuditEvent) -> str:
    """Return a sentence for each field on its value after and before undoing."""
    sentences = []
    for name, value in (*event_details(event), *restored_values(event)):
        old, arrow, new = value.partition(" → ")
        if arrow:
            sentences.append(
                gettext(" “%(name)s” becomes %(old)s again, instead of %(new)s.")
                % {"name": name, "old": old, "new": new}
            )
    return "".join(sentences)


@admin.register(AuditEvent)
class AuditEventAdmin(ActionPagesMixin, ReadOnlyModelAdmin):
    """Audit events: read-only, with undo for whoever may change the thing."""

    list_display = ("at", "what", "target", "kind", "actor", "address")
    list_display_links = ("at",)
    more_columns = ("request", "in_detail")
    list_filter = (VerbFilter, ActorFilter, KindFilter, TargetFilter, SinceFilter, BeforeFilter)
    fields = ("at", "what", "target", "kind", "actor", "address", "request", "in_detail", "undoing")
    readonly_fields = fields
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {"undo": UndoEventForm}
    change_form_template = "admin/revcred/auditevent/change_form.html"

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Order by moment where the list is narrowed: the indexes of the filters have it."""
        narrowed = {"verb", "who", "whom", "since", "before"} & {*request.GET}
        return ("-at", "-pk") if narrowed else ("-pk",)

    @admin.display(description=gettext_lazy("what"))
    def what(self, event: AuditEvent) -> str:
        return badge(event.get_verb_display(), "bad" if event.verb in GRAVE_VERBS else "over")

    @admin.display(description=gettext_lazy("kind"))
    def kind(self, event: AuditEvent) -> str:
        return gettext(event.target_type.rpartition(".")[2])

    @admin.display(description=gettext_lazy("request"))
    def request(self, event: AuditEvent) -> str:
        return str(event.details.get(REQUEST_ID_DETAIL, ""))

    @admin.display(description=gettext_lazy("details"))
    def in_detail(self, event: AuditEvent) -> str:
        return format_html_join(" ", '<span class="detail">{}: {}</span>', event_details(event))

    @admin.display(description=gettext_lazy("undo"))
    def undoing(self, event: AuditEvent) -> str:
        return undoing.undo_obstacle(event) or gettext("Possible as long as nothing depends on it.")

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        """Return True: `action_page` checks the right to change the thing itself."""
        return True

    def action_page(
        self, request: HttpRequest, form_class: type[ActionForm], target: Any = None
    ) -> HttpResponse:
        # Whoever may change a thing may undo changes of it; seeing the audit is not enough.
        if not self.may_undo_event(request, target):
            raise PermissionDenied
        return super().action_page(request, form_class, target)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        event = self.get_object(request, object_id)
        # The link is shown only where undoing may be tried; the form checks all the rest.
        is_offered = (
            event is not None
            and undoing.undo_obstacle(event) is None
            and self.may_undo_event(request, event)
        )
        context = {"may_undo": is_offered} | (extra_context or {})
        return super().change_view(request, object_id, form_url, context)

    def may_undo_event(self, request: HttpRequest, event: AuditEvent) -> bool:
        """Return True if the user may change the thing and each of these fields on its own page."""
        model = model_of_event(event)
        page: Any = model and self.admin_site._registry.get(model)  # noqa: SLF001
        if model is None or page is None or not may_undo_changes(request, model):
            return False
        target = model._base_manager.filter(pk=event.target_id).first()
        # Allowed: the page itself tells that the thing is gone.
        if target is None:
            return True
        if not page.has_change_permission(request, target):
            return False
        readonly_fields = {*page.get_readonly_fields(request, target)}
        return readonly_fields.isdisjoint(undoing.restored_field_names(event))

    def action_done(
        self, request: HttpRequest, form: Any, target: Any, sentence: str
    ) -> HttpResponse:
        return super().action_done(request, form, form.undone, sentence)

    def url_of(self, target: models.Model) -> str:
        """Return the page of an event, or the history of a thing that was undone."""
        name = f"admin:{target._meta.app_label}_{target._meta.model_name}"
        if isinstance(target, AuditEvent):
            return reverse(f"{name}_change", args=[target.pk])
        return reverse(f"{name}_history", args=[target.pk])


def model_of_event(event: AuditEvent) -> type[models.Model] | None:
    """Return the model of the thing, or None if there is no such model any more."""
    try:
        return apps.get_model(event.target_type)
    except (LookupError, ValueError):
        return None
