"""Pages to erase a person and to export what is held about one, beside subscriber and login."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext

from revcred.actions import people, users
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.models import User
from revcred.texts import gettext_lazy, grouped, number_of

MAX_NAMES_SHOWN = 20
# Each is shown in its own words.
REASONS: Mapping[type[Exception], tuple[str | None, str]] = {
    people.ErasureRightRequired: (None, ""),
    people.ListsWithPeopleWaiting: (None, ""),
    people.SuperuserNotErased: (None, ""),
    users.LoginRankTooHigh: (None, ""),
    users.PersonErased: (None, ""),
}


class ErasePersonForm(ActionForm):
    """Asks for the person's address, then shows what erasing would do, and asks again."""

    title = gettext_lazy("Erase this person")
    button = gettext_lazy("Erase this person")
    permission = "erase"
    is_destructive = True
    explanation = gettext_lazy(
        "Puts a pseudonym in the place of name and address everywhere: on pages, in mails,"
        " in calls and in the audit. The person can no longer sign in. Credentials,"
        " subscriptions and usage of the customers stay. This cannot be undone. The next"
        " page shows what it does before anything is done."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = REASONS

    email = forms.CharField(
        label=gettext_lazy("E-mail address"),
        max_length=254,
        help_text=gettext_lazy("Type the whole address of the person whom you want to erase."),
    )

    def clean_email(self) -> str:
        typed: str = self.cleaned_data["email"].strip()
        if typed.lower() != self.target.email.lower():
            message = gettext("This is not the address of this person.")
            raise forms.ValidationError(message)
        return typed

    def perform(self, by: User) -> str:
        done = people.erase_person(person=people.find_person(self.target), by=by)
        # Known only now. What asks for confirmation takes the action back before it asks.
        self.question.effects += [confirmation.Effect(each) for each in erasure_in_words(done)]
        return gettext("The person was erased.")


class ExportPersonForm(ActionForm):
    """Asks before what is held about a person is downloaded."""

    title = gettext_lazy("Export what is held about this person")
    button = gettext_lazy("Download")
    permission = "erase"
    explanation = gettext_lazy(
        "Downloads what is held about this person as JSON: subscriber and login,"
        " memberships, sessions, mails and events. It holds no keys, secrets or passwords."
        " The download is recorded."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = REASONS

    def perform(self, by: User) -> str:
        person = people.find_person(self.target)
        self.document = people.export_person(person=person, by=by)
        return ""


class PersonPagesMixin(ActionPagesMixin):
    """Pages of a subscriber or a login, with those on the person behind it."""

    person_forms: ClassVar[Mapping[str, type[ActionForm]]] = {
        "erase": ErasePersonForm,
        "export": ExportPersonForm,
    }

    def may_perform(self, request: HttpRequest, form_class: type[ActionForm]) -> bool:
        if form_class in self.person_forms.values():
            user: Any = request.user
            return bool(user.has_perm(people.ERASE_RIGHT))
        return super().may_perform(request, form_class)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False for somebody who was erased: nothing is left to change."""
        return super().has_change_permission(request, obj) and not (obj and obj.erased_at)

    def action_done(
        self, request: HttpRequest, form: ActionForm, target: Any, sentence: str
    ) -> HttpResponse:
        if not isinstance(form, ExportPersonForm):
            return super().action_done(request, form, target, sentence)
        text = json.dumps(form.document, indent=2, ensure_ascii=False)
        name = f"{self.opts.model_name}-{target.pk}.json"
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
        }
        return HttpResponse(text, content_type="application/json", headers=headers)


def erasure_in_words(done: people.Erasure) -> list[str]:
    """Return sentences on what erasing a person does."""
    ended = gettext("%(sessions)s, %(tokens)s and %(factors)s") % {
        "sessions": number_of(done.sessions, "%(count)s session", "%(count)s sessions"),
        "tokens": number_of(done.tokens, "%(count)s token", "%(count)s tokens"),
        "factors": number_of(
            done.second_factors, "%(count)s second factor", "%(count)s second factors"
        ),
    }
    changed = gettext("%(mails)s to the person and %(events)s of the audit") % {
        "mails": number_of(done.mails, "%(count)s mail", "%(count)s mails"),
        "events": number_of(done.events, "%(count)s event", "%(count)s events"),
    }
    calls = (
        gettext("Stored calls that name the person, too many to be counted here,")
        if done.calls is None
        else number_of(done.calls, "%(count)s stored call", "%(count)s stored calls")
    )
    sentences = [
        gettext("The person can no longer sign in: %(ended)s are deleted.") % {"ended": ended},
        gettext("%(changed)s get the pseudonym.") % {"changed": changed},
        gettext(
            "%(calls)s get it soon after, in the background. The history says when that is done."
        )
        % {"calls": calls},
    ]
    if done.memberships:
        sentences.insert(
            0,
            gettext("The person is no longer a member of %(listed)s.")
            % {"listed": _listed(done.memberships)},
        )
    if done.unheld:
        sentences.append(
            gettext("Nobody holds these credentials any more: %(listed)s.")
            % {"listed": _listed(done.unheld)}
        )
    if done.still_named:
        things = sum(done.still_named.values())
        sentences.append(
            gettext(
                "%(things)s of customers, such as a credential or a subscription, may still"
                " carry the name or address. Rename them yourself: calls may name them."
            )
            % {"things": number_of(things, "%(count)s thing", "%(count)s things")}
        )
    sentences.append(gettext("This cannot be undone."))
    return sentences


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (
        gettext(" and %(more)s more") % {"more": grouped(more)} if more > 0 else ""
    )
