"""Confirmation of actions that move counted calls.

The action is tried out in a transaction. If it moves calls, it is taken back and a page shows what
it would do. It is carried out when somebody confirms just these figures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
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
from django.utils.translation import gettext, pgettext

from revcred import hooks
from revcred.actions import carrying
from revcred.hooks import TrialResult
from revcred.metering_port import RECENT_CALLS_DAYS, Consequences, RecentCalls
from revcred.texts import gettext_lazy, grouped, number_of
from revcred.time_zones import moment_text, moment_with_zone

CONFIRMED_PARAMETER, BACK_PARAMETER, SEALED_PREFIX = "_confirmed", "_back", "_sealed_"
UNCARRIED_PARAMETERS = ("csrfmiddlewaretoken", CONFIRMED_PARAMETER, BACK_PARAMETER)
CONFIRMATION_SALT = "revcred.admin_toolkit.confirmation"
CONFIRMATION_SECONDS = 60 * 60
# Calls keep coming in between showing and confirming. Figures that differ by no more than this
# count as the ones confirmed.
CALLS_TOLERANCE, SHARE_TOLERANCE = 10, 0.05
MAX_MOVEMENTS_SHOWN = 20

CONCURRENT_CHANGE_MESSAGE = gettext_lazy(
    "Somebody else is changing the same thing at this moment. Nothing has been saved. Try"
    " again in a few seconds."
)
NOTHING_SAVED_MESSAGE = gettext_lazy(
    "Nothing has been saved yet. Correct your input, then save again."
)


@dataclass(frozen=True)
class Effect:
    """A change from now on: a sentence, and the calls of the last days that it is about."""

    sentence: str
    recent_calls: RecentCalls | None = None

    def __str__(self) -> str:
        return self.sentence

    @property
    def days(self) -> list[tuple[date, int, int]]:
        """Return each of the last days with its calls, also in percent of the busiest day's."""
        if self.recent_calls is None or not self.recent_calls.calls:
            return []
        busiest = max(calls for _, calls in self.recent_calls.by_day)
        return [
            (day, calls, round(100 * calls / busiest)) for day, calls in self.recent_calls.by_day
        ]


@dataclass
class ConfirmationQuestion:
    """The texts of a confirmation page, and the conditions under which it is shown."""

    title: str
    button: str
    is_destructive: bool = False
    # Changes from now on that no counted call shows: future calls, access, and what is refused.
    effects: list[Effect] = field(default_factory=list)
    # Sentences on people who become members, and may see the customer's keys from then on.
    new_members: list[str] = field(default_factory=list)

    def is_needed(self, found: Consequences) -> bool:
        """Return True if the action has to be confirmed, given what it would move."""
        if self.new_members or self.effects:
            return True
        # Everything else is saved without a question.
        return found.moves_calls or (self.is_destructive and found.changes_assignments)


def posted_data(request: HttpRequest) -> QueryDict:
    """Return the posted form, with keys and secrets unsealed that the confirmation page carried."""
    data = request.POST.copy()
    for name in [name for name in data if name.startswith(SEALED_PREFIX)]:
        user: Any = request.user
        try:
            text = carrying.unseal_for_page(sealed=str(data[name]), user=user, page=request.path)
        except carrying.InvalidCarriedValue:
            # Expired or forged: the form then reports the field as empty.
            text = ""
        del data[name]
        # What was typed anew counts instead: a form with errors carries what was typed before.
        data[name.removeprefix(SEALED_PREFIX)] = data.get(name.removeprefix(SEALED_PREFIX)) or text
    return data


def is_going_back(request: HttpRequest) -> bool:
    """Return True if the user pressed the button that leads back to the form."""
    return BACK_PARAMETER in request.POST


def concealed_field_names(fields: dict[str, forms.Field]) -> list[str]:
    """Return the names of fields whose value no page may show."""
    return [name for name, each in fields.items() if isinstance(each.widget, forms.PasswordInput)]


