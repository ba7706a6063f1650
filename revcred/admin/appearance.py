"""Admin page of the storefront's appearance: one row, which is edited and never deleted."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import format_lazy

from revcred.admin_toolkit.audited import AuditedModelAdmin
from revcred.admin_toolkit.datetime_field import KeepsMicrosecondsForm
from revcred.logos import MAX_LOGO_BYTES, check_logo
from revcred.models import Appearance
from revcred.texts import gettext_lazy


class AppearanceForm(KeepsMicrosecondsForm):
    """Takes a logo as a file."""

    new_logo = forms.FileField(
        label=gettext_lazy("logo"),
        required=False,
        help_text=format_lazy(
            gettext_lazy(
                "PNG, JPEG, WebP or SVG without scripts, at most {kilobytes} kB. It is shown 28"
                " pixels high, on light and on dark surfaces."
            ),
            kilobytes=MAX_LOGO_BYTES // 1000,
        ),
    )
    without_logo = forms.BooleanField(
        label=gettext_lazy("remove the logo"),
        required=False,
        help_text=gettext_lazy("Shows that of revcred again."),
    )

    def clean_new_logo(self) -> Any:
        uploaded = self.cleaned_data["new_logo"]
        if not uploaded:
            return None
        # One byte more tells that it is too large, without reading all of it.
        content = uploaded.read(MAX_LOGO_BYTES + 1)
        self.instance.logo_type = check_logo(content)
        self.instance.logo = content
        return uploaded

    def clean(self) -> Any:
        cleaned = super().clean()
        if self.cleaned_data.get("without_logo") and not self.cleaned_data.get("new_logo"):
            self.instance.logo, self.instance.logo_type = b"", ""
        return cleaned


@admin.register(Appearance)
class AppearanceAdmin(AuditedModelAdmin):
    """How pages of subscribers look."""

    form = AppearanceForm
    fields = (
        "name",
        "language",
        "new_logo",
        "without_logo",
        "accent",
        "accent_dark",
        "welcome_title",
        "welcome_text",
        "support_text",
        "links",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the one row, which is created when somebody first asks for it."""
        if not self.has_view_or_change_permission(request):
            return super().changelist_view(request, extra_context)
        row, _ = Appearance.objects.get_or_create(pk=1)
        return HttpResponseRedirect(reverse("admin:revcred_appearance_change", args=[row.pk]))
