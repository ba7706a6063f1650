"""Ask before anything counted moves: what an action would do, shown before it is done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.messages.storage import default_storage
from django.core import signing
from django.db import models
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.response import TemplateResponse
from django.utils.html import format_html

from revcred import hooks
from revcred.actions import carrying
from revcred.hooks import Consequences, TriedOut

CONFIRMED, BACK, SEALED = "_confirmed", "_back", "_sealed_"
NOT_CARRIED = ("csrfmiddlewaretoken", CONFIRMED, BACK)
SALT = "revcred.admin_toolkit.confirmation"
CONFIRMED_FOR_SECONDS = 60 * 60
# Calls go on coming in: figures that differ by less are those that were confirmed.
SAME_WITHIN_CALLS, SAME_WITHIN_SHARE = 10, 0.05
MOVEMENTS_SHOWN = 20

BUSY = (
    "Somebody else is changing the same thing at this moment. Nothing has been saved: try again in"
    " a few seconds."
)
TAKEN_BACK = "Nothing has been saved. Change what you need to, then go on."


@dataclass
class Question:
    """What a page asks about an action: whether it is to be asked, and in which words."""

    title: str
    button: str
    is_grave: bool = False
    # What is cut off from now on, which is no call counted yet.
    cut_off: list[str] = field(default_factory=list)
    # Who becomes a member of a customer, whose keys that person may see from then on.
    new_members: list[str] = field(default_factory=list)

    def is_needed(self, found: Consequences) -> bool:
        if self.new_members:
            return True
        if self.is_grave:
            return found.move_something or found.is_announced
        return found.move_something or bool(self.cut_off)


def typed(request: HttpRequest) -> QueryDict:
    """What was posted, with the keys and secrets that came sealed from the page that asked."""
    data = request.POST.copy()
    for name in [name for name in data if name.startswith(SEALED)]:
        user: Any = request.user
        try:
            text = carrying.unseal(sealed=str(data[name]), user=user, page=request.path)
        except carrying.NotCarried:
            text = ""
        del data[name]
        data[name.removeprefix(SEALED)] = text
    return data


def is_going_back(request: HttpRequest) -> bool:
    return BACK in request.POST


def concealed(fields: dict[str, forms.Field]) -> list[str]:
    """The names of fields whose value no page may show."""
    return [name for name, each in fields.items() if isinstance(each.widget, forms.PasswordInput)]


def try_out(
    request: HttpRequest, action: Callable[[], Any], question: Callable[[Any], Question | None]
) -> TriedOut[Any]:
    """Do it if nothing has to be asked, or if it was asked and is what was confirmed.

    `question` answers of what the action returned whether it did anything (else None).
    Raises hooks.Busy, and what the action raises.
    """

    def keep(result: Any, found: Consequences) -> bool:
        asked = question(result)
        return asked is None or not asked.is_needed(found) or _is_confirmed(request, found, asked)

    _forget_messages(request)
    tried = hooks.try_out(action, keep=keep)
    if not tried.is_kept:
        _forget_messages(request)
    return tried


def tell(request: HttpRequest, tried: TriedOut[Any]) -> None:
    """A message with the way to what is being corrected in the background."""
    found, user = tried.consequences, request.user
    if not (found.move_something and tried.followed_at):
        return
    text = f"{calls_in_words(found)} are being moved in the background."
    if user.has_perm("metering.view_claim"):
        text = format_html('{} <a href="{}">See how far that is</a>', text, tried.followed_at[0])
    messages.info(request, text)


def page(
    request: HttpRequest,
    site: admin.AdminSite,
    opts: Any,
    question: Question,
    found: Consequences,
    *,
    original: models.Model | None,
    back: str,
    conceal: Sequence[str] = (),
) -> HttpResponse:
    """Shows what the action would move, and asks. What was typed is carried along."""
    context = site.each_context(request) | {
        "title": question.title,
        "subtitle": None,
        "opts": opts,
        "original": original,
        "back": back,
        "question": question,
        "found": found,
        "calls": calls_in_words(found),
        "movements": found.movements[:MOVEMENTS_SHOWN],
        "more_movements": found.movements[MOVEMENTS_SHOWN:],
        "was_confirmed": CONFIRMED in request.POST,
        "carried": [*_carried(request, conceal), (CONFIRMED, _token(request, found, question))],
    }
    return TemplateResponse(request, "admin/asked.html", context)


def calls_in_words(found: Consequences) -> str:
    if not found.is_complete:
        return f"More than {found.calls:,} calls"
    return "1 call" if found.calls == 1 else f"{found.calls:,} calls"


def lately_in_words(lately: "hooks.Lately") -> str:
    days = hooks.LATELY_DAYS
    if not lately.calls:
        return f"It had no calls in the last {days} days."
    return (
        f"It had {lately.calls:,} calls in the last {days} days, the latest in the hour from"
        f" {lately.last_hour:%Y-%m-%d %H:%M} UTC."
    )


def ends_calls(subject: str, at: datetime, lately: "hooks.Lately") -> str:
    return f"From {at:%Y-%m-%d %H:%M} UTC on, calls {subject} are charged to nobody. " + (
        lately_in_words(lately)
    )


def ends_earlier(form: Any, name: str) -> bool:
    """Whether an end was set, or set to an earlier moment, in a saved form."""
    before, after = form.initial.get(name), form.cleaned_data.get(name)
    return bool(name in form.changed_data and after and (before is None or after < before))


def _carried(request: HttpRequest, conceal: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values of the hidden fields; a key or secret is sealed for the next page."""
    user: Any = request.user
    carried: list[tuple[str, str]] = []
    for name, values in typed(request).lists():
        if name in NOT_CARRIED:
            continue
        if name not in conceal:
            carried += [(name, value) for value in values]
        elif values[-1]:
            sealed = carrying.seal(text=values[-1], user=user, page=request.path)
            carried.append((f"{SEALED}{name}", sealed))
    return carried


