"""Pages of actions: each asks for what the action needs, warns, and performs it on a click."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import AdminForm
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from revcred import hooks
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.audited import AuditedModelAdmin
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.hooks import TrialResult
from revcred.models import User


class ConcealedField(forms.CharField):
    """Takes a key or a secret. A page that comes back with errors does not show it again."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "class": "vTextField"}
        widget = forms.PasswordInput(attrs=attrs, render_value=False)
        super().__init__(widget=widget, required=False, max_length=MAX_KEY_CHARACTERS, **kwargs)


# For each error of an action the field to show it at, and the message or what makes it.
FieldErrors = Mapping[type[Exception], tuple[str | None, str | Callable[[Any], str]]]


class ActionForm(forms.Form):
    """The form of one action.

    `field_errors`: for each error of the action the field to show it at (None: the whole form) and
    the message (empty: the error's own text). `is_destructive`: ask before anything ends, also if
    no counted call moves. `permission`: the codename's verb, such as change. `is_refused`: what the
    explanation says stands in the way, so that the page has no button.
    """

    title: ClassVar[str]
    button: ClassVar[str]
    explanation: ClassVar[str] = ""
    is_destructive: ClassVar[bool] = False
    is_refused: bool = False
    permission: ClassVar[str] = "change"
    field_errors: ClassVar[FieldErrors] = {}

    def __init__(self, *args: Any, request: HttpRequest, target: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.target = target

    def perform(self, by: User) -> str:
        """Perform the action, and return a sentence that says so."""
        raise NotImplementedError

    def effects(self) -> list[confirmation.Effect]:
        """Return changes from now on that no counted call shows, each with figures."""
        return []

    def new_members(self) -> list[str]:
        """Return sentences on who becomes a member of a customer by the action."""
        return []

    def try_action(self, by: User) -> TrialResult[str] | None:
        """Perform the action, and take it back if it has to be confirmed first.

        Returns the sentence of `perform`, the calls moved and whether it was done. Returns None if
        the action raised one of `field_errors`, which the form then shows.
        """
        self.question = confirmation.ConfirmationQuestion(
            self.title,
            self.button,
            is_destructive=self.is_destructive,
            effects=self.effects(),
            new_members=self.new_members(),
        )
        try:
            return confirmation.do_or_ask(
                self.request, lambda: self.perform(by), lambda _: self.question
            )
        # The trial has been rolled back by now.
        except tuple(self.field_errors) as refusal:
            field, sentence = self.field_errors[type(refusal)]
            said = sentence(refusal) if callable(sentence) else sentence or str(refusal)
            self.add_error(field, said)
        except hooks.ConcurrentChange:
            self.add_error(None, confirmation.CONCURRENT_CHANGE_MESSAGE)
        return None

    @property
    def sealed_inputs(self) -> list[tuple[str, str]]:
        """Return hidden inputs that carry a typed key or secret, which the page does not show."""
        return confirmation.sealed_inputs(self.request, self.fields) if self.is_bound else []


class ActionPagesMixin(AuditedModelAdmin):
    """A change page with a button for each action, and a page behind the button."""

    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<path:object_id>/{slug}/",
                self.admin_site.admin_view(self._page_of(form)),
                # Named like Django's own pages, so that templates can link to it.
                name=f"{self.opts.app_label}_{self.opts.model_name}_{slug}",
            )
            for slug, form in self.action_forms.items()
        ]
        # Ahead of Django's own patterns, whose last one takes every path.
        return own + super().get_urls()

    def _page_of(self, form_class: type[ActionForm]) -> Any:
        """Return the view of one action's page."""

        def page(request: HttpRequest, object_id: str) -> HttpResponse:
            target = self.get_object(request, unquote(object_id))
            if target is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
            return self.action_page(request, form_class, target)

        return page

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        """Return True if the user has the action's own permission, also without editing by hand."""
        codename = get_permission_codename(form_class.permission, self.opts)
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{codename}"))

    def action_page(
        self, request: HttpRequest, form_class: type[ActionForm], target: Any = None
    ) -> HttpResponse:
        """Show the form; perform the action on POST, or ask first. Raises PermissionDenied."""
        if not self.may_perform(request, form_class):
            raise PermissionDenied
        if request.method != "POST":
            # Other pages link here with values filled in, such as a customer.
            form = form_class(request=request, target=target, initial=request.GET.dict())
            return self._show(request, form, target)
        # Includes keys that the confirmation page carried along sealed.
        form = form_class(confirmation.posted_data(request), request=request, target=target)
        if confirmation.is_going_back(request) or not form.is_valid():
            return self._show(request, form, target)
        user: Any = request.user
        tried = form.try_action(user)
        if tried is None:
            return self._show(request, form, target)
        if not tried.is_kept:
            return self._ask(request, form, target, tried)
        # First the sentence of the action, then how many calls are moving.
        response = self.action_done(request, form, target, tried.result)
        confirmation.announce_moving_calls(request, tried)
        return response

    def _ask(
        self, request: HttpRequest, form: ActionForm, target: Any, tried: TrialResult[str]
    ) -> HttpResponse:
        return confirmation.confirmation_page(
            request,
            self.admin_site,
            self.opts,
            form.question,
            tried.consequences,
            original=target,
            back=self.url_of(target) if target else self._list_url(),
            conceal=confirmation.concealed_field_names(form.fields),
        )

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        """Answer a performed action: show its sentence on the page of the thing."""
        messages.success(request, sentence)
        return HttpResponseRedirect(self.url_of(target or form.target))

    def url_of(self, target: models.Model) -> str:
        """Return the URL of a thing's change page."""
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
        return reverse(name, args=[target.pk])

    def _show(self, request: HttpRequest, form: ActionForm, target: Any) -> HttpResponse:
        context = self.admin_site.each_context(request) | {
            "title": form.title,
            "subtitle": None,
            "opts": self.opts,
            "original": target,
            "back": self.url_of(target) if target else self._list_url(),
            "form": form,
            "fieldsets": list(AdminForm(form, [(None, {"fields": [*form.fields]})], {})),  # type: ignore[arg-type]
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "admin/action.html", context)

    def _list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
