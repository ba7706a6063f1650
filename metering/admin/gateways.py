from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.text import capfirst

from metering import actions
from metering.admin import drift, line_tester, trials
from metering.admin.drift import QUIET_AFTER
from metering.api.line_formats.choosing import format_choices
from metering.models import GatewayToken, IntakeStats, RefusedCall, Rejection
from metering.models.gateways import is_well_formed_gateway_token
from metering.recent_calls import calls_reported_lately
from metering.retrying import kept_items, read_again, retry_rejections
from metering.verification import figures
from revcred.admin.products import NameSearchMixin
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import ChoiceFilter
from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.admin_toolkit.lists import parse_id, rows_containing
from revcred.admin_toolkit.site_search import SearchHit, SearchTerm, page_of
from revcred.admin_toolkit.token_pages import (
    BaseIssueTokenForm,
    TokenIssuingMixin,
    token_state_in_words,
)
from revcred.models import Gateway, User
from revcred.time_zones import moment_text, moment_with_zone

MAX_REJECTION_REASONS = 20  # on the gateway's page
MAX_REFUSED_FIGURES = 20
RECEIPT_PARAMETER = "check"  # as in X-Revcred-Check
RECENT_COUNTS_PERIOD = timedelta(days=7)
SCOPES_OF_TEST_TOKENS = {GatewayToken.Scope.POST, GatewayToken.Scope.READ}
# Asked for by an agent of its own, so that few tokens have them.
SCOPES_CHOSEN_BY_HAND = {GatewayToken.Scope.INVENTORY, GatewayToken.Scope.DIGESTS}


def _recent_count(gateway: Gateway, column: str) -> str:
    """Return the sum of a column of the intake stats of the last days, as a sentence."""
    since = timezone.now() - RECENT_COUNTS_PERIOD
    stats = IntakeStats.objects.filter(gateway=gateway.pk, hour__gte=since)
    total: int = stats.aggregate(total=Sum(column, default=0))["total"]
    return f"{total:,} in the last {RECENT_COUNTS_PERIOD.days} days"


