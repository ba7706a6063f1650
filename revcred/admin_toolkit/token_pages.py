"""Pages that issue a token: one form asks for it, and the answer shows it once."""

from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.contrib import messages
from django.db.models import TextChoices
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.models.tokens import TokenModel
from revcred.texts import gettext_lazy
from revcred.time_zones import moment_with_zone


def token_state_in_words(token: TokenModel) -> str:
    """Return name and state of a token, such as `edge, revoked 2026-01-01 08:00 UTC`."""
    name = getattr(token, "name", "") or gettext("unnamed")
    if token.revoked_at:
        return gettext("%(name)s, revoked %(moment)s") % {
            "name": name,
            "moment": moment_with_zone(token.revoked_at),
        }
    used = moment_with_zone(token.last_used_at) if token.last_used_at else gettext("never")
    return gettext("%(name)s, last used %(used)s") % {"name": name, "used": used}


# In the session: the latest forms by which it issued a token.
ANSWERED_FORMS, MAX_ANSWERED_FORMS = "forms that issued a token", 20
ALREADY_ISSUED_MESSAGE = gettext_lazy(
    "This token has been issued already, and is shown only once. If you did not copy it,"
    " revoke it and issue another one."
)


class BaseIssueTokenForm(ActionForm):
    """Asks for name and scopes. `perform` sets `token` (plaintext) and `target` (its record)."""

    title = gettext_lazy("Issue a token")
    button = gettext_lazy("Issue")
    scope: ClassVar[type[TextChoices]]
    token = ""

    # Names this one form: reloading the page that answers it must not issue a second token.
    form_id = forms.CharField(required=False, max_length=36, widget=forms.HiddenInput)
    name = forms.CharField(max_length=100, help_text=gettext_lazy("Where it is used."))
    scopes = forms.MultipleChoiceField(
        label=gettext_lazy("May"), widget=forms.CheckboxSelectMultiple
    )

    def how_to_use(self) -> dict[str, Any]:
        """Return what the page of the new token shows beside it, such as a command."""
        return {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The scopes depend on the kind of token, so a subclass names them.
        field: Any = self.fields["scopes"]
        field.choices, field.initial = self.scope.choices, self.scope.values
        self.initial.setdefault("form_id", str(uuid4()))


class TokenIssuingMixin(ActionPagesMixin):
    """Shows a newly issued token."""

    def action_page(
        self, request: HttpRequest, form_class: type[ActionForm], target: Any = None
    ) -> HttpResponse:
        answered = request.session.get(ANSWERED_FORMS, [])
        if request.method == "POST" and request.POST.get("form_id") in answered:
            messages.info(request, ALREADY_ISSUED_MESSAGE)
            return HttpResponseRedirect(self.url_of(target) if target else self._list_url())
        return super().action_page(request, form_class, target)

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        """Show a new token in this one response; no message, session or log holds it."""
        if not isinstance(form, BaseIssueTokenForm):
            return super().action_done(request, form, target, sentence)
        if form_id := form.cleaned_data["form_id"]:
            answered = request.session.get(ANSWERED_FORMS, [])
            request.session[ANSWERED_FORMS] = [*answered, form_id][-MAX_ANSWERED_FORMS:]
        context = self.admin_site.each_context(request) | {
            "title": gettext("The new token"),
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