def do_or_ask(
    request: HttpRequest,
    action: Callable[[], Any],
    question: Callable[[Any], ConfirmationQuestion | None],
) -> TrialResult[Any]:
    """Perform the action if nothing has to be asked, or if just this was confirmed.

    `question`: returns the question for the action's result, or None if the action did nothing,
    such as showing an invalid form. Raises hooks.ConcurrentChange, and what the action raises.
    """

    def keep(result: Any, found: Consequences) -> bool:
        asked = question(result)
        return asked is None or not asked.is_needed(found) or _is_confirmed(request, found, asked)

    _forget_messages(request)
    tried = hooks.try_out(action, keep=keep)
    if not tried.is_kept:
        _forget_messages(request)
    return tried


def announce_moving_calls(request: HttpRequest, tried: TrialResult[Any]) -> None:
    """Tell how many calls are being moved in the background, with a link to the progress."""
    found, user = tried.consequences, request.user
    if not (found.moves_calls and tried.progress_urls):
        return
    calls = calls_in_words(found.calls, is_complete=found.is_complete)
    text = gettext("%(calls)s will move in the background.") % {"calls": calls}
    if user.has_perm("metering.view_claim"):
        text = format_html(
            '{} <a href="{}">{}</a>', text, tried.progress_urls[0], gettext("Show progress")
        )
    messages.info(request, text)


def confirmation_page(
    request: HttpRequest,
    site: admin.AdminSite,
    opts: Any,
    question: ConfirmationQuestion,
    found: Consequences,
    *,
    original: models.Model | None,
    back: str,
    conceal: Sequence[str] = (),
) -> HttpResponse:
    """Show what the action would move, and ask for confirmation.

    `conceal`: fields whose values are carried sealed. `back`: URL of the cancel link.
    """
    context = site.each_context(request) | {
        "title": question.title,
        "subtitle": None,
        "opts": opts,
        "original": original,
        "back": back,
        "question": question,
        "found": found,
        "calls": calls_in_words(found.calls, is_complete=found.is_complete),
        "movements": found.movements[:MAX_MOVEMENTS_SHOWN],
        "more_movements": found.movements[MAX_MOVEMENTS_SHOWN:],
        "was_confirmed": CONFIRMED_PARAMETER in request.POST,
        "carried": [
            *_hidden_inputs(request, conceal),
            (CONFIRMED_PARAMETER, _confirmation_token(request, found, question)),
        ],
    }
    return TemplateResponse(request, "admin/asked.html", context)


def calls_in_words(calls: int, *, is_complete: bool) -> str:
    """Return the number of calls, such as `1 call` or `More than 10,000 calls`."""
    if not is_complete:
        return gettext("More than %(calls)s calls") % {"calls": grouped(calls)}
    return number_of(calls, "%(count)s call", "%(count)s calls")


def recent_calls_in_words(recent_calls: RecentCalls, subject: str = "") -> str:
    """Return a sentence on the calls of the last RECENT_CALLS_DAYS.

    `subject`: who had them; without one, a sentence before says it.
    """
    days, subject = RECENT_CALLS_DAYS, subject or pgettext("administration", "It")
    if not recent_calls.is_complete:
        return pgettext(
            "administration",
            "%(subject)s had more than %(calls)s calls in the last %(days)s days. There are too"
            " many to count them all in time.",
        ) % {"subject": subject, "calls": grouped(recent_calls.calls), "days": days}
    if not recent_calls.calls:
        sentence = pgettext("administration", "%(subject)s had no calls in the last %(days)s days.")
        return sentence % {"subject": subject, "days": days}
    return pgettext(
        "administration",
        "%(subject)s had %(calls)s in the last %(days)s days, %(last_day)s of them in the last 24"
        " hours (since %(since)s), the latest in the hour from %(hour)s.",
    ) % {
        "subject": subject,
        "calls": number_of(recent_calls.calls, "%(count)s call", "%(count)s calls"),
        "days": days,
        "last_day": grouped(recent_calls.last_day),
        "since": moment_text(recent_calls.last_day_since),
        "hour": moment_with_zone(recent_calls.last_hour),
    }


def effect(sentence: str, recent_calls: RecentCalls, subject: str = "") -> Effect:
    """Return an effect that tells the calls of the last days, too. `subject`: who had them."""
    text = f"{sentence} {recent_calls_in_words(recent_calls, subject)}"
    return Effect(text, recent_calls)


