"""Form fields that search a big table while one types, instead of listing it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import (
    AutocompleteMixin,
    AutocompleteSelect,
    AutocompleteSelectMultiple,
)
from django.http import HttpRequest

from revcred.admin_toolkit.lists import parse_id
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Product,
    Source,
    Subscriber,
    Subscription,
    User,
    UserToken,
)
from revcred.texts import gettext_lazy


class NumericIdsMixin(AutocompleteMixin):
    """Ignores values from a URL or form that are no ids, and posts what is typed.

    A GET would put a typed key into a URL, which is logged.
    """

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(js=["admin/js/jquery.init.js", "revcred/pickers.js"])

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        # Django would pass any text on to PostgreSQL, which fails on it.
        numbers = [item for item in value if parse_id(item) is not None]
        return super().optgroups(name, numbers, attr)


class PickerSelect(NumericIdsMixin, AutocompleteSelect):
    """A picker of one row."""


class PickerSelectMultiple(NumericIdsMixin, AutocompleteSelectMultiple):
    """A picker of several rows."""

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> dict[str, Any]:
        """Leave away the button for all rows: each has its own, and it would be no list's item."""
        attrs = super().build_attrs(base_attrs, extra_attrs)
        return attrs | {"data-allow-clear": "false"}


class PickersMixin:
    """Makes `autocomplete_fields` of an admin or inline such pickers."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # A mixin: the next class is the admin or the inline.
        admin: Any = super()
        if db_field.name in self.autocomplete_fields:  # type: ignore[attr-defined]
            select = PickerSelectMultiple if db_field.many_to_many else PickerSelect
            kwargs["widget"] = select(db_field, self.admin_site)  # type: ignore[attr-defined]
        return admin.formfield_for_dbfield(db_field, request, **kwargs)


class SubscriptionPickerSelect(PickerSelect):
    """Offers the subscriptions of one customer, once the customer is known."""

    customer: Customer | None = None

    def get_url(self) -> str:
        url = super().get_url()
        return f"{url}?of_customer={self.customer.pk}" if self.customer else url


def _relation_field(model: Any, name: str) -> Any:
    return model._meta.get_field(name)


# Each widget needs a foreign key to know model and admin; which model has it does not matter.
def customer_picker() -> forms.Field:
    widget = PickerSelect(_relation_field(Credential, "customer"), admin.site)
    return forms.ModelChoiceField(Customer.objects.all(), widget=widget)


def credential_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelect(_relation_field(ExternalKey, "credential"), admin.site)
    return forms.ModelChoiceField(Credential.objects.all(), widget=widget, **kwargs)


def gateway_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelect(_relation_field(ExternalKey, "gateway"), admin.site)
    help_text = gettext_lazy("The only gateway at which it counts. Empty: all gateways.")
    return forms.ModelChoiceField(
        Gateway.objects.all(), widget=widget, required=False, help_text=help_text, **kwargs
    )


def subscription_picker(**kwargs: Any) -> forms.Field:
    widget = SubscriptionPickerSelect(_relation_field(Assignment, "subscription"), admin.site)
    return forms.ModelChoiceField(Subscription.objects.all(), widget=widget, **kwargs)


def subscriptions_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelectMultiple(_relation_field(Assignment, "subscription"), admin.site)
    return forms.ModelMultipleChoiceField(
        Subscription.objects.all(), widget=widget, required=False, **kwargs
    )


def holders_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelectMultiple(_relation_field(Credential, "holders"), admin.site)
    return forms.ModelMultipleChoiceField(
        Subscriber.objects.all(), widget=widget, required=False, **kwargs
    )


# By table: a relation to it, of a model whose page asks for the table by a picker.
RELATIONS_TO = {
    Customer: (Credential, "customer"),
    Subscriber: (Credential, "holders"),
    Credential: (ExternalKey, "credential"),
    Gateway: (ExternalKey, "gateway"),
    Subscription: (Assignment, "subscription"),
    Product: (Subscription, "product"),
    Source: (Product, "sources"),
    User: (UserToken, "user"),
}


def row_picker(model: Any) -> forms.Field:
    """Return a picker of any row of a table, or none."""
    widget = PickerSelect(_relation_field(*RELATIONS_TO[model]), admin.site)
    return forms.ModelChoiceField(model._base_manager.all(), widget=widget, required=False)
