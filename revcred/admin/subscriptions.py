"""Admin pages of subscriptions."""

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from revcred import hooks
from revcred.actions import subscriptions
from revcred.admin.customers import CustomerFilter
from revcred.admin.products import counted_calls_in_words
from revcred.admin.selections import ExtendSubscriptionsForm
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import (
    ChoiceFilter,
    LinkedFilter,
    YesNoFilter,
    has_any,
    moment_filter,
)
from revcred.admin_toolkit.generic import ModelForm
from revcred.admin_toolkit.lists import parse_id
from revcred.admin_toolkit.search import subscription_search_queries
from revcred.admin_toolkit.selections import SelectionMixin
from revcred.metering_port import RECENT_CALLS_DAYS
from revcred.models import Assignment, FormerName, Product, Subscription, User
from revcred.texts import gettext_lazy, grouped, number_of, quoted
from revcred.time_zones import moment_with_zone


class ProductFilter(LinkedFilter):
    """Subscriptions to one product."""

    title, parameter_name, model = gettext_lazy("product"), "product", Product


class SubscriptionStateFilter(ChoiceFilter):
    """Subscriptions that are active, have ended, or begin later."""

    title, parameter_name = gettext_lazy("state"), "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("active", gettext("Active")),
            ("ended", gettext("Ended")),
            ("later", gettext("Begins later")),
        ]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        now = timezone.now()
        if chosen == "active":
            return queryset.filter(active_from__lte=now).exclude(active_until__lte=now)
        return queryset.filter(
            Q(active_until__lte=now) if chosen == "ended" else Q(active_from__gt=now)
        )


class HasQuotaFilter(YesNoFilter):
    """Subscriptions with a number of calls a month that are included."""

    title, parameter_name = gettext_lazy("has a quota"), "quota"

    def condition(self, now: datetime) -> Q:
        return Q(quota__isnull=False)


class HasAssignmentFilter(YesNoFilter):
    """Subscriptions to which a credential is assigned now."""

    title, parameter_name = gettext_lazy("has a credential"), "credential"

    def condition(self, now: datetime) -> Q:
        return has_any(Assignment.objects.at(now).filter(subscription=OuterRef("pk")))


EndsBeforeFilter = moment_filter("ends_before", gettext_lazy("ends before"), "active_until__lt")


def _lost_calls_effect(former: FormerName, taker: Subscription) -> confirmation.Effect:
    """Return the effect on calls that the taker of a former name takes from its loser."""
    loser = Subscription.objects.select_related("customer").get(pk=former.target_id)
    lately = hooks.recent_calls_of(subscription=loser, named=former.name)
    return confirmation.Effect(
        gettext(
            "“%(former)s” was an external key of “%(loser)s” of %(customer)s, and calls that"
            " name it have gone on counting there: %(calls)s in the last %(days)s"
            " days. From %(moment)s on they do not: they are those of “%(taker)s”."
        )
        % {
            "former": former.name,
            "loser": loser,
            "customer": loser.customer,
            "calls": grouped(lately.calls),
            "days": RECENT_CALLS_DAYS,
            "moment": moment_with_zone(former.counts_until),
            "taker": taker,
        },
        lately,
    )


def _rename_effects(form: Any) -> list[confirmation.Effect]:
    """Return the effect of another external key on calls that still use the old one."""
    if "external_key" not in form.changed_data:
        return []
    subscription, old = form.instance, form.initial["external_key"]
    sentence = gettext(
        "Calls should now name “%(subscription)s” by “%(external_key)s”. Calls that name"
        " “%(old)s” go on counting for it until another subscription has that external key."
    ) % {"subscription": subscription, "external_key": subscription.external_key, "old": old}
    lately = hooks.recent_calls_of(subscription=subscription, named=old)
    return [confirmation.effect(sentence, lately, quoted(old))]


def _product_effects(form: Any) -> list[confirmation.Effect]:
    """Return the effect of another product, which may count other calls."""
    if "product" not in form.changed_data:
        return []
    subscription, product = form.instance, form.cleaned_data["product"]
    sentence = gettext(
        "“%(subscription)s” belongs to %(product)s from its start on. %(product)s counts"
        " %(counted_calls)s."
    ) % {
        "subscription": subscription,
        "product": product,
        "counted_calls": counted_calls_in_words(product),
    }
    return [confirmation.effect(sentence, hooks.recent_calls_of(subscription=subscription))]


def _period_effects(form: Any) -> list[confirmation.Effect]:
    """Return the effect of another start or end."""
    if not {"active_from", "active_until"} & {*form.changed_data}:
        return []
    subscription, now = form.instance, timezone.now()
    until, lately = subscription.active_until, hooks.recent_calls_of(subscription=subscription)
    if confirmation.ends_earlier(form, "active_until"):
        calls = gettext("to “%(subscription)s”") % {"subscription": subscription}
        return [confirmation.ending_calls_in_words(calls, until, lately)]
    assigned = number_of(
        subscription.assignments.at(now).count(), "%(count)s credential", "%(count)s credentials"
    )
    sentence = gettext(
        "“%(subscription)s” is active from %(moment)s on, %(end)s. Calls in this period"
        " are charged to it. Assigned to it now: %(assigned)s."
    ) % {
        "subscription": subscription,
        "moment": moment_with_zone(subscription.active_from),
        "end": confirmation.until_in_words(until),
        "assigned": assigned,
    }
    return [confirmation.effect(sentence, lately)]


