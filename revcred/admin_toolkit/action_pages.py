"""A page for each act: what it asks, what it warns of, and the act itself behind the button."""

from collections.abc import Mapping
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
    """Takes a key or a secret. A page that comes back with errors doesn't bring it along."""

    def __init__(self, **kwargs: Any) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "class": "vTextField"}
        widget = forms.PasswordInput(attrs=attrs, render_value=False)
        super().__init__(widget=widget, required=False, max_length=MAX_KEY_CHARACTERS, **kwargs)


class ActionForm(forms.Form):
    """What one act asks. `refusals` says which field each of its refusals belongs to, and how.

    Where that is an empty text, the refusal says itself why.
    """

    title: ClassVar[str]
    button: ClassVar[str]
    explanation: ClassVar[str] = ""
    is_destructive: ClassVar[bool] = False
    permission: ClassVar[str] = "change"
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {}

    def __init__(self, *args: Any, request: HttpRequest, target: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request = request
        self.target = target

    def perform(self, by: User) -> str:
        """Do it, and say so in a sentence."""
        raise NotImplementedError

    def ended_calls(self) -> list[str]:
        """Sentences on what the act ends, as far as that is no call counted yet."""
        return []

    def new_members(self) -> list[str]:
        """Sentences on who becomes a member of a customer by the act."""
        return []

    def try_action(self, by: User) -> TrialResult[str] | None:
        """The act's sentence, what it moves, and whether it was done or has to be asked first.

        None with a refusal as an error of its field.
        """
        self.question = confirmation.ConfirmationQuestion(
            self.title,
            self.button,
            is_destructive=self.is_destructive,
            ended_calls=self.ended_calls(),
            new_members=self.new_members(),
        )
        try:
            return confirmation.do_or_ask(
                self.request, lambda: self.perform(by), lambda _: self.question
            )
        except tuple(self.field_errors) as refusal:
            field, sentence = self.field_errors[type(refusal)]
            self.add_error(field, sentence or str(refusal))
        except hooks.ConcurrentChange:
            self.add_error(None, confirmation.CONCURRENT_CHANGE_MESSAGE)
        return None

    @property
    def needs_key_again(self) -> bool:
        """Whether a key or secret was typed that is not shown again."""
        return any(
            isinstance(field, ConcealedField) and self.data.get(self.add_prefix(name))
            for name, field in self.fields.items()
        )


class ActionPagesMixin(AuditedModelAdmin):
    """A change page with a button, and a page behind it, for each act."""

    action_forms: ClassVar[Mapping[str, type[ActionForm]]] = {}

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<path:object_id>/{slug}/",
                self.admin_site.admin_view(self._page_of(form)),
                name=f"{self.opts.app_label}_{self.opts.model_name}_{slug}",
            )
            for slug, form in self.action_forms.items()
        ]
        return own + super().get_urls()

    def _page_of(self, form_class: type[ActionForm]) -> Any:
        def page(request: HttpRequest, object_id: str) -> HttpResponse:
            target = self.get_object(request, unquote(object_id))
            if target is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
            return self.action_page(request, form_class, target)

        return page

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        """An act asks for a permission of its own, also where nothing can be edited by hand."""
        codename = get_permission_codename(form_class.permission, self.opts)
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{codename}"))

    def action_page(
        self, request: HttpRequest, form_class: type[ActionForm], target: Any = None
    ) -> HttpResponse:
        if not self.may_perform(request, form_class):
            raise PermissionDenied
        if request.method != "POST":
            form = form_class(request=request, target=target, initial=request.GET.dict())
            return self._show(request, form, target)
        form = form_class(confirmation.posted_data(request), request=request, target=target)
        if confirmation.is_going_back(request) or not form.is_valid():
            return self._show(request, form, target)
        user: Any = request.user
        tried = form.try_action(user)
        if tried is None:
            return self._show(request, form, target)
        if not tried.is_kept:
            return self._ask(request, form, target, tried)
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
        messages.success(request, sentence)
        return HttpResponseRedirect(self.url_of(target or form.target))

    def url_of(self, target: models.Model) -> str:
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
        return TemplateResponse(request, "admin/act.html", context)

    def _list_url(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
