"""The leak desk: which of our keys are in a text, whose they are, and what to do about it."""

from typing import Any, ClassVar

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from revcred import hooks, leaks
from revcred.actions import credentials
from revcred.actions.leaks import contain_leak
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, FieldErrors
from revcred.admin_toolkit.lists import parse_id
from revcred.models import Credential, ExternalKey, User
from revcred.texts import gettext_lazy, grouped, number_of
from revcred.time_zones import moment_with_zone

MAX_KEYS_SHOWN = 200
TOO_LONG_MESSAGE = gettext_lazy(
    "At most %(most)s characters can be pasted at once. Choose a file"
    " instead: it is searched in parts."
)


class ContainLeakForm(ActionForm):
    """Suspends, rotates and tells, for the keys that were found."""

    title = gettext_lazy("Suspend, rotate and tell the holders")
    button = gettext_lazy("Contain the leak")
    is_destructive = True
    explanation = gettext_lazy(
        "The keys end at once, and each credential gets a new key, which its holders find"
        " in the storefront. They are told by e-mail. Calls with the old keys wait in"
        " quarantine."
    )
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: (
            "keys",
            gettext_lazy("One of these credentials has been revoked."),
        ),
    }

    keys = forms.ModelMultipleChoiceField(
        ExternalKey.objects.none(), widget=forms.CheckboxSelectMultiple
    )
    where = forms.CharField(
        max_length=200,
        help_text=gettext_lazy("Where they were found. For the record and the e-mail."),
    )
    suspend = forms.BooleanField(
        required=False,
        initial=True,
        label=gettext_lazy("Suspend the credentials until somebody resumes them"),
        help_text=gettext_lazy("Without: calls with the new keys are charged at once."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["keys"]
        posted: Any = self.data
        ids = posted.getlist("keys") if self.is_bound else self.request.GET.getlist("key")
        field.queryset = keys_by_id(ids).not_ended_at(timezone.now())
        field.label_from_instance = _label_of_key
        self.initial["keys"] = [key.pk for key in field.queryset]

    def effects(self) -> list[confirmation.Effect]:
        effects = []
        now = timezone.now()
        for key in self.cleaned_data["keys"]:
            told = number_of(
                key.credential.holders.count(), "%(count)s holder is", "%(count)s holders are"
            )
            sentence = gettext(
                "From %(moment)s on, calls with %(key)s are charged to nobody."
                " %(told)s told by e-mail."
            ) % {"moment": moment_with_zone(now), "key": _label_of_key(key), "told": told}
            effects.append(confirmation.effect(sentence, hooks.recent_calls_of(key=key)))
        return effects

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        contained = contain_leak(
            keys=data["keys"], is_suspended=data["suspend"], where=data["where"], by=by
        )
        self.target = data["keys"][0].credential
        done = number_of(len(contained), "%(count)s credential", "%(count)s credentials")
        sentence = (
            gettext("%(credentials)s rotated and suspended. The holders are told.")
            if data["suspend"]
            else gettext("%(credentials)s rotated. The holders are told.")
        )
        return sentence % {"credentials": done}


def _label_of_key(key: ExternalKey) -> str:
    return gettext("key …%(hint)s of “%(credential)s” (%(customer)s)") % {
        "hint": key.hint,
        "credential": key.credential,
        "customer": key.credential.customer,
    }


def keys_by_id(ids: list[str]) -> Any:
    """Return the keys with these numbers from a form or an address, at most MAX_KEYS_SHOWN."""
    numbers = [number for number in map(parse_id, ids[:MAX_KEYS_SHOWN]) if number]
    keys = ExternalKey.objects.filter(pk__in=numbers)
    return keys.select_related("credential__customer", "use").order_by("credential", "pk")


def leak_desk_page(request: HttpRequest, site: Any) -> HttpResponse:
    """Ask for a text or a file, and show which of our keys are in it. Keeps nothing of it."""
    _check_may_look(request)
    context = site.each_context(request) | {
        "title": gettext("Leak desk"),
        "subtitle": None,
        "opts": Credential._meta,
        "scan_url": reverse("admin:revcred_credential_leaks-scan"),
    }
    if request.method == "POST":
        found, context["error"] = _found_in(request)
        context["found"] = [(key, _state_of(key)) for key in found]
        context["open"] = [key for key in found if key.outlasts(timezone.now())]
        context["is_searched"] = not context["error"]
    return TemplateResponse(request, "admin/revcred/credential/leaks.html", context)


def scan_part(request: HttpRequest) -> HttpResponse:
    """Answer the numbers of the keys in a part of a file, which the page's script sends."""
    _check_may_look(request)
    try:
        found = leaks.find_keys(request.POST.get("text", ""))
    except ValueError as error:
        return JsonResponse({"message": str(error)}, status=400)
    return JsonResponse({"keys": [key.pk for key in found]})


def _found_in(request: HttpRequest) -> tuple[list[ExternalKey], str]:
    """Return the keys in what was pasted, or those that the script found in a file."""
    if ids := request.POST.getlist("key"):
        return list(keys_by_id(ids)), ""
    try:
        return leaks.find_keys(request.POST.get("text", "")), ""
    except ValueError:
        return [], TOO_LONG_MESSAGE % {"most": grouped(leaks.MAX_SCANNED_CHARACTERS)}


def _state_of(key: ExternalKey) -> str:
    now = timezone.now()
    if key.credential.revoked_at:
        return gettext("credential revoked")
    if not key.outlasts(now):
        return gettext("ended %(moment)s") % {"moment": moment_with_zone(key.active_until)}
    return gettext("valid") if key.is_active_at(now) else gettext("valid later")


def _check_may_look(request: HttpRequest) -> None:
    user: Any = request.user
    if not user.has_perm("revcred.view_credential"):
        raise PermissionDenied
