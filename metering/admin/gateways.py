from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Count, Max, Q, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from metering import actions, partitions
from metering.models import GatewayToken, Rejection, Tally
from revcred.admin.acts import ActForm
from revcred.admin.badges import badge
from revcred.admin.generic import ModelChoiceField
from revcred.admin.issuing import IssueForm, IssuesTokens
from revcred.admin.lists import as_number
from revcred.admin.products import FoundByName
from revcred.models import Gateway, User

QUIET_AFTER = timedelta(minutes=15)
CONFLICTS_OF = timedelta(days=7)
MAX_REASONS = 20


class IssueTokenForm(IssueForm):
    scope = GatewayToken.Scope
    explanation = "The token is shown once, on the next page, and never again."

    def act(self, by: User) -> str:
        said = self.cleaned_data
        kept, self.token = actions.issue_token(
            gateway=self.target, name=said["name"], scopes=said["scopes"], by=by
        )
        return f"{kept} was issued."


class TokenChoice(ModelChoiceField):
    def label_from_instance(self, token: GatewayToken) -> str:
        used = f"{token.last_used_at:%Y-%m-%d %H:%M}" if token.last_used_at else "never"
        return f"{token.name or 'unnamed'} ({token}), last used {used}"


class RevokeTokenForm(ActForm):
    title = "Revoke a token"
    button = "Revoke for good"
    grave = True
    explanation = "Whoever posts with it is refused from now on. What it has posted stays."

    token = TokenChoice(GatewayToken.objects.none(), widget=forms.RadioSelect, empty_label=None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["token"]
        field.queryset = self.target.tokens.filter(revoked_at=None)

    def act(self, by: User) -> str:
        token = self.cleaned_data["token"]
        actions.revoke_token(token=token, by=by)
        return f"The token {token} is revoked."


@admin.register(Gateway)
class GatewayAdmin(FoundByName, IssuesTokens):
    list_display = ("name", "kind", "state", "tokens", "last_seen_at", "clock")
    search_fields = ("name",)
    search_help_text = "The beginning of a name."
    fields = (
        *("name", "kind", "suspended_at", "event_subject", "event_elements", "accepted_days"),
        *("last_seen_at", "clock", "created_at"),
    )
    readonly_fields = ("last_seen_at", "clock", "created_at")
    change_form_template = "admin/revcred/gateway/change_form.html"
    acts: ClassVar[Mapping[str, type[ActForm]]] = {
        "issue-token": IssueTokenForm,
        "revoke-token": RevokeTokenForm,
    }

    @admin.display(description="valid tokens")
    def tokens(self, gateway: Any) -> int:
        return int(gateway.valid_tokens)

    @admin.display(description="clock")
    def clock(self, gateway: Gateway) -> str | None:
        """The median of its latest live calls against our clock, when those arrived."""
        if gateway.clock_ahead is None:
            return None
        seconds = gateway.clock_ahead.total_seconds()
        return f"{abs(seconds):,.1f} s {'ahead' if seconds > 0 else 'behind'}"

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
        valid = Count("tokens", filter=Q(tokens__revoked_at=None))
        gateways: QuerySet[Any] = super().get_queryset(request).annotate(valid_tokens=valid)
        return gateways

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        """A longer accepted age needs older days in the ledger."""
        super().save_model(request, obj, form, change)
        if "accepted_days" in form.changed_data:
            partitions.ensure()

    def ways_to_find(self, term: str) -> list[QuerySet[Any]]:
        return [Gateway.objects.filter(name__istartswith=term).values("pk")]

    def autocomplete_label(self, found: Gateway) -> str:
        return found.name

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        tokens = GatewayToken.objects.filter(gateway=as_number(object_id))
        context = {"tokens": tokens, **_not_taken(as_number(object_id))} | (extra_context or {})
        return super().change_view(request, object_id, form_url, context)


def _not_taken(gateway: int | None) -> dict[str, Any]:
    """Why what this gateway sent lately was not counted: rejections by reason, and conflicts."""
    kept = Rejection.objects.filter(gateway=gateway)
    reasons = (
        kept.order_by()
        .values("door", "field", "code", "message")
        .annotate(items=Count("pk"), last=Max("rejected_at"))
        .order_by("-last")[:MAX_REASONS]
    )
    lately = Tally.objects.filter(gateway=gateway, hour__gte=timezone.now() - CONFLICTS_OF)
    return {
        "reasons": list(reasons),
        "kept": kept.count(),
        "conflicts": lately.aggregate(of=Sum("conflicting", default=0))["of"],
    }
