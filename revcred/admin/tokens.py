"""Admin pages of the tokens of users' scripts."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext

from revcred.accounts.second_factor import ask_unless_confirmed_lately
from revcred.actions import tokens, users
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm
from revcred.admin_toolkit.audited import ReadOnlyModelAdmin
from revcred.admin_toolkit.badges import badge
from revcred.admin_toolkit.filters import ChoiceFilter, LinkedFilter
from revcred.admin_toolkit.site_search import SearchHit, SearchTerm, page_of
from revcred.admin_toolkit.token_pages import (
    BaseIssueTokenForm,
    TokenIssuingMixin,
    token_state_in_words,
)
from revcred.models import User, UserToken
from revcred.texts import gettext_lazy, number_of
from revcred.time_zones import moment_with_zone


class IssueUserTokenForm(BaseIssueTokenForm):
    """Asks for name and scopes of a token of one's own."""

    permission = "add"
    scope = UserToken.Scope
    explanation = gettext_lazy(
        "For a script of yours. It may do what you choose here, as far as you may do it"
        " yourself. Everything it does is recorded under your name. The next page shows"
        " it, once. It is revoked when your login is deactivated or loses the rights, when"
        " your second factor is reset, when your password changes, and when you sign out"
        " everywhere. You get a mail about it."
    )

    last_day = forms.DateField(
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy("The token expires at the end of this day. Empty: it never does."),
    )

    def clean_last_day(self) -> date | None:
        day: date | None = self.cleaned_data["last_day"]
        if day is not None and not timezone.localdate() <= day < date.max:
            message = gettext("This day is over. Choose a later one.")
            raise forms.ValidationError(message)
        return day

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        last_day = data["last_day"]
        expires_at = last_day and datetime.combine(
            last_day + timedelta(days=1), time(), timezone.get_current_timezone()
        ).astimezone(UTC)
        self.target, self.token = tokens.issue_user_token(
            user=by, name=data["name"], scopes=data["scopes"], by=by, expires_at=expires_at
        )
        return gettext("%(target)s was issued.") % {"target": self.target}


class RevokeUserTokenForm(ActionForm):
    """Asks before a token is revoked."""

    title = gettext_lazy("Revoke")
    button = gettext_lazy("Revoke for good")
    is_destructive = True
    explanation = gettext_lazy(
        "Requests with this token are rejected from now on. What was done with it stays."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        users.LoginRankTooHigh: (None, users.LoginRankTooHigh.sentence),
    }

    def effects(self) -> list[confirmation.Effect]:
        others = self.target.user.tokens.filter(revoked_at=None).exclude(pk=self.target.pk).count()
        used = self.target.last_used_at
        last = (
            gettext("It was last used at %(moment)s.") % {"moment": moment_with_zone(used)}
            if used
            else gettext("It was never used.")
        )
        return [
            confirmation.Effect(
                gettext(
                    "Scripts with %(target)s are refused at once. %(last)s %(user)s has %(tokens)s."
                )
                % {
                    "target": self.target,
                    "last": last,
                    "user": self.target.user,
                    "tokens": number_of(
                        others, "%(count)s other valid token", "%(count)s other valid tokens"
                    ),
                }
            )
        ]

    def perform(self, by: User) -> str:
        tokens.revoke_user_token(token=self.target, by=by)
        return gettext("The token %(target)s is revoked.") % {"target": self.target}


class OwnerFilter(LinkedFilter):
    """Tokens of one user."""

    title, parameter_name, model = gettext_lazy("user"), "user", User


class TokenStateFilter(ChoiceFilter):
    """Tokens by their state."""

    title, parameter_name = gettext_lazy("state"), "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("valid", gettext("Valid")),
            ("expired", gettext("Expired")),
            ("revoked", gettext("Revoked")),
        ]

    def narrow(self, queryset: QuerySet[Any], chosen: str) -> QuerySet[Any]:
        if chosen == "revoked":
            return queryset.exclude(revoked_at=None)
        expired = Q(expires_at__isnull=False, expires_at__lte=timezone.now())
        return queryset.filter(expired if chosen == "expired" else ~expired, revoked_at=None)


@admin.register(UserToken)
class UserTokenAdmin(TokenIssuingMixin, ReadOnlyModelAdmin):
    """Tokens of users' scripts: issued and revoked, never edited."""

    # Only the hint of a token is known: its digest tells nothing.
    list_display = (
        *("name", "token", "user", "scopes_", "state"),
        *("created_at", "expires_at", "last_used_at"),
    )
    list_select_related = ("user",)
    list_filter = (OwnerFilter, TokenStateFilter)
    fields = list_display
    readonly_fields = fields
    change_form_template = "admin/revcred/usertoken/change_form.html"
    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {"revoke": RevokeUserTokenForm}

    def search_hits(self, request: HttpRequest, term: SearchTerm) -> list[SearchHit]:
        return [
            SearchHit(
                label=gettext("This is a token of %(user)s") % {"user": token.user},
                url=page_of(token),
                detail=token_state_in_words(token),
            )
            for token in UserToken.objects.of(term.key).select_related("user")
        ]

    @admin.display(description=gettext_lazy("token"))
    def token(self, token: UserToken) -> str:
        return str(token)

    @admin.display(description=gettext_lazy("may"))
    def scopes_(self, token: UserToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description=gettext_lazy("state"))
    def state(self, token: UserToken) -> str:
        if token.revoked_at:
            return badge("revoked", "bad")
        if token.expires_at and token.expires_at <= timezone.now():
            return badge("expired", "over")
        return badge("valid", "good")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("revcred.add_usertoken")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # Issuing is an action with a form of its own, not Django's form for a new row.
        # A token opens what a session does, and for longer: so it is asked anew who is there.
        if self.has_add_permission(request) and (ask := ask_unless_confirmed_lately(request)):
            return ask
        return self.action_page(request, IssueUserTokenForm)