def _token(request: HttpRequest, found: Consequences, question: Question) -> str:
    shown = [_typed_digest(request), question.new_members, *_figures(found)]
    return signing.dumps(shown, salt=SALT)


def _figures(found: Consequences) -> list[Any]:
    moved = {f"{each.before} → {each.after}": each.calls for each in found.movements}
    return [found.is_complete, moved]


def _typed_digest(request: HttpRequest) -> str:
    """Of all that was typed. Keys and secrets are hashed with the rest and cannot be told from it:
    the digest is keyed by the signature's secret."""
    said = sorted(
        (name, values) for name, values in typed(request).lists() if name not in NOT_CARRIED
    )
    keyed = signing.Signer(salt=SALT).signature(repr((request.user.pk, request.path, said)))
    return sha256(keyed.encode()).hexdigest()


def _is_confirmed(request: HttpRequest, found: Consequences, question: Question) -> bool:
    """Whether this was shown, and said yes to: the same typed, about as many calls."""
    try:
        shown = signing.loads(
            request.POST.get(CONFIRMED, ""), salt=SALT, max_age=CONFIRMED_FOR_SECONDS
        )
    except signing.BadSignature:
        return False
    digest, new_members, was_complete, before = shown
    if new_members != question.new_members:
        return False
    is_complete, now = _figures(found)
    if digest != _typed_digest(request) or (was_complete, is_complete) == (False, True):
        return False
    if not is_complete:
        return not was_complete
    return before.keys() == now.keys() and all(
        abs(now[each] - before[each]) <= max(SAME_WITHIN_CALLS, SAME_WITHIN_SHARE * before[each])
        for each in now
    )


def _forget_messages(request: Any) -> None:
    """Messages of what was taken back say what has not happened."""
    if hasattr(request, "_messages"):
        request._messages = default_storage(request)  # noqa: SLF001 - there is no other way
