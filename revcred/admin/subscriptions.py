from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from revcred import links
from revcred.actions import subscriptions
from revcred.admin import asking
from revcred.admin.badges import badge
from revcred.admin.customers import OfCustomer, named
from revcred.admin.generic import ModelForm
from revcred.admin.lists import Chosen, as_number, starting_with
from revcred.admin.recorded import Recorded
from revcred.models import Product, Subscription


class OfProduct(Chosen):
    title, parameter_name, model = "product", "product", Product


@admin.register(Subscription)
class SubscriptionAdmin(Recorded):
    list_display = (
        "__str__",
        "customer",
        "product",
        "external_key",
        "state",
        "active_from",
        "active_until",
    )
    list_select_related = ("customer", "product")
    list_filter = (OfCustomer, OfProduct)
    search_fields = ("external_key", "name")
    search_help_text = "The beginning of an external key, a name, or a customer's name."
    autocomplete_fields = ("customer", "product")
    fields = (
        "customer",
        "product",
        "external_key",
        "name",
        "active_from",
        "active_until",
        "quota",
        "created_at",
    )
    readonly_fields = ("created_at",)
    change_form_template = "admin/revcred/subscription/change_form.html"

    @admin.display(description="state")
    def state(self, subscription: Subscription) -> str:
        now = timezone.now()
        if subscription.holds(now):
            return badge("active", "good")
        return badge("ended", "over") if subscription.active_from <= now else badge("later", "warn")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).select_related("customer", "product")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A picker on a page about one customer's credential offers that customer's only."""
        customer = as_number(request.GET.get("of_customer"))
        if customer is not None:
            queryset = queryset.filter(customer=customer)
        return super().get_search_results(request, queryset, search_term)

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [
            Subscription.objects.filter(external_key__startswith=term).values("pk"),
            starting_with(Subscription.objects.all(), "name", term).values("pk"),
            Subscription.objects.filter(customer__in=named(term)).values("pk"),
        ]

    def autocomplete_label(self, found: Subscription) -> str:
        return f"{found} · {found.product} · {found.customer}"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Whose it is stays: its assignments and usage are that customer's."""
        return ("customer", "created_at") if obj else ("created_at",)

    def save_model(
        self, request: HttpRequest, obj: Subscription, form: ModelForm, change: Any
    ) -> None:
        act = subscriptions.change if change else subscriptions.start
        act(subscription=obj, by=request.user)  # type: ignore[arg-type]

    def cut_off(self, form: Any) -> list[str]:
        subscription, until = form.instance, form.cleaned_data.get("active_until")
        if not asking.ends_earlier(form, "active_until"):
            return []
        lately = links.used_lately(subscription=subscription)
        return [asking.ends_calls(f"to “{subscription}”", until, lately)] if lately.calls else []

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """The act has recorded it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """The act has recorded it."""
