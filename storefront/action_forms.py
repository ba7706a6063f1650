"""Forms of what subscribers do with their own credentials. Each says first what it will do."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db.models import Count
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop, ngettext

from metering.models import Quarantined, QuarantineReason
from revcred import hooks
from revcred.actions import credentials, own_credentials
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.metering_port import RECENT_CALLS_DAYS, Consequences, RecentCalls
from revcred.models import Credential, ExternalKey, Subscription, User
from revcred.texts import gettext_lazy
from storefront.formatting import moment_with_zone, plain_number

TRIAL_SECONDS = 3.0  # somebody waits for the page
DAY_HOURS = 24
KEY_IN_USE_MESSAGE = gettext_noop("This key is in use already, or was. Choose another one.")
MAX_NAMES_IN_SENTENCE = 5

T = TypeVar("T")
FieldErrors = Mapping[type[Exception], tuple[str | None, str]]

COMMON_ERRORS: FieldErrors = {
    credentials.CredentialRevoked: (
        None,
        gettext_noop("This credential is revoked. That cannot be undone."),
    ),
    credentials.SuspendedByProvider: (
        None,
        gettext_noop("Your provider suspended this credential. Only your provider can resume it."),
    ),
    credentials.EndSetByProvider: (
        None,
        gettext_noop("Your provider set the end of this key. Only your provider can move it."),
    ),
    own_credentials.KeyEndedLongAgo: (
        None,
        gettext_noop("This key ended too long ago, or has no end."),
    ),
    credentials.KeyInUse: (None, gettext_noop("Another credential has this key by now.")),
    credentials.RevealsPaused: (
        None,
        gettext_noop(
            "Your sign-in address was changed. Confirm that change with your password first."
        ),
    ),
    hooks.ConcurrentChange: (
        None,
        gettext_noop(
            "Somebody else is changing this credential right now. Try again in a few seconds."
        ),
    ),
}


class ActionForm(forms.Form):
    """The form of an action that says first what it will do.

    `is_confirmed_by_password`: a fresh confirmation is needed, as for a reveal. `field_errors`:
    for each error of the action the field to show it at (None: the whole form) and the message.
    """

    title: ClassVar[str]
    button: ClassVar[str]
    is_destructive: ClassVar[bool] = False
    is_confirmed_by_password: ClassVar[bool] = False
    field_errors: ClassVar[FieldErrors]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.problem = ""

    def effects(self) -> list[str]:
        """Return sentences on what the action will do."""
        raise NotImplementedError

    def perform(self, by: User) -> str:
        """Perform the action, and return a sentence that says so."""
        raise NotImplementedError

    def try_action(self, by: User) -> str:
        """Perform the action. Returns its sentence, empty if the form has an error now."""
        return self._with_errors(lambda: self.perform(by), "")

    def _with_errors(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except tuple(self.field_errors) as error:
            field, text = self.field_errors[type(error)]
            message = gettext(text)
        if field:
            self.add_error(field, message)
        else:
            # Not among the form's errors: a form that was not sent has none.
            self.problem = message
        return otherwise


class OwnActionForm(ActionForm):
    """The form of an action on one's own credential.

    `permitted_as`: the name in SUBSCRIBER_ACTIONS that permits it. `is_tried_first`: it needs no
    choice, so that its consequences can be counted before it is done.
    """

    permitted_as: ClassVar[str]
    is_tried_first: ClassVar[bool] = False
    field_errors: ClassVar[FieldErrors] = COMMON_ERRORS

    def __init__(
        self, *args: Any, credential: Credential, key: ExternalKey | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.credential = credential
        self.key = key

    def try_first(self, by: User) -> Consequences:
        """Perform the action, count the calls that it moves, and take it back."""
        return self._with_errors(
            lambda: (
                hooks.try_out(
                    lambda: self.perform(by), keep=lambda *_: False, seconds=TRIAL_SECONDS
                ).consequences
            ),
            Consequences(),
        )

    def _charged_to(self) -> str:
        """Return the names of the subscriptions that calls are charged to now."""
        now = timezone.now()
        assigned = self.credential.assignments.at(now).values("subscription")
        charged = Subscription.objects.filter(pk__in=assigned).at(now)
        return _listed([f"“{each}”" for each in charged], gettext("no subscription"))

    def _keys_in_words(self) -> str:
        """Return the ends of the keys that work now."""
        keys = self.credential.keys.at(timezone.now())
        return _listed([f"…{key.hint}" for key in keys], gettext("no key"))


def _listed(names: list[str], none: str) -> str:
    """Return the first names with commas, and how many more there are."""
    others = len(names) - MAX_NAMES_IN_SENTENCE
    more = gettext(" and %(number)s more") % {"number": others} if others > 0 else ""
    return ", ".join(names[:MAX_NAMES_IN_SENTENCE]) + more or none


class SuspendOwnForm(OwnActionForm):
    """Asks before a credential is suspended."""

    permitted_as = "suspend"
    title = gettext_noop("Suspend")
    button = gettext_noop("Suspend this credential")
    is_destructive = True
    is_tried_first = True

    def effects(self) -> list[str]:
        return [
            (
                gettext(
                    "From now on, calls with %(keys)s are not counted for %(charged_to)s,"
                    " and gateways that ask revcred refuse them."
                )
                % {"keys": self._keys_in_words(), "charged_to": self._charged_to()}
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(credential=self.credential)),
            gettext("You can resume it at any time. Calls made until then stay not counted."),
        ]

    def perform(self, by: User) -> str:
        own_credentials.suspend_own_credential(credential=self.credential, by=by)
        return gettext("“%(credential)s” is suspended. You can resume it at any time.") % {
            "credential": self.credential
        }


class ResumeOwnForm(OwnActionForm):
    """Asks before a credential counts again."""

    permitted_as = "suspend"
    title = gettext_noop("Resume")
    button = gettext_noop("Resume this credential")
    is_tried_first = True

    def effects(self) -> list[str]:
        suspension = self.credential.suspensions.at(timezone.now()).first()
        if suspension is None:
            return [gettext("This credential is not suspended.")]
        waiting = (
            Quarantined.objects.of_credentials(Credential.objects.filter(pk=self.credential.pk))
            .filter(occurred_at__gte=suspension.active_from, reason=QuarantineReason.KEY_NOT_VALID)
            .aggregate(calls=Count("pk"))["calls"]
        )
        return [
            (
                gettext("From now on, calls with %(keys)s are counted again for %(charged_to)s.")
                % {"keys": self._keys_in_words(), "charged_to": self._charged_to()}
            ),
            (
                ngettext(
                    "%(calls)s made since %(moment)s stays not counted.",
                    "%(calls)s made since %(moment)s stay not counted.",
                    waiting,
                )
                % {
                    "calls": counted_calls(waiting),
                    "moment": moment_with_zone(suspension.active_from),
                }
            ),
        ]

    def perform(self, by: User) -> str:
        own_credentials.resume_own_credential(credential=self.credential, by=by)
        return gettext("“%(credential)s” is active again.") % {"credential": self.credential}


class RevokeOwnForm(OwnActionForm):
    """Asks for the reason of a revocation."""

    permitted_as = "revoke"
    title = gettext_noop("Revoke")
    button = gettext_noop("Revoke for good")
    is_destructive = True
    is_confirmed_by_password = True

    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Everybody who sees this credential reads it."),
    )

    def effects(self) -> list[str]:
        return [
            gettext("This cannot be undone."),
            gettext("%(keys)s stop at once, and can no longer be revealed.")
            % {"keys": self._keys_in_words()},
            (
                gettext(
                    "Calls with them are not counted for %(charged_to)s, and gateways that ask"
                    " revcred refuse them."
                )
                % {"charged_to": self._charged_to()}
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(credential=self.credential)),
            (
                gettext(
                    "If you only want another key, rotate the credential. To stop it for a while,"
                    " suspend it."
                )
            ),
        ]

    def perform(self, by: User) -> str:
        own_credentials.revoke_own_credential(
            credential=self.credential, reason=self.cleaned_data["reason"], by=by
        )
        return gettext("“%(credential)s” is revoked.") % {"credential": self.credential}


class RotateOwnForm(OwnActionForm):
    """Asks how long the old key stays valid, and for the new key if it is one's own."""

    permitted_as = "rotate"
    title = gettext_noop("Rotate")
    button = gettext_noop("Make a new key")
    is_confirmed_by_password = True
    # Usual times that callers need to change their configuration, in hours.
    OVERLAPS = (
        ("1", gettext_lazy("1 hour")),
        ("24", gettext_lazy("24 hours")),
        ("168", gettext_lazy("7 days")),
        ("720", gettext_lazy("30 days")),
        ("0", gettext_lazy("Not at all: it ends now")),
    )

    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="168",
        widget=forms.RadioSelect,
        label=gettext_lazy("How long the old key works beside the new one"),
    )
    value = forms.CharField(
        required=False,
        max_length=MAX_KEY_CHARACTERS,
        min_length=16,
        label=gettext_lazy("A key of your own"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy("Leave it empty, and revcred makes a key."),
    )
    # Names what the person saw, so that a click that comes twice makes one key.
    newest_key = forms.IntegerField(widget=forms.HiddenInput)

    field_errors: ClassVar[FieldErrors] = {
        **COMMON_ERRORS,
        # Whose key it is or was is nobody else's business.
        credentials.KeyInUse: ("value", KEY_IN_USE_MESSAGE),
        credentials.KeyOfRevokedCredential: ("value", KEY_IN_USE_MESSAGE),
    }

    def __init__(self, *args: Any, credential: Credential, **kwargs: Any) -> None:
        newest = credential.keys.filter(kind=ExternalKey.Kind.KEY).first()
        initial = {"newest_key": newest.pk if newest else 0}
        super().__init__(*args, credential=credential, initial=initial, **kwargs)
        self.new_key: ExternalKey | None = None

    def effects(self) -> list[str]:
        now = timezone.now()
        current = list(self.credential.keys.current(now))
        effects = [gettext("A new key is made, which works at once.")]
        for key in current:
            rate = calls_per_hour_in_words(
                hooks.recent_calls_of(key=key),
                subject=gettext("The key …%(hint)s") % {"hint": key.hint},
            )
            until = (
                gettext(" It ends at %(moment)s, or earlier if you choose so.")
                % {"moment": moment_with_zone(key.active_until)}
                if key.active_until
                else ""
            )
            effects.append(f"{rate}{until}")
        effects.append(
            gettext(
                "You can end the old key earlier, or let it work longer, at any time. Calls"
                " with a key that has ended are not counted, and gateways that ask revcred"
                " refuse them."
            )
        )
        return effects

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        overlap = timedelta(hours=int(data["overlap"]))
        try:
            self.new_key = own_credentials.rotate_own_credential(
                credential=self.credential,
                overlap=overlap,
                key=data["value"] or None,
                newest_key=data["newest_key"],
                by=by,
            )
        except credentials.RotatedMeanwhile as error:
            self.new_key = error.key
            return gettext("“%(credential)s” has had a new key, …%(hint)s, since %(moment)s.") % {
                "credential": self.credential,
                "hint": error.key.hint,
                "moment": moment_with_zone(error.key.active_from),
            }
        return gettext("“%(credential)s” has a new key, …%(hint)s.") % {
            "credential": self.credential,
            "hint": self.new_key.hint,
        }


class EndOwnKeyForm(OwnActionForm):
    """Asks before the old key of a rotation ends."""

    permitted_as = "rotate"
    title = gettext_noop("End the old key")
    button = gettext_noop("End this key now")
    is_destructive = True
    is_tried_first = True
    key: ExternalKey

    def effects(self) -> list[str]:
        return [
            (
                gettext(
                    "The key …%(hint)s stops now. Calls with it are not counted, and gateways that"
                    " ask revcred refuse them."
                )
                % {"hint": self.key.hint}
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(key=self.key)),
            gettext("You can let it work again within %(days)s days.")
            % {"days": own_credentials.RESTORABLE_PERIOD.days},
        ]

    def perform(self, by: User) -> str:
        own_credentials.end_own_key(key=self.key, by=by)
        return gettext("The key …%(hint)s has ended.") % {"hint": self.key.hint}


class ExtendOwnKeyForm(OwnActionForm):
    """Asks how long an old key goes on working."""

    permitted_as = "rotate"
    title = gettext_noop("Let the old key work longer")
    button = gettext_noop("Move its end")
    key: ExternalKey
    # From now on, in hours.
    PERIODS = (
        ("24", gettext_lazy("24 hours")),
        ("168", gettext_lazy("7 days")),
        ("720", gettext_lazy("30 days")),
    )

    period = forms.ChoiceField(
        choices=PERIODS,
        initial="24",
        widget=forms.RadioSelect,
        label=gettext_lazy("How long from now"),
    )

    def effects(self) -> list[str]:
        ends, hint = self.key.active_until, self.key.hint
        if ends is None or ends > timezone.now():
            first = (
                gettext("The key …%(hint)s works until %(moment)s.")
                % {"hint": hint, "moment": moment_with_zone(ends)}
                if ends
                else gettext("The key …%(hint)s works without an end.") % {"hint": hint}
            )
        else:
            first = gettext(
                "The key …%(hint)s ended at %(moment)s. It works again at once, and calls"
                " made with it since then are counted."
            ) % {"hint": hint, "moment": moment_with_zone(ends)}
        return [first, calls_per_hour_in_words(hooks.recent_calls_of(key=self.key))]

    def clean_period(self) -> timedelta:
        period = timedelta(hours=int(self.cleaned_data["period"]))
        ends = self.key.active_until
        if ends and timezone.now() + period <= ends:
            self.add_error(None, gettext("The key works longer than that already."))
        return period

    def perform(self, by: User) -> str:
        until = timezone.now() + self.cleaned_data["period"]
        own_credentials.extend_own_key(key=self.key, until=until, by=by)
        return gettext("The key …%(hint)s works until %(moment)s.") % {
            "hint": self.key.hint,
            "moment": moment_with_zone(until),
        }


def counted_calls(number: int) -> str:
    """Return the number with its noun, such as `1 call` or `2,000 calls`."""
    text = ngettext("%(number)s call", "%(number)s calls", number)
    return text % {"number": plain_number(number)}


def calls_per_hour_in_words(recent: RecentCalls, subject: str | None = None) -> str:
    """Return a sentence on the calls of the last day, in total and per hour.

    `subject`: what had the calls; None for what the sentence before named.
    """
    subject = subject or gettext("It")
    if not recent.is_complete:
        return gettext("%(subject)s has more calls than could be counted in time.") % {
            "subject": subject
        }
    if not recent.calls:
        return gettext("%(subject)s had no calls in the last %(days)s days.") % {
            "subject": subject,
            "days": RECENT_CALLS_DAYS,
        }
    if not recent.last_day:
        return gettext(
            "%(subject)s had %(calls)s in the last %(days)s days, and none in the last 24 hours."
        ) % {"subject": subject, "calls": counted_calls(recent.calls), "days": RECENT_CALLS_DAYS}
    per_hour = recent.last_day / DAY_HOURS
    rate = (
        gettext("about %(per_hour)s an hour") % {"per_hour": plain_number(round(per_hour))}
        if per_hour >= 1
        else gettext("less than one an hour")
    )
    return gettext("%(subject)s had %(calls)s in the last 24 hours, %(rate)s.") % {
        "subject": subject,
        "calls": counted_calls(recent.last_day),
        "rate": rate,
    }