class ForgetFormerNameForm(ActionForm):
    """Asks which former external key to forget."""

    title = gettext_lazy("Forget a former external key")
    button = gettext_lazy("Forget this key")
    is_destructive = True
    explanation = gettext_lazy(
        "Calls that still use this key no longer count for the subscription. If another"
        " subscription had the key before, it has it again."
    )

    name = forms.ChoiceField(label=gettext_lazy("Former external key"), widget=forms.RadioSelect)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["name"]
        field.choices = [(former.name, former.name) for former in self.target.former_names()]

    def effects(self) -> list[confirmation.Effect]:
        name = self.cleaned_data["name"]
        lately = hooks.recent_calls_of(subscription=self.target, named=name)
        return [
            confirmation.ending_calls_in_words(
                gettext("that name “%(name)s”") % {"name": name}, timezone.now(), lately
            )
        ]

    def perform(self, by: User) -> str:
        name = self.cleaned_data["name"]
        subscriptions.forget_former_name(subscription=self.target, name=name, by=by)
        return gettext("“%(name)s” no longer means “%(target)s”.") % {
            "name": name,
            "target": self.target,
        }


@admin.register(Subscription)
class SubscriptionAdmin(SelectionMixin):
    """Subscriptions: a customer's right to a product."""

    action_forms: ClassVar[dict[str, type[ActionForm]]] = {"forget-name": ForgetFormerNameForm}
    selection_forms: ClassVar[Any] = {"extend": ExtendSubscriptionsForm}
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
    list_filter = (
        SubscriptionStateFilter,
        CustomerFilter,
        ProductFilter,
        EndsBeforeFilter,
        HasQuotaFilter,
        HasAssignmentFilter,
    )
    unindexed_parameters = frozenset({"credential"})
    indexed_parameters = frozenset({"customer"})
    more_columns = ("name", "quota", "created_at")
    search_fields = ("external_key", "name")
    search_help_text = gettext_lazy("Words of a name or external key, or of its customer's.")
    autocomplete_fields = ("customer", "product")
    fields = (
        "customer",
        "product",
        "external_key",
        "former_names",
        "name",
        "active_from",
        "active_until",
        "quota",
        "created_at",
    )
    readonly_fields = ("former_names", "created_at")
    change_form_template = "admin/revcred/subscription/change_form.html"

    @admin.display(description=gettext_lazy("former external keys"), empty_value="none")
    def former_names(self, subscription: Subscription) -> str:
        """Return names that calls may still give, and until when each counts."""
        return "; ".join(
            former.name
            if former.counts_until is None
            else gettext("%(former)s, until %(moment)s")
            % {"former": former.name, "moment": moment_with_zone(former.counts_until)}
            for former in subscription.former_names()
        )

    @admin.display(description=gettext_lazy("state"))
    def state(self, subscription: Subscription) -> str:
        now = timezone.now()
        if subscription.is_active_at(now):
            return badge("active", "good")
        return badge("ended", "over") if subscription.active_from <= now else badge("later", "warn")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Subscription]:
        return super().get_queryset(request).select_related("customer", "product")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Offer only one customer's subscriptions in a picker that asks for them."""
        # Sent by the picker on forms of one customer's credential.
        customer = parse_id(request.GET.get("of_customer"))
        if customer is not None:
            queryset = queryset.filter(customer=customer)
        return super().get_search_results(request, queryset, search_term)

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return subscription_search_queries(term)

    def hit_detail(self, found: Subscription) -> str:
        return f"{found.product} · {found.customer} · {found.external_key}"

    def autocomplete_label(self, found: Subscription) -> str:
        return f"{found} · {found.product} · {found.customer}"

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Fix the customer: assignments and usage belong to that customer."""
        return ("customer", *self.readonly_fields) if obj else self.readonly_fields

    def save_model(
        self, request: HttpRequest, obj: Subscription, form: ModelForm, change: Any
    ) -> None:
        # The action saves, records and announces: Django's save_model does none of it.
        action = subscriptions.change_subscription if change else subscriptions.start_subscription
        action(subscription=obj, by=request.user)  # type: ignore[arg-type]

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        # Called after the save inside the trial: the instance has its new values.
        subscription = form.instance
        effects = [
            _lost_calls_effect(former, subscription)
            for former in subscriptions.former_names_taken_by(subscription=subscription)
            # A new name may be a former name of others, whose calls then follow it.
            if "external_key" in form.changed_data
        ]
        # A new subscription has no calls that could change.
        if form.initial.get("external_key"):
            effects += [*_rename_effects(form), *_product_effects(form), *_period_effects(form)]
        return effects

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Do nothing: the action has recorded it."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:  # type: ignore[override]
        """Do nothing: the action has recorded it."""