class IssueGatewayTokenForm(BaseIssueTokenForm):
    """Issue a token to a gateway."""

    scope = GatewayToken.Scope
    explanation = "The token is shown once, on the next page. It cannot be shown again."

    is_test = forms.BooleanField(
        required=False,
        label="Test token",
        help_text="Calls posted with it are judged and shown for seven days. They are never"
        " counted. This cannot be changed later.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["scopes"]
        field.initial = [each for each in self.scope.values if each not in SCOPES_CHOSEN_BY_HAND]

    def clean_is_test(self) -> bool:
        is_test: bool = self.cleaned_data["is_test"]
        if is_test and set(self.cleaned_data.get("scopes", ())) - SCOPES_OF_TEST_TOKENS:
            message = "A test token can only post and read. Clear the other boxes, or this one."
            raise forms.ValidationError(message)
        return is_test

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        record, self.token = actions.issue_gateway_token(
            gateway=self.target,
            name=data["name"],
            scopes=data["scopes"],
            by=by,
            is_test=data["is_test"],
        )
        return f"The token {record} has been issued."

    def how_to_use(self) -> dict[str, Any]:
        """Return a command with the token in it, which only this one page shows."""
        is_test = self.cleaned_data["is_test"]
        return {
            "curl": trials.curl_for(self.request, self.token),
            "is_test": is_test,
            "try_url": trials.address_of_try(self.target) if is_test else "",
        }


class GatewayTokenField(ModelChoiceField):
    """A choice of tokens that tells which of them are still in use."""

    def label_from_instance(self, token: GatewayToken) -> str:
        used = moment_text(token.last_used_at) if token.last_used_at else "never"
        return f"{token.name or 'unnamed'} ({token}), last used {used}"


class RevokeGatewayTokenForm(ActionForm):
    """Revoke one of a gateway's tokens."""

    title = "Revoke a token"
    button = "Revoke this token"
    is_destructive = True
    explanation = (
        "It cannot be used from now on, and this cannot be undone. Calls posted with it stay."
    )

    token = GatewayTokenField(
        GatewayToken.objects.none(), widget=forms.RadioSelect, empty_label=None
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["token"]
        # A revoked token cannot be revoked again, and is not offered.
        field.queryset = self.target.tokens.filter(revoked_at=None)

    def effects(self) -> list[confirmation.Effect]:
        others = self.target.tokens.filter(revoked_at=None).count() - 1
        sentence = (
            f"Posts with {self.cleaned_data['token']} are rejected at once, and their calls are not"
            f" counted. The gateway has {confirmation.counted(others, 'other valid token')}."
        )
        lately = calls_reported_lately(self.target)
        return [confirmation.effect(sentence, lately, "The gateway")]

    def perform(self, by: User) -> str:
        token = self.cleaned_data["token"]
        actions.revoke_gateway_token(token=token, by=by)
        return f"The token {token} has been revoked."


class RetryRejectionsForm(ActionForm):
    """Try a gateway's rejected items again."""

    title = "Try rejected items again"
    button = "Try them again"
    is_destructive = True  # asked first: it counts calls
    explanation = (
        "Items are read as on arrival, by the format and settings that hold now. Items that fit are"
        " counted, also if their gateway sent them again: then only once."
    )

    code = forms.ChoiceField(required=False, label="Rejected because of")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        kept = kept_items(self.target).order_by("code").values_list("code").annotate(Count("pk"))
        field: Any = self.fields["code"]
        field.choices = [("", "Any reason"), *((code, f"{code} ({n:,})") for code, n in kept)]

    def effects(self) -> list[confirmation.Effect]:
        rejections = kept_items(self.target, code=self.cleaned_data["code"])
        found = read_again(rejections, self.target, timezone.now())
        counted = confirmation.counted(len(found.accepted), "call")
        others = confirmation.counted(len(found.rejected), "item")
        sentence = f"From now on, {counted} of them are counted. {others} would still be rejected."
        return [confirmation.Effect(sentence)]

    def perform(self, by: User) -> str:
        found = retry_rejections(gateway=self.target, code=self.cleaned_data["code"], by=by)
        return (
            f"{confirmation.counted(len(found.accepted), 'call')} accepted,"
            f" {confirmation.counted(len(found.rejected), 'item')} still rejected."
        )


# By setting of a gateway: how the next calls are counted once it has changed.
COUNTING_CHANGE_TEXTS = {
    "accepted_days": "From now on, calls are accepted up to the new age. Older calls are rejected"
    " or wait in quarantine.",
    "ids_from_callers": "From now on, repeated calls are recognised in another way. A call that was"
    " sent before and is sent again may be counted twice.",
    "line_format": "From now on, its lines are read in another way. Lines that do not fit the new"
    " format are rejected.",
    "event_subject": "From now on, the subjects of its CloudEvents name something else. Calls that"
    " are sent as before are charged to nobody.",
    "event_elements": "From now on, other members of its CloudEvents are counted.",
    "counted_records": "From now on, other OpenTelemetry log records count as calls.",
}


# By mode of its checks: what happens to the next calls.
CHECK_MODE_TEXTS = {
    Gateway.CheckMode.OFF: "From now on, revcred lets every call through when this gateway asks.",
    Gateway.CheckMode.OBSERVE: "From now on, revcred lets every call through when this gateway"
    " asks, and counts those that it would refuse.",
    Gateway.CheckMode.ENFORCE: "From now on, this gateway is told to refuse calls that are not"
    " valid.",
}
KEY_PLACE_TEXT = (
    "From now on, the caller's key is read from another place. Calls that have it where it was are"
    " refused if the gateway enforces."
)
CHECK_CHANGE_TEXTS = {
    "key_place": KEY_PLACE_TEXT,
    "key_name": KEY_PLACE_TEXT,
    "check_refuses_over_quota": "From now on, calls over the quota of their subscription are"
    " treated differently.",
    "signs_claims": "From now on, answers to this gateway have a signed claim for the backend, or"
    " have none any more.",
    "check_fails_open": "Exchange the gateway's own configuration as well: it decides what happens"
    " while revcred cannot be asked.",
}


def _check_sentences(form: Any) -> list[str]:
    """Return a sentence for each change of how the gateway's checks are answered."""
    sentences = [
        CHECK_CHANGE_TEXTS[name] for name in form.changed_data if name in CHECK_CHANGE_TEXTS
    ]
    if "check_mode" in form.changed_data:
        mode = form.cleaned_data["check_mode"]
        sentences.insert(0, CHECK_MODE_TEXTS[mode])
        observed = figures.observed_lately(form.instance.pk)
        if mode == Gateway.CheckMode.ENFORCE and observed.calls:
            sentences.insert(1, f"It would have refused {observed}.")
    return list(dict.fromkeys(sentences))


def _suspension_sentences(form: Any) -> list[str]:
    """Return a sentence if the saved form suspends the gateway, or ends its suspension."""
    if "suspended_at" not in form.changed_data:
        return []
    # Revoked tokens do not work in either case, and are not counted.
    at, tokens = form.cleaned_data["suspended_at"], form.instance.tokens.filter(revoked_at=None)
    valid = confirmation.counted(tokens.count(), "token")
    if at is None:
        return [f"From now on, {valid} of it work again, and its calls are counted."]
    sentence = (
        f"From {moment_with_zone(at)} on, {valid} of it no longer work, and its calls are not"
        " counted."
    )
    return [sentence]


class GatewayKindFilter(ChoiceFilter):
    """Gateways of one kind."""

    title, parameter_name, choices_of = "kind", "kind", Gateway.Kind


class GatewayStateFilter(ChoiceFilter):
    """Gateways by the state that the list shows."""

    title, parameter_name = "state", "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("reporting", "Reporting"),
            ("quiet", "Quiet"),
            ("never", "Never seen"),
            ("suspended", "Suspended"),
        ]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        now = timezone.now()
        if chosen == "suspended":
            return queryset.filter(suspended_at__lte=now)
        condition = {
            "reporting": Q(last_seen_at__gte=now - QUIET_AFTER),
            "quiet": Q(last_seen_at__lt=now - QUIET_AFTER),
            "never": Q(last_seen_at=None),
        }[chosen]
        return queryset.filter(condition).exclude(suspended_at__lte=now)


class CheckModeFilter(ChoiceFilter):
    """Gateways by how their questions about calls are answered."""

    title, parameter_name, choices_of = "check of calls", "check_mode", Gateway.CheckMode


@admin.register(Gateway)
class GatewayAdmin(NameSearchMixin, TokenIssuingMixin):
    """Gateways, their tokens, and what they sent lately."""

    list_display = ("name", "kind", "state", "tokens", "last_seen_at", "clock")
    list_filter = (GatewayKindFilter, GatewayStateFilter, CheckModeFilter)
    more_columns = ("check_mode", "created_at")
    search_fields = ("name",)
    search_help_text = "Words of a name."
    fields = (
        *(
            "name",
            "kind",
            "public_url",
            "suspended_at",
            "accepted_days",
            "ids_from_callers",
            "line_format",
        ),
        *("event_subject", "event_elements", "counted_records", "kept_attributes"),
        *("check_mode", "key_place", "key_name", "check_refuses_over_quota", "check_fails_open"),
        "signs_claims",
        *("last_seen_at", "clock", "conflicts", "passed_over", "created_at"),
    )
    readonly_fields = ("last_seen_at", "clock", "conflicts", "passed_over", "created_at")
    change_form_template = "admin/revcred/gateway/change_form.html"
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {
        "issue-token": IssueGatewayTokenForm,
        "revoke-token": RevokeGatewayTokenForm,
        "retry-rejections": RetryRejectionsForm,
        "save-format": line_tester.SaveFormatForm,
    }

    @admin.display(description="valid tokens")
    def tokens(self, gateway: Any) -> int:
        return int(gateway.valid_tokens)

    @admin.display(description="clock")
    def clock(self, gateway: Gateway) -> str | None:
        """Return the median difference between its latest calls' moments and their arrival."""
        if gateway.clock_ahead is None:
            return None
        seconds = gateway.clock_ahead.total_seconds()
        return f"{abs(seconds):,.1f} s {'ahead' if seconds > 0 else 'behind'}"

    @admin.display(description="conflicts")
    def conflicts(self, gateway: Gateway) -> str:
        """Return the number of recent calls whose id was used before with another content."""
        return _recent_count(gateway, "conflicting")

    @admin.display(description="ignored log records")
    def passed_over(self, gateway: Gateway) -> str:
        """Return the number of recent log records that were no calls."""
        return _recent_count(gateway, "passed_over")

    @admin.display(description="state")
    def state(self, gateway: Gateway) -> str:
        now = timezone.now()
        if gateway.suspended_at and gateway.suspended_at <= now:
            return badge("suspended", "warn")
        if gateway.last_seen_at is None:
            return badge("never seen", "over")
        is_quiet = gateway.last_seen_at < now - QUIET_AFTER
        return badge("quiet", "over") if is_quiet else badge("reporting", "good")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        # Counted in the query of the list: one query more for each row would be too many.
        valid = Count("tokens", filter=Q(tokens__revoked_at=None))
        gateways: QuerySet[Any] = super().get_queryset(request).annotate(valid_tokens=valid)
        return gateways

    def effects(self, form: Any, formsets: Any) -> list[confirmation.Effect]:
        """Return a sentence for each setting by which the next calls are counted differently."""
        if form.initial.get("name") is None:  # a new gateway has no calls yet
            return []
        sentences = [
            *_suspension_sentences(form),
            *_check_sentences(form),
            *(
                COUNTING_CHANGE_TEXTS[name]
                for name in form.changed_data
                if name in COUNTING_CHANGE_TEXTS
            ),
        ]
        if not sentences:
            return []
        first, *others = sentences
        # The calls of the last days stand once, under the first sentence.
        lately = calls_reported_lately(form.instance)
        return [confirmation.effect(first, lately), *map(confirmation.Effect, others)]

    def effects_of_deletion(self, obj: Any) -> list[confirmation.Effect]:
        """Return a sentence on the tokens that stop working."""
        valid = obj.tokens.filter(revoked_at=None).count()
        sentence = f"From now on, {confirmation.counted(valid, 'token')} of it no longer work."
        return [confirmation.effect(sentence, calls_reported_lately(obj))]

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the formats that there are where a gateway's is chosen."""
        if db_field.name != "line_format":
            return super().formfield_for_dbfield(db_field, request, **kwargs)
        choices = [("", "As usual for its kind"), *format_choices()]
        return forms.ChoiceField(
            choices=choices,
            required=False,
            label=capfirst(db_field.verbose_name),
            help_text=db_field.help_text,
        )

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(f"<int:gateway_id>/{address}", self.admin_site.admin_view(view), name=name)
            for address, view, name in (
                ("try/", self._try, "revcred_gateway_try"),
                ("try/latest/", self._latest_trials, "revcred_gateway_try-latest"),
                ("try/<str:trial_id>/", self._trial, "revcred_gateway_trial"),
                ("lines/", self._lines, "revcred_gateway_lines"),
                ("drift/", self._drift, "revcred_gateway_drift"),
            )
        ]
        return own + super().get_urls()

    def _try(self, request: HttpRequest, gateway_id: int) -> HttpResponse:
        return trials.try_page(request, self.admin_site, self._viewed(request, gateway_id))

    def _latest_trials(self, request: HttpRequest, gateway_id: int) -> HttpResponse:
        return trials.latest_trials_page(request, self._viewed(request, gateway_id))

    def _trial(self, request: HttpRequest, gateway_id: int, trial_id: str) -> HttpResponse:
        gateway = self._viewed(request, gateway_id)
        return trials.trial_receipt_page(request, self.admin_site, gateway, trial_id)

    def _lines(self, request: HttpRequest, gateway_id: int) -> HttpResponse:
        gateway = self._viewed(request, gateway_id)
        # It tells whose a key is, as the page of a hypothetical call does.
        user: Any = request.user
        if not user.has_perm("revcred.view_credential"):
            raise PermissionDenied
        return line_tester.lines_page(request, self.admin_site, gateway)

    def _drift(self, request: HttpRequest, gateway_id: int) -> HttpResponse:
        user: Any = request.user
        if not user.has_perm("revcred.view_credential"):
            raise PermissionDenied
        gateway = self._viewed(request, gateway_id)
        return drift.drift_page(request, self.admin_site, gateway)

    def _viewed(self, request: HttpRequest, gateway_id: int) -> Gateway:
        """Return the gateway, if the user may see it and the calls that it reports."""
        user: Any = request.user
        if not self.has_view_permission(request) or not user.has_perm("metering.view_transaction"):
            raise PermissionDenied
        return get_object_or_404(Gateway, pk=gateway_id)

    def search_queries(self, term: str) -> list[QuerySet[Any]]:
        return [
            Gateway.objects.filter(name__istartswith=term).values("pk"),
            rows_containing(Gateway.objects.all(), term, "name").values("pk"),
        ]

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        """Return the gateway of a token or of a refused call, or those with these words."""
        if refused := figures.find_receipt(term.text):
            return _refused_call_hits(refused)
        if not is_well_formed_gateway_token(term.key):
            return super().search_hits(request, term)
        return [
            SearchHit(
                label=f"This is a token of {token.gateway}",
                url=page_of(token.gateway),
                detail=token_state_in_words(token),
            )
            for token in GatewayToken.objects.of(term.key).select_related("gateway")
        ]

    def hit_detail(self, found: Gateway) -> str:
        return found.get_kind_display()

    def autocomplete_label(self, found: Gateway) -> str:
        return found.name

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        tokens = GatewayToken.objects.filter(gateway=parse_id(object_id))
        number = parse_id(object_id) or 0
        context = {
            "tokens": tokens,
            "refused": figures.refused_at(number, MAX_REFUSED_FIGURES),
            "observed": figures.observed_lately(number),
            "latest_refused": figures.latest_refused_at(number),
            "receipt": _receipt_to_show(request, number),
            **_recent_rejections(number),
        } | (extra_context or {})
        return super().change_view(request, object_id, form_url, context)


