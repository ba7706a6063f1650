"""Pages to erase a person and to export what is held about one, beside subscriber and login."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest, HttpResponse

from revcred.actions import people, users
from revcred.admin_toolkit import confirmation
from revcred.admin_toolkit.action_pages import ActionForm, ActionPagesMixin
from revcred.models import User

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

    title = "Erase this person"
    button = "Erase this person"
    permission = "erase"
    is_destructive = True
    explanation = (
        "Puts a pseudonym in the place of name and address everywhere: on pages, in mails, in calls"
        " and in the audit. The person can no longer sign in. Credentials, subscriptions and usage"
        " of the customers stay. This cannot be undone. The next page shows what it does before"
        " anything is done."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = REASONS

    email = forms.CharField(
        label="E-mail address",
        max_length=254,
        help_text="Type the whole address of the person whom you want to erase.",
    )

    def clean_email(self) -> str:
        typed: str = self.cleaned_data["email"].strip()
        if typed.lower() != self.target.email.lower():
            message = "This is not the address of this person."
            raise forms.ValidationError(message)
        return typed

    def perform(self, by: User) -> str:
        done = people.erase_person(person=people.find_person(self.target), by=by)
        # Known only now. What asks for confirmation takes the action back before it asks.
        self.question.effects += [confirmation.Effect(each) for each in erasure_in_words(done)]
        return "The person was erased."


class ExportPersonForm(ActionForm):
    """Asks before what is held about a person is downloaded."""

    title = "Export what is held about this person"
    button = "Download"
    permission = "erase"
    explanation = (
        "Downloads what is held about this person as JSON: subscriber and login, memberships,"
        " sessions, mails and events. It holds no keys, secrets or passwords. The download is"
        " recorded."
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
    counted = confirmation.counted
    ended = (
        f"{counted(done.sessions, 'session')}, {counted(done.tokens, 'token')} and"
        f" {counted(done.second_factors, 'second factor')}"
    )
    changed = (
        f"{counted(done.mails, 'mail')} to the person and {counted(done.events, 'event')} of the"
        " audit"
    )
    calls = (
        "Stored calls that name the person, too many to be counted here,"
        if done.calls is None
        else counted(done.calls, "stored call")
    )
    sentences = [
        f"The person can no longer sign in: {ended} are deleted.",
        f"{changed} get the pseudonym.",
        f"{calls} get it soon after, in the background. The history says when that is done.",
    ]
    if done.memberships:
        sentences.insert(0, f"The person is no longer a member of {_listed(done.memberships)}.")
    if done.unheld:
        sentences.append(f"Nobody holds these credentials any more: {_listed(done.unheld)}.")
    if done.still_named:
        things = sum(done.still_named.values())
        sentences.append(
            f"{counted(things, 'thing')} of customers, such as a credential or a subscription, may"
            " still carry the name or address. Rename them yourself: calls may name them."
        )
    sentences.append("This cannot be undone.")
    return sentences


def _listed(names: list[str]) -> str:
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
