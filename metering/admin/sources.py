from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from metering import actions
from metering.admin.filters import DiscoveredKindFilter, GatewayFilter
from metering.models import DiscoveredSource
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.models import User
from revcred.models.names import MAX_NAME_CHARACTERS


class EnterSourceForm(ActionForm):
    """Make a source of a name that gateways report."""

    title = "Enter as a source"
    button = "Enter this source"
    explanation = (
        "It becomes a source, and products can include it. Calls that are already counted do not"
        " change: none of them waited for this."
    )

    name = forms.CharField(
        max_length=MAX_NAME_CHARACTERS, help_text="The name of the source in revcred."
    )

    def perform(self, by: User) -> str:
        name = self.cleaned_data["name"]
        source = actions.create_discovered_source(discovered=self.target, name=name, by=by)
        return f"{source} is now a source."


@admin.register(DiscoveredSource)
class DiscoveredSourceAdmin(ActionPagesMixin, ReadOnlyModelAdmin):
    """Sources that gateways have named and nobody has entered yet."""

    list_display = ("name", "kind", "gateway", "first_seen_at", "last_seen_at")
    list_filter = (GatewayFilter, DiscoveredKindFilter)
    list_select_related = ("gateway",)
    fields = list_display
    readonly_fields = fields
    change_form_template = "admin/metering/discoveredsource/change_form.html"
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {"enter": EnterSourceForm}

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        # To the list: the discovered source is gone, and a page of it would answer 404.
        messages.success(request, sentence)
        return HttpResponseRedirect(self._list_url())
