"""Admin pages of products, sources and path rules."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.utils.translation import gettext

from revcred import hooks
from revcred.actions import subscriptions
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.datetime_field import KeepsMicrosecondsForm
from revcred.admin_toolkit.filters import ChoiceFilter, LinkedFilter, YesNoFilter
from revcred.admin_toolkit.generic import ModelForm, TabularInline
from revcred.admin_toolkit.lists import parse_id, rows_containing
from revcred.admin_toolkit.renaming import ReattributeRenamedMixin
from revcred.models import PathRule, Product, Source
from revcred.texts import gettext_lazy, number_of
from revcred.time_zones import moment_with_zone


class CountedCallsFilter(ChoiceFilter):
    """Products that count all calls, or only those to their sources."""

    title, parameter_name = gettext_lazy("counts"), "counts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("all", gettext("All calls")), ("sources", gettext("Calls to its sources only"))]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        return queryset.filter(restricted=chosen == "sources")


class SourceOfProductFilter(LinkedFilter):
    """Products that count a source."""

    title, parameter_name, model = gettext_lazy("source"), "source", Source

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        return queryset.filter(sources=chosen)


class ProductOfSourceFilter(LinkedFilter):
    """Sources that a product counts."""

    title, parameter_name, model = gettext_lazy("product"), "product", Product

    def narrow(self, queryset: QuerySet[Any], chosen: int) -> QuerySet[Any]:
        return queryset.filter(products=chosen)


class InProductFilter(YesNoFilter):
    """Sources that a product counts, or none."""

    title, parameter_name = gettext_lazy("counted by a product"), "counted"

    def condition(self, now: datetime) -> Exists:
        return Exists(Product.sources.through.objects.filter(source=OuterRef("pk")))


class SwitchedOffRuleFilter(YesNoFilter):
    """Sources with a path rule that is switched off."""

    title, parameter_name = gettext_lazy("has a rule that is switched off"), "switched_off"

    def condition(self, now: datetime) -> Exists:
        return Exists(PathRule.objects.filter(Q(switched_off=True), source=OuterRef("pk")))


class NameSearchMixin(ReattributeRenamedMixin):
    """Searches by name and external key without an index: there are few products and sources."""

    search_help_text = gettext_lazy("Words of a name or external key.")

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        everything = self.model._base_manager.all()
        return [
            everything.filter(name__istartswith=term).values("pk"),
            everything.filter(external_key__startswith=term).values("pk"),
            rows_containing(everything, term, "name", "external_key").values("pk"),
        ]

    def hit_detail(self, found: Any) -> str:
        return str(found.external_key)

    def autocomplete_label(self, found: Any) -> str:
        return f"{found} ({found.external_key})"


class ProductForm(KeepsMicrosecondsForm):
    """Asks what a product counts after its last source is removed. Default: no calls."""

    OPEN, CLOSED = "open", "closed"

    without_sources = forms.ChoiceField(
        label=gettext_lazy("Without sources"),
        choices=(
            (CLOSED, gettext_lazy("Counts no calls")),
            (OPEN, gettext_lazy("Counts all calls")),
        ),
        required=False,
        widget=forms.RadioSelect,
        help_text=gettext_lazy("Needed when you remove the last source."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        product = self.instance
        if product.pk and product.restricted and not product.sources.exists():
            self.initial["without_sources"] = self.CLOSED

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        is_left = self.instance.restricted and not cleaned.get("sources")
        if is_left and not cleaned.get("without_sources"):
            message = gettext(
                "No source is left. Choose whether the product counts no calls or all"
                " calls from now on."
            )
            self.add_error("without_sources", message)
        return cleaned


class SlowRulesMixin(NameSearchMixin):
    """Warns on the pages of what has path rules that were switched off because they took long."""

    slow_rules_of = ""  # the lookup from a path rule to what the page shows

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method == "GET":
            slow = PathRule.objects.slow().filter(**{self.slow_rules_of: parse_id(object_id)})
            for rule in slow.select_related("source"):
                messages.warning(
                    request,
                    gettext(
                        "The path rule of “%(source)s” that %(rule)s was switched off at"
                        " %(moment)s, since it took too long on paths of calls. Write a simpler"
                        " expression and switch it on."
                    )
                    % {
                        "source": rule.source,
                        "rule": rule,
                        "moment": moment_with_zone(rule.found_slow_at),
                    },
                )
        return super().change_view(request, object_id, form_url, extra_context)


def counted_calls_in_words(product: Product) -> str:
    """Return which calls a product counts, such as `calls to 2 sources only`."""
    if not Product.objects.filter(pk=product.pk, restricted=True).exists():
        return gettext("all calls")
    sources = product.sources.count()
    if not sources:
        return (
            gettext("no calls")
            if not product.also_without_source
            else gettext("calls of no source")
        )
    calls = gettext("calls to %(sources)s") % {
        "sources": number_of(sources, "%(count)s source", "%(count)s sources")
    }
    return (
        gettext("%(calls)s and those of no source") % {"calls": calls}
        if product.also_without_source
        else gettext("%(calls)s only") % {"calls": calls}
    )


@admin.register(Product)
class ProductAdmin(SlowRulesMixin):
    """Products with the sources they count."""

    slow_rules_of = "source__products"

    list_display = ("__str__", "external_key")
    more_columns = ("also_without_source",)
    list_filter = (CountedCallsFilter, SourceOfProductFilter)
    search_fields = ("name", "external_key")
    form = ProductForm
    fields = (
        "name",
        "version",
        "external_key",
        "sources",
        "also_without_source",
        "without_sources",
        "credential_issuing",
        "credential_limit",
        "credential_max_days",
        "subscribers_reveal",
        "subscribers_rotate",
        "subscribers_suspend",
        "subscribers_revoke",
        "description",
    )
    autocomplete_fields = ("sources",)

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        counting = {"sources", "also_without_source", "without_sources"}
        if not form.initial.get("external_key") or not counting & {*form.changed_data}:
            return []
        product = form.instance
        count = number_of(
            product.subscriptions.count(), "%(count)s subscription", "%(count)s subscriptions"
        )
        calls = counted_calls_in_words(product)
        sentence = gettext(
            "%(count)s to %(product)s will count %(calls)s, from their start on."
        ) % {"count": count, "product": product, "calls": calls}
        return [
            confirmation.effect(sentence, hooks.recent_calls_of(product=product), gettext("They"))
        ]

    def save_related(
        self, request: HttpRequest, form: ModelForm, formsets: Any, change: Any
    ) -> None:
        super().save_related(request, form, formsets, change)
        user: Any = request.user
        if {"sources", "also_without_source"} & {*form.changed_data}:
            subscriptions.announce_sources_changed(product=form.instance, by=user)
        if form.cleaned_data["without_sources"] == ProductForm.OPEN:
            subscriptions.open_product_to_all_calls(product=form.instance, by=user)


# Also tells a valid choice from none.
OPENS_BY_CHOICE = {ProductForm.OPEN: True, ProductForm.CLOSED: False}


class PathRuleInline(TabularInline):
    """Path rules on the page of their source."""

    model = PathRule
    extra = 0


@admin.register(Source)
class SourceAdmin(SlowRulesMixin):
    """Sources: the APIs behind products."""

    slow_rules_of = "source"

    list_display = ("name", "external_key", "paths")
    list_filter = (ProductOfSourceFilter, InProductFilter, SwitchedOffRuleFilter)
    search_fields = ("name", "external_key")
    fields = ("name", "external_key")
    inlines = (PathRuleInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Source]:
        return super().get_queryset(request).prefetch_related("path_rules")

    @admin.display(description=gettext_lazy("paths"))
    def paths(self, source: Source) -> str:
        return ", ".join(
            gettext("%(rule)s (switched off)") % {"rule": rule} if rule.switched_off else str(rule)
            for rule in source.path_rules.all()
        )

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        changes_counting = "external_key" in form.changed_data or any(
            formset.has_changed() for formset in formsets
        )
        if not form.initial.get("external_key") or not changes_counting:
            return []
        source = form.instance
        return [
            confirmation.Effect(
                gettext(
                    "Calls belong to “%(source)s” if they name it %(external_key)s, or by"
                    " %(rules)s. %(products)s count it."
                )
                % {
                    "source": source,
                    "external_key": source.external_key,
                    "rules": number_of(
                        source.path_rules.count(), "%(count)s path rule", "%(count)s path rules"
                    ),
                    "products": number_of(
                        source.products.count(), "%(count)s product", "%(count)s products"
                    ),
                }
            )
        ]

    def save_related(
        self, request: HttpRequest, form: ModelForm, formsets: Any, change: Any
    ) -> None:
        super().save_related(request, form, formsets, change)
        has_another_key = "external_key" in form.changed_data
        if has_another_key or any(formset.has_changed() for formset in formsets):
            subscriptions.announce_paths_changed(source=form.instance, by=request.user)  # type: ignore[arg-type]

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Ask as well what products without another source count from then on."""
        source = self.get_object(request, unquote(object_id))
        last_of = (
            subscriptions.products_with_only_source(source=source)
            if isinstance(source, Source)
            else []
        )
        is_missing = bool(last_of) and request.POST.get("without_sources") not in OPENS_BY_CHOICE
        context = {"last_of": last_of, "is_choice_missing": False} | (extra_context or {})
        if request.method == "POST" and is_missing and not confirmation.is_going_back(request):
            # Show the page once more instead of deleting.
            request.method, request.POST = "GET", QueryDict()
            context["is_choice_missing"] = True
        return super().delete_view(request, object_id, context)

    def delete_model(self, request: HttpRequest, obj: Source) -> None:
        opens = OPENS_BY_CHOICE.get(request.POST.get("without_sources", ""))
        subscriptions.delete_source(source=obj, opens=opens, by=request.user)  # type: ignore[arg-type]

    def log_deletions(self, request: HttpRequest, queryset: Any) -> None:  # type: ignore[override]
        """Do nothing: the action has recorded the deletion."""
