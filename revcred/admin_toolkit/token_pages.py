"""Pages that issue a token: one form asks for it, and the answer shows it once."""

from typing import Any, ClassVar

from django import forms
from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.models.tokens import TokenModel


def token_state_in_words(token: TokenModel) -> str:
    """Return name and state of a token, such as `edge, revoked 2026-01-01 08:00 UTC`."""
    name = getattr(token, "name", "") or "unnamed"
    if token.revoked_at:
        return f"{name}, revoked {token.revoked_at:%Y-%m-%d %H:%M} UTC"
    used = f"{token.last_used_at:%Y-%m-%d %H:%M} UTC" if token.last_used_at else "never"
    return f"{name}, last used {used}"


class BaseIssueTokenForm(ActionForm):
    """Asks for name and scopes. `perform` sets `token` (plaintext) and `target` (its record)."""

    title = "Issue a token"
    button = "Issue"
    scope: ClassVar[type[TextChoices]]
    token = ""

    name = forms.CharField(max_length=100, help_text="Where it is used.")
    scopes = forms.MultipleChoiceField(label="May", widget=forms.CheckboxSelectMultiple)

    def how_to_use(self) -> dict[str, Any]:
        """Return what the page of the new token shows beside it, such as a command."""
        return {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The scopes depend on the kind of token, so a subclass names them.
        field: Any = self.fields["scopes"]
        field.choices, field.initial = self.scope.choices, self.scope.values


class TokenIssuingMixin(ActionPagesMixin):
    """Shows a newly issued token."""

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        """Show a new token in this one response; no message, session or log holds it."""
        if not isinstance(form, BaseIssueTokenForm):
            return super().action_done(request, form, target, sentence)
        context = self.admin_site.each_context(request) | {
            "title": "The new token",
            "subtitle": None,
            "opts": self.opts,
            "original": form.target,
            "back": self.url_of(form.target),
            "token": form.token,
            **form.how_to_use(),
        }
        response = TemplateResponse(request, "admin/token.html", context)
        # The back button must not show the token again.
        response["Cache-Control"] = "no-store"
        return response
