"""Forms of what subscribers do with their own credentials. Each says first what it will do."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from django import forms
from django.db.models import Count
from django.utils import timezone

from metering.models import Quarantined, QuarantineReason
from revcred import hooks
from revcred.actions import credentials, own_credentials
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.metering_port import RECENT_CALLS_DAYS, Consequences, RecentCalls
from revcred.models import Credential, ExternalKey, Subscription, User

TRIAL_SECONDS = 3.0  # somebody waits for the page
DAY_HOURS = 24
KEY_IN_USE_MESSAGE = "This key is in use already, or was. Choose another one."
MAX_NAMES_IN_SENTENCE = 5

T = TypeVar("T")
FieldErrors = Mapping[type[Exception], tuple[str | None, str]]

COMMON_ERRORS: FieldErrors = {
    credentials.CredentialRevoked: (None, "This credential is revoked. That cannot be undone."),
    credentials.SuspendedByProvider: (
        None,
        "Your provider suspended this credential. Only your provider can resume it.",
    ),
    credentials.EndSetByProvider: (
        None,
        "Your provider set the end of this key. Only your provider can move it.",
    ),
    own_credentials.KeyEndedLongAgo: (None, "This key ended too long ago, or has no end."),
    credentials.KeyInUse: (None, "Another credential has this key by now."),
    credentials.RevealsPaused: (
        None,
        "Your sign-in address was changed. Confirm that change with your password first.",
    ),
    hooks.ConcurrentChange: (
        None,
        "Somebody else is changing this credential right now. Try again in a few seconds.",
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
            field, message = self.field_errors[type(error)]
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
        return _listed([f"“{each}”" for each in charged], "no subscription")

    def _keys_in_words(self) -> str:
        """Return the ends of the keys that work now."""
        keys = self.credential.keys.at(timezone.now())
        return _listed([f"…{key.hint}" for key in keys], "no key")


def _listed(names: list[str], none: str) -> str:
    """Return the first names with commas, and how many more there are."""
    others = len(names) - MAX_NAMES_IN_SENTENCE
    more = f" and {others} more" if others > 0 else ""
    return ", ".join(names[:MAX_NAMES_IN_SENTENCE]) + more or none


class SuspendOwnForm(OwnActionForm):
    """Asks before a credential is suspended."""

    permitted_as = "suspend"
    title = "Suspend"
    button = "Suspend this credential"
    is_destructive = True
    is_tried_first = True

    def effects(self) -> list[str]:
        return [
            (
                f"From now on, calls with {self._keys_in_words()} are not counted for"
                f" {self._charged_to()}, and gateways that ask revcred refuse them."
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(credential=self.credential)),
            "You can resume it at any time. Calls made until then stay not counted.",
        ]

    def perform(self, by: User) -> str:
        own_credentials.suspend_own_credential(credential=self.credential, by=by)
        return f"“{self.credential}” is suspended. You can resume it at any time."


class ResumeOwnForm(OwnActionForm):
    """Asks before a credential counts again."""

    permitted_as = "suspend"
    title = "Resume"
    button = "Resume this credential"
    is_tried_first = True

    def effects(self) -> list[str]:
        suspension = self.credential.suspensions.at(timezone.now()).first()
        if suspension is None:
            return ["This credential is not suspended."]
        waiting = (
            Quarantined.objects.of_credentials(Credential.objects.filter(pk=self.credential.pk))
            .filter(occurred_at__gte=suspension.active_from, reason=QuarantineReason.KEY_NOT_VALID)
            .aggregate(calls=Count("pk"))["calls"]
        )
        return [
            (
                f"From now on, calls with {self._keys_in_words()} are counted again for"
                f" {self._charged_to()}."
            ),
            (
                f"{counted_calls(waiting)} made since {suspension.active_from:%Y-%m-%d %H:%M} UTC"
                f" {'stays' if waiting == 1 else 'stay'} not counted."
            ),
        ]

    def perform(self, by: User) -> str:
        own_credentials.resume_own_credential(credential=self.credential, by=by)
        return f"“{self.credential}” is active again."


class RevokeOwnForm(OwnActionForm):
    """Asks for the reason of a revocation."""

    permitted_as = "revoke"
    title = "Revoke"
    button = "Revoke for good"
    is_destructive = True
    is_confirmed_by_password = True

    reason = forms.CharField(
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Everybody who sees this credential reads it.",
    )

    def effects(self) -> list[str]:
        return [
            "This cannot be undone.",
            f"{self._keys_in_words()} stop at once, and can no longer be revealed.",
            (
                f"Calls with them are not counted for {self._charged_to()}, and gateways that ask"
                " revcred refuse them."
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(credential=self.credential)),
            (
                "If you only want another key, rotate the credential. To stop it for a while,"
                " suspend it."
            ),
        ]

    def perform(self, by: User) -> str:
        own_credentials.revoke_own_credential(
            credential=self.credential, reason=self.cleaned_data["reason"], by=by
        )
        return f"“{self.credential}” is revoked."


class RotateOwnForm(OwnActionForm):
    """Asks how long the old key stays valid, and for the new key if it is one's own."""

    permitted_as = "rotate"
    title = "Rotate"
    button = "Make a new key"
    is_confirmed_by_password = True
    # Usual times that callers need to change their configuration, in hours.
    OVERLAPS = (
        ("1", "1 hour"),
        ("24", "24 hours"),
        ("168", "7 days"),
        ("720", "30 days"),
        ("0", "Not at all: it ends now"),
    )

    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="168",
        widget=forms.RadioSelect,
        label="How long the old key works beside the new one",
    )
    value = forms.CharField(
        required=False,
        max_length=MAX_KEY_CHARACTERS,
        min_length=16,
        label="A key of your own",
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text="Leave it empty, and revcred makes a key.",
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
        effects = ["A new key is made, which works at once."]
        for key in current:
            rate = calls_per_hour_in_words(
                hooks.recent_calls_of(key=key), subject=f"The key …{key.hint}"
            )
            until = (
                f" It ends at {key.active_until:%Y-%m-%d %H:%M} UTC, or earlier if you choose so."
                if key.active_until
                else ""
            )
            effects.append(f"{rate}{until}")
        effects.append(
            "You can end the old key earlier, or let it work longer, at any time. Calls with a key"
            " that has ended are not counted, and gateways that ask revcred refuse them."
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
            return (
                f"“{self.credential}” has had a new key, …{error.key.hint}, since"
                f" {error.key.active_from:%Y-%m-%d %H:%M} UTC."
            )
        return f"“{self.credential}” has a new key, …{self.new_key.hint}."


class EndOwnKeyForm(OwnActionForm):
    """Asks before the old key of a rotation ends."""

    permitted_as = "rotate"
    title = "End the old key"
    button = "End this key now"
    is_destructive = True
    is_tried_first = True
    key: ExternalKey

    def effects(self) -> list[str]:
        return [
            (
                f"The key …{self.key.hint} stops now. Calls with it are not counted, and gateways"
                " that ask revcred refuse them."
            ),
            calls_per_hour_in_words(hooks.recent_calls_of(key=self.key)),
            f"You can let it work again within {own_credentials.RESTORABLE_PERIOD.days} days.",
        ]

    def perform(self, by: User) -> str:
        own_credentials.end_own_key(key=self.key, by=by)
        return f"The key …{self.key.hint} has ended."


class ExtendOwnKeyForm(OwnActionForm):
    """Asks how long an old key goes on working."""

    permitted_as = "rotate"
    title = "Let the old key work longer"
    button = "Move its end"
    key: ExternalKey
    # From now on, in hours.
    PERIODS = (("24", "24 hours"), ("168", "7 days"), ("720", "30 days"))

    period = forms.ChoiceField(
        choices=PERIODS, initial="24", widget=forms.RadioSelect, label="How long from now"
    )

    def effects(self) -> list[str]:
        ends, hint = self.key.active_until, self.key.hint
        if ends is None or ends > timezone.now():
            until = f"{ends:%Y-%m-%d %H:%M} UTC" if ends else "without an end"
            first = f"The key …{hint} works until {until}."
        else:
            first = (
                f"The key …{hint} ended at {ends:%Y-%m-%d %H:%M} UTC. It works again at once, and"
                " calls made with it since then are counted."
            )
        return [first, calls_per_hour_in_words(hooks.recent_calls_of(key=self.key))]

    def clean_period(self) -> timedelta:
        period = timedelta(hours=int(self.cleaned_data["period"]))
        ends = self.key.active_until
        if ends and timezone.now() + period <= ends:
            self.add_error(None, "The key works longer than that already.")
        return period

    def perform(self, by: User) -> str:
        until = timezone.now() + self.cleaned_data["period"]
        own_credentials.extend_own_key(key=self.key, until=until, by=by)
        return f"The key …{self.key.hint} works until {until:%Y-%m-%d %H:%M} UTC."


def counted_calls(number: int) -> str:
    """Return the number with its noun, such as `1 call` or `2,000 calls`."""
    return f"{number:,} {'call' if number == 1 else 'calls'}"


def calls_per_hour_in_words(recent: RecentCalls, subject: str = "It") -> str:
    """Return a sentence on the calls of the last day, in total and per hour."""
    if not recent.is_complete:
        return f"{subject} has more calls than could be counted in time."
    if not recent.calls:
        return f"{subject} had no calls in the last {RECENT_CALLS_DAYS} days."
    if not recent.last_day:
        return (
            f"{subject} had {counted_calls(recent.calls)} in the last {RECENT_CALLS_DAYS} days, and"
            " none in the last 24 hours."
        )
    per_hour = recent.last_day / DAY_HOURS
    rate = f"about {per_hour:,.0f} an hour" if per_hour >= 1 else "less than one an hour"
    return f"{subject} had {counted_calls(recent.last_day)} in the last 24 hours, {rate}."
