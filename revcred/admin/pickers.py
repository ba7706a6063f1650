"""Fields that search a big table as one types, instead of listing it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AutocompleteSelect, AutocompleteSelectMultiple

from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Subscriber,
    Subscription,
)


class SubscriptionSelect(AutocompleteSelect):
    """Offers one customer's subscriptions, once it is known which customer's."""

    customer: Customer | None = None

    def get_url(self) -> str:
        url = super().get_url()
        return f"{url}?of_customer={self.customer.pk}" if self.customer else url


def _field(model: Any, name: str) -> Any:
    return model._meta.get_field(name)


def customer() -> forms.Field:
    widget = AutocompleteSelect(_field(Credential, "customer"), admin.site)
    return forms.ModelChoiceField(Customer.objects.all(), widget=widget)


def credential(**kwargs: Any) -> forms.Field:
    widget = AutocompleteSelect(_field(ExternalKey, "credential"), admin.site)
    return forms.ModelChoiceField(Credential.objects.all(), widget=widget, **kwargs)


def gateway(**kwargs: Any) -> forms.Field:
    widget = AutocompleteSelect(_field(ExternalKey, "gateway"), admin.site)
    help_text = "The only gateway it counts at. Empty: any."
    return forms.ModelChoiceField(
        Gateway.objects.all(), widget=widget, required=False, help_text=help_text, **kwargs
    )


def subscription(**kwargs: Any) -> forms.Field:
    widget = SubscriptionSelect(_field(Assignment, "subscription"), admin.site)
    return forms.ModelChoiceField(Subscription.objects.all(), widget=widget, **kwargs)


def subscriptions(**kwargs: Any) -> forms.Field:
    widget = AutocompleteSelectMultiple(_field(Assignment, "subscription"), admin.site)
    return forms.ModelMultipleChoiceField(
        Subscription.objects.all(), widget=widget, required=False, **kwargs
    )


def holders(**kwargs: Any) -> forms.Field:
    widget = AutocompleteSelectMultiple(_field(Credential, "holders"), admin.site)
    return forms.ModelMultipleChoiceField(
        Subscriber.objects.all(), widget=widget, required=False, **kwargs
    )
