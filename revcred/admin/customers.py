from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Lower
from django.http import HttpRequest

from revcred.actions import subscribers
from revcred.admin.acts import ActForm, WithActs
from revcred.admin.generic import ModelForm, TabularInline
from revcred.admin.lists import Chosen, any_of, starting_with
from revcred.admin.moments import KeepsMoments
from revcred.admin.naming import ToldByName
from revcred.admin.pickers import WithPickers
from revcred.admin.recorded import Recorded
from revcred.models import Customer, Membership, Subscriber, User

INLINE_AT_MOST = 100


def named(term: str) -> QuerySet[Customer]:
    """Customers whose name or external key starts with this."""
    return Customer.objects.filter(pk__in=any_of(ways_to_customers(term)))


def ways_to_customers(term: str) -> list[QuerySet[Any]]:
    return [
        starting_with(Customer.objects.all(), "name", term).values("pk"),
        Customer.objects.filter(external_key__startswith=term).values("pk"),
    ]


def with_email(term: str) -> QuerySet[Subscriber]:
    return Subscriber.objects.alias(lowered=Lower("email")).filter(lowered=term.lower())


class OfCustomer(Chosen):
    title, parameter_name, model = "customer", "customer", Customer


class OfSubscriber(Chosen):
    title, parameter_name, model = "subscriber", "subscriber", Subscriber


class MembershipForm(ModelForm):
    """An existing membership shows the other side as it is: only its role changes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            return
        for name in {"customer", "subscriber"} & self.fields.keys():
            other = getattr(self.instance, name)
            self.fields[name].disabled = True
            # A picker would look its label up again, row by row.
            self.fields[name].widget = forms.Select(choices=[(other.pk, str(other))])


class MembershipInline(WithPickers, TabularInline):
    model = Membership
    form = MembershipForm
    autocomplete_fields = ("customer", "subscriber")
    extra = 0

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        return super().get_queryset(request).select_related("customer", "subscriber")


class WithMemberships(ToldByName):
    """Memberships are kept with either side, unless there are too many for one page."""

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        if obj and obj.memberships.values("pk")[: INLINE_AT_MOST + 1].count() > INLINE_AT_MOST:
            return []
        return [MembershipInline]


@admin.register(Customer)
class CustomerAdmin(WithMemberships):
    list_display = ("name", "external_key", "suspended_at", "created_at")
    search_fields = ("name", "external_key")
    search_help_text = "The beginning of a name or external key."
    readonly_fields = ("created_at",)
    change_form_template = "admin/revcred/customer/change_form.html"
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "external_key", "email_domains", "tags", "suspended_at")}),
        ("More", {"classes": ("collapse",), "fields": ("metadata", "created_at")}),
    )

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return ways_to_customers(term)

    def autocomplete_label(self, found: Customer) -> str:
        return f"{found.name} ({found.external_key})"


class InviteForm(ActForm):
    title = "Invite"
    button = "Send the invitation"
    explanation = (
        "Sends a link by e-mail by which the subscriber chooses a password and signs in to the"
        " storefront. It may be sent again; a link works once and for a few days."
    )
    refusals: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        subscribers.AnotherSubscriber: (
            None,
            "Who signs in with this address is another subscriber already.",
        ),
    }

    def act(self, by: User) -> str:
        subscribers.invite(subscriber=self.target, by=by, request=self.request)
        return f"An invitation was sent to {self.target.email}."


class SubscriberForm(KeepsMoments):
    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].lower()
        others = User.objects.filter(email=email).exclude(pk=self.instance.user_id)
        if self.instance.user_id and others.exists():
            message = "Somebody else signs in with this address."
            raise forms.ValidationError(message)
        return email


@admin.register(Subscriber)
class SubscriberAdmin(WithMemberships, WithActs):
    form = SubscriberForm
    list_display = ("email", "name", "external_key", "signs_in", "created_at")
    search_fields = ("email", "external_key")
    search_help_text = "The beginning of an e-mail address or external key."
    fields = ("email", "name", "external_key", "user", "created_at")
    readonly_fields = ("user", "created_at")
    list_select_related = ("user",)
    change_form_template = "admin/revcred/subscriber/change_form.html"
    acts: ClassVar[dict[str, type[ActForm]]] = {"invite": InviteForm}

    @admin.display(description="signs in", boolean=True)
    def signs_in(self, subscriber: Subscriber) -> bool:
        return subscriber.user_id is not None

    def save_model(self, request: HttpRequest, obj: Subscriber, form: Any, change: bool) -> None:  # noqa: FBT001
        super().save_model(request, obj, form, change)
        subscribers.change_address(subscriber=obj, by=request.user)  # type: ignore[arg-type]

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [
            with_email(term).values("pk"),
            Subscriber.objects.filter(email__startswith=term.lower()).values("pk"),
            Subscriber.objects.filter(external_key__startswith=term).values("pk"),
        ]

    def autocomplete_label(self, found: Subscriber) -> str:
        return f"{found.name} <{found.email}>" if found.name else found.email


@admin.register(Membership)
class MembershipAdmin(Recorded):
    form = MembershipForm
    list_display = ("subscriber", "customer", "role")
    list_select_related = ("subscriber", "customer")
    list_filter = (OfCustomer, OfSubscriber)
    autocomplete_fields = ("subscriber", "customer")
    ordering = ("-pk",)
    search_fields = ("subscriber__email",)
    search_help_text = "A subscriber's whole e-mail address, or the beginning of a customer's name."

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [
            Membership.objects.filter(subscriber__in=with_email(term)).values("pk"),
            Membership.objects.filter(customer__in=named(term)).values("pk"),
        ]