def ending_calls_in_words(subject: str, at: datetime, recent_calls: RecentCalls) -> Effect:
    """Return an effect on calls that nobody is charged for from `at` on."""
    return effect(
        gettext("From %(moment)s on, calls %(subject)s are charged to nobody.")
        % {"moment": moment_with_zone(at), "subject": subject},
        recent_calls,
    )


def counted(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun, such as `1 key` or `2,000 keys`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def until_in_words(at: datetime | None) -> str:
    """Return how long something is valid, within a sentence."""
    if at is None:
        return gettext("without an end")
    return gettext("until %(moment)s") % {"moment": moment_with_zone(at)}


def ends_earlier(form: Any, name: str) -> bool:
    """Return True if a saved form set an end, or moved it to an earlier moment."""
    before, after = form.initial.get(name), form.cleaned_data.get(name)
    return bool(name in form.changed_data and after and (before is None or after < before))


def _hidden_inputs(request: HttpRequest, conceal: Sequence[str]) -> list[tuple[str, str]]:
    """Return names and values of the hidden inputs; a key or secret is sealed."""
    user: Any = request.user
    carried: list[tuple[str, str]] = []
    for name, values in posted_data(request).lists():
        if name in UNCARRIED_PARAMETERS:
            continue
        if name not in conceal:
            carried += [(name, value) for value in values]
        elif values[-1]:
            sealed = carrying.seal_for_page(text=values[-1], user=user, page=request.path)
            carried.append((f"{SEALED_PREFIX}{name}", sealed))
        else:
            # Browsers send empty fields, too: without it the confirmation would be of another form.
            carried.append((name, ""))
    return carried


def sealed_inputs(request: HttpRequest, fields: dict[str, forms.Field]) -> list[tuple[str, str]]:
    """Return hidden inputs for the keys and secrets that were typed, each sealed."""
    carried = _hidden_inputs(request, concealed_field_names(fields))
    return [(name, value) for name, value in carried if name.startswith(SEALED_PREFIX)]


def _confirmation_token(
    request: HttpRequest, found: Consequences, question: ConfirmationQuestion
) -> str:
    shown = [_posted_digest(request), question.new_members, *_movement_counts(found)]
    return signing.dumps(shown, salt=CONFIRMATION_SALT)


def _movement_counts(found: Consequences) -> list[Any]:
    """Return the figures that a confirmation is compared by."""
    moved = {
        f"{movement.before} → {movement.after}": movement.calls for movement in found.movements
    }
    return [found.is_complete, moved]


def _posted_digest(request: HttpRequest) -> str:
    """Return a digest of all that was typed, including keys and secrets.

    It is keyed by the signature's secret, so that no key can be guessed from it.
    """
    values_by_name = sorted(
        (name, values)
        for name, values in posted_data(request).lists()
        if name not in UNCARRIED_PARAMETERS
    )
    keyed = signing.Signer(salt=CONFIRMATION_SALT).signature(
        repr((request.user.pk, request.path, values_by_name))
    )
    return sha256(keyed.encode()).hexdigest()


def _is_confirmed(
    request: HttpRequest, found: Consequences, question: ConfirmationQuestion
) -> bool:
    """Return True if the page showed the same input, and about as many calls."""
    try:
        shown = signing.loads(
            request.POST.get(CONFIRMED_PARAMETER, ""),
            salt=CONFIRMATION_SALT,
            max_age=CONFIRMATION_SECONDS,
        )
    except signing.BadSignature:
        return False
    # All of it was signed by `_confirmation_token`.
    digest, new_members, was_complete, before = shown
    # Who becomes a member has to be exactly what was shown.
    if new_members != question.new_members:
        return False
    is_complete, now = _movement_counts(found)
    if digest != _posted_digest(request) or (was_complete, is_complete) == (False, True):
        return False
    if not is_complete:
        return not was_complete
    return before.keys() == now.keys() and all(
        abs(now[name] - before[name]) <= max(CALLS_TOLERANCE, SHARE_TOLERANCE * before[name])
        for name in now
    )


def _forget_messages(request: Any) -> None:
    """Drop messages of an action that was taken back: they would tell what has not happened."""
    if hasattr(request, "_messages"):
        request._messages = default_storage(request)  # noqa: SLF001 - there is no other way
