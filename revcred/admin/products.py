from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from revcred.actions import subscriptions
from revcred.admin.generic import ModelForm
from revcred.admin.recorded import Recorded
from revcred.models import Product, Source


class FoundByName(Recorded):
    """Few enough to be read through."""

    search_help_text = "The beginning of a name or external key."

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        everything = self.model._base_manager.all()
        return [
            everything.filter(name__istartswith=term).values("pk"),
            everything.filter(external_key__startswith=term).values("pk"),
        ]

    def autocomplete_label(self, found: Any) -> str:
        return f"{found} ({found.external_key})"


@admin.register(Product)
class ProductAdmin(FoundByName):
    list_display = ("__str__", "external_key", "published")
    list_filter = ("published",)
    search_fields = ("name", "external_key")
    fields = ("name", "version", "external_key", "published", "sources")
    autocomplete_fields = ("sources",)

    def save_related(
        self, request: HttpRequest, form: ModelForm, formsets: Any, change: Any
    ) -> None:
        super().save_related(request, form, formsets, change)
        if "sources" in form.changed_data:
            subscriptions.sources_changed(product=form.instance, by=request.user)  # type: ignore[arg-type]


@admin.register(Source)
class SourceAdmin(FoundByName):
    list_display = ("name", "external_key", "url_prefixes")
    search_fields = ("name", "external_key")
    fields = ("name", "external_key", "url_prefixes")
