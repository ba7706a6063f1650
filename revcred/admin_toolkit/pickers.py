"""Fields that search a big table as one types, instead of listing it."""

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
    Subscriber,
    Subscription,
)


class NumericIdsMixin(AutocompleteMixin):
    """What an address or a form says that is no number is nothing that could have been picked.

    What is typed is posted, so that a key is in no address.
    """

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(js=["admin/js/jquery.init.js", "revcred/pickers.js"])

    def optgroups(self, name: str, value: Any, attr: Any = None) -> Any:
        numbers = [each for each in value if parse_id(each) is not None]
        return super().optgroups(name, numbers, attr)


class PickerSelect(NumericIdsMixin, AutocompleteSelect):
    pass


class PickerSelectMultiple(NumericIdsMixin, AutocompleteSelectMultiple):
    pass


class PickersMixin:
    """An admin, or an inline of one, whose `autocomplete_fields` are these pickers."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        admin: Any = super()
        if db_field.name in self.autocomplete_fields:  # type: ignore[attr-defined]
            select = PickerSelectMultiple if db_field.many_to_many else PickerSelect
            kwargs["widget"] = select(db_field, self.admin_site)  # type: ignore[attr-defined]
        return admin.formfield_for_dbfield(db_field, request, **kwargs)


class SubscriptionPickerSelect(PickerSelect):
    """Offers one customer's subscriptions, once it is known which customer's."""

    customer: Customer | None = None

    def get_url(self) -> str:
        url = super().get_url()
        return f"{url}?of_customer={self.customer.pk}" if self.customer else url


def _relation_field(model: Any, name: str) -> Any:
    return model._meta.get_field(name)


def customer_picker() -> forms.Field:
    widget = PickerSelect(_relation_field(Credential, "customer"), admin.site)
    return forms.ModelChoiceField(Customer.objects.all(), widget=widget)


def credential_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelect(_relation_field(ExternalKey, "credential"), admin.site)
    return forms.ModelChoiceField(Credential.objects.all(), widget=widget, **kwargs)


def gateway_picker(**kwargs: Any) -> forms.Field:
    widget = PickerSelect(_relation_field(ExternalKey, "gateway"), admin.site)
    help_text = "The only gateway it counts at. Empty: any."
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