def _refused_call_hits(refused: RefusedCall) -> list[SearchHit]:
    """Return where the receipt of a refused call is shown: nowhere if the gateway was deleted."""
    gateway = Gateway.objects.filter(pk=refused.gateway_id).first()
    if gateway is None:
        return []
    return [
        SearchHit(
            label=f"Refused call of {moment_with_zone(refused.at, seconds=True)}",
            url=f"{page_of(gateway)}?{urlencode({RECEIPT_PARAMETER: str(refused.pk)})}#refused",
            detail=f"{refused.get_code_display()} · {gateway}",
        )
    ]


def _receipt_to_show(request: HttpRequest, gateway: int) -> RefusedCall | None:
    """Return the gateway's refused call that the address asks for, if any."""
    found = figures.find_receipt(request.GET.get(RECEIPT_PARAMETER, ""))
    return found if found and found.gateway_id == gateway else None


def _recent_rejections(gateway: int | None) -> dict[str, Any]:
    """Return the reasons of the gateway's recent rejections, and how many rejections are kept."""
    rejections = Rejection.objects.filter(gateway=gateway)
    reasons = (
        # `order_by()` first: the model's own ordering would become part of the GROUP BY.
        rejections.order_by()
        .values("door", "field", "code", "message")
        .annotate(items=Count("pk"), kept_items=Count("item"), last=Max("rejected_at"))
        .order_by("-last")[:MAX_REJECTION_REASONS]
    )
    return {"reasons": list(reasons), "kept": rejections.count()}
