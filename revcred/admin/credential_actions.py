"""What is asked before each act on a credential."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.timesince import timesince

from revcred import hooks
from revcred.actions import credentials, memberships
from revcred.actions.credentials import NewKey
from revcred.admin_toolkit import confirmation, pickers
from revcred.admin_toolkit.action_pages import ActionForm, ConcealedField
from revcred.admin_toolkit.datetime_field import UtcDateTimeField
from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.models import Credential, ExternalKey, Subscriber, Subscription, User
from revcred.roles import RIGHT_LABELS

ADD_MEMBERSHIP_RIGHT = "revcred.add_membership"
NAME_IN_USE_MESSAGE = "This customer has a credential of this name already."
KEY_IN_USE_MESSAGE = "This key means another credential in that time already."
OTHER_CUSTOMER_MESSAGE = "This subscription is another customer's."
ALREADY_ASSIGNED_MESSAGE = "The credential feeds this subscription in that time already."
NOT_ASSIGNED_MESSAGE = "It does not feed that subscription at that moment."
REVOKED_MESSAGE = "This credential has been revoked, and there is no way back."


def may_add_members(user: Any) -> bool:
    """Return whether somebody may make people members, which a list asks for as well."""
    return bool(user.has_perm(ADD_MEMBERSHIP_RIGHT))


def holders_not_members_in_words(people: list[Subscriber]) -> str:
    names = ", ".join(map(str, people))
    return (
        f"These people do not belong to this customer, and you may not add members: {names}."
        f" It takes the right “{RIGHT_LABELS[ADD_MEMBERSHIP_RIGHT]}”."
    )


def _tags_field() -> SimpleArrayField:
    return SimpleArrayField(
        forms.CharField(max_length=100), required=False, help_text="Separated by commas."
    )


def _optional_datetime_field(help_text: str, **kwargs: Any) -> UtcDateTimeField:
    return UtcDateTimeField(required=False, help_text=help_text, **kwargs)


def use_again_field() -> forms.BooleanField:
    return forms.BooleanField(
        required=False,
        label="Use a revoked credential's key again",
        help_text="Off: a key that a revoked credential had is refused. On: it counts for this one"
        " from now on, or from the moment given.",
    )


class SecretFields(forms.Form):
    """An existing secret, a generated one, or none."""

    secret = ConcealedField(
        help_text="An existing secret that belongs to the key. It is sealed, and its holders can"
        " reveal it."
    )
    generate_secret = forms.BooleanField(required=False, label="Generate a secret")

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("secret") and cleaned.get("generate_secret"):
            self.add_error("generate_secret", "Either an existing secret or a generated one.")
        return cleaned

    def chosen_secret(self) -> str | None:
        if self.cleaned_data["generate_secret"]:
            return credentials.generate_secret()
        return self.cleaned_data["secret"] or None


class IssueCredentialForm(SecretFields, ActionForm):
    title = "Issue a credential"
    button = "Issue"
    permission = "add"
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        credentials.CredentialNameInUse: ("name", NAME_IN_USE_MESSAGE),
        credentials.KeyInUse: ("key", KEY_IN_USE_MESSAGE),
        credentials.KeyOfRevokedCredential: ("key", ""),
        credentials.SubscriptionOfOtherCustomer: (
            "subscriptions",
            "One of these is another customer's.",
        ),
        credentials.HoldersNotMembers: ("holders", ""),
    }

    customer = pickers.customer_picker()
    name = forms.CharField(
        max_length=200, help_text="Unique among those of its customer that are not revoked."
    )
    key = ConcealedField(
        label="Existing key",
        help_text="The string that callers send. Empty: one is generated, which its holders find"
        " in the storefront.",
    )
    use_again = use_again_field()
    gateway = pickers.gateway_picker()
    active_from = _optional_datetime_field(
        "Empty: an existing key counts from as far back as transactions are accepted, so that"
        " usage waiting in quarantine is claimed; a generated one from now.",
        label="Valid from",
    )
    subscriptions = pickers.subscriptions_picker(
        help_text="What it feeds. Several may be chosen; they are all of this customer."
    )
    holders = pickers.holders_picker(help_text="The people who use it and may reveal it.")
    environment = forms.CharField(
        max_length=50, required=False, help_text="Such as production or staging."
    )
    tags = _tags_field()
    expires_at = _optional_datetime_field("Empty: never.")

    class Media:
        js = ("admin/js/jquery.init.js", "revcred/issue.js")

    field_order = (
        "customer",
        "name",
        "key",
        "use_again",
        "gateway",
        "active_from",
        "secret",
        "generate_secret",
        "subscriptions",
        "holders",
        "environment",
        "tags",
        "expires_at",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        customer, name = cleaned.get("customer"), cleaned.get("name")
        same = Credential.objects.filter(customer=customer, name=name, revoked_at=None)
        if customer and same.exists():
            self.add_error("name", NAME_IN_USE_MESSAGE)
        self.joining: list[Subscriber] = []
        if customer:
            holders = cleaned.get("holders") or ()
            self.joining = credentials.holders_not_members(customer=customer, holders=holders)
        if self.joining and not may_add_members(self.request.user):
            self.add_error("holders", holders_not_members_in_words(self.joining))
        return cleaned

    def new_members(self) -> list[str]:
        customer = self.cleaned_data["customer"]
        return [memberships.describe_new_member(each, customer) for each in self.joining]

    def perform(self, by: User) -> str:
        said = self.cleaned_data
        keyed = NewKey(
            key=said["key"] or None,
            secret=self.chosen_secret(),
            gateway=said["gateway"],
            active_from=said["active_from"],
            use_again=said["use_again"],
        )
        self.target = credentials.issue_credential(
            customer=said["customer"],
            name=said["name"],
            keyed=keyed,
            subscriptions=said["subscriptions"],
            holders=said["holders"],
            new_members=self.joining,
            environment=said["environment"],
            tags=said["tags"],
            expires_at=said["expires_at"],
            by=by,
        )
        if said["key"]:
            return f"“{self.target}” was issued."
        return f"“{self.target}” was issued. Its holders find the key in the storefront."


class CredentialActionForm(ActionForm):
    target: Credential
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        credentials.CredentialRevoked: (None, REVOKED_MESSAGE),
        credentials.KeyInUse: ("key", KEY_IN_USE_MESSAGE),
        credentials.KeyOfRevokedCredential: ("key", ""),
    }


class EndingActionForm(CredentialActionForm):
    """An act after which calls are charged to nobody: what it cuts off is said by the last days."""

    is_destructive = True

    def ended_calls(self) -> list[str]:
        subscription = self.cleaned_data.get("subscription")
        lately = hooks.recent_calls_of(credential=self.target, subscription=subscription)
        at = self.cleaned_data.get("at") or timezone.now()
        through = f"through “{self.target}”" + (f" to “{subscription}”" if subscription else "")
        return [confirmation.ending_calls_in_words(through, at, lately)]


class AddAliasForm(CredentialActionForm):
    title = "Add an alias"
    button = "Add"
    explanation = "Another string under which its usage may arrive, such as an application's id."

    key = ConcealedField(label="Alias")
    use_again = use_again_field()
    gateway = pickers.gateway_picker()
    active_from = _optional_datetime_field(
        "Empty: from as far back as transactions are accepted, so that usage waiting in"
        " quarantine is claimed.",
        label="Valid from",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].required = True

    def perform(self, by: User) -> str:
        said = self.cleaned_data
        credentials.add_alias(
            credential=self.target,
            alias=said["key"],
            gateway=said["gateway"],
            active_from=said["active_from"],
            use_again=said["use_again"],
            by=by,
        )
        return "The alias was added. Usage that waits under it is being claimed."


class RotateCredentialForm(SecretFields, CredentialActionForm):
    title = "Rotate"
    button = "Rotate"
    OVERLAPS = (
        ("0", "none: the old key ends now"),
        ("1", "1 hour"),
        ("24", "24 hours"),
        ("168", "7 days"),
        ("720", "30 days"),
        ("other", "other"),
    )

    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="24",
        widget=forms.RadioSelect,
        help_text="How long the old key stays valid beside the new one.",
    )
    hours = forms.IntegerField(
        required=False, min_value=1, max_value=24 * 366, help_text="If other: how many hours."
    )
    key = ConcealedField(
        label="Existing new key",
        help_text="Empty: one is generated, which its holders find in the storefront.",
    )

    use_again = use_again_field()

    field_order = ("overlap", "hours", "key", "use_again", "secret", "generate_secret")

    @property
    def explanation(self) -> str:  # type: ignore[override]
        now = timezone.now()
        lines = [
            (each, _last_use_in_words(each, now))
            for each in self.target.keys.current(now).select_related("use")
        ]
        return format_html_join(" ", "{} was {}.", lines)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("overlap") == "other" and not cleaned.get("hours"):
            self.add_error("hours", "How many hours?")
        return cleaned

    def perform(self, by: User) -> str:
        said = self.cleaned_data
        hours = said["hours"] if said["overlap"] == "other" else int(said["overlap"])
        credentials.rotate_credential(
            credential=self.target,
            overlap=timedelta(hours=hours),
            key=said["key"] or None,
            secret=self.chosen_secret(),
            use_again=said["use_again"],
            by=by,
        )
        return f"“{self.target}” has a new key."


class SuspendCredentialForm(EndingActionForm):
    title = "Suspend"
    button = "Suspend"
    explanation = (
        "From now on nothing is attributed to it: its transactions wait in quarantine until it is"
        " known what to do with them. It can be resumed."
    )

    def perform(self, by: User) -> str:
        credentials.suspend_credential(credential=self.target, by=by)
        return f"“{self.target}” is suspended."


class ResumeCredentialForm(CredentialActionForm):
    title = "Resume"
    button = "Resume"
    explanation = (
        "From now on its transactions are attributed again. What came while it was suspended"
        " stays in quarantine."
    )

    def perform(self, by: User) -> str:
        credentials.resume_credential(credential=self.target, by=by)
        return f"“{self.target}” counts again."


class RevokeCredentialForm(EndingActionForm):
    title = "Revoke"
    button = "Revoke for good"
    explanation = (
        "There is no way back: its keys mean nobody from now on, and neither key nor secret is"
        " revealed again. What it has used stays."
    )

    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 3}))

    def perform(self, by: User) -> str:
        credentials.revoke_credential(
            credential=self.target, reason=self.cleaned_data["reason"], by=by
        )
        return f"“{self.target}” is revoked."


class AssignSubscriptionForm(CredentialActionForm):
    title = "Assign another subscription"
    button = "Assign"
    explanation = (
        "It feeds this subscription too. A transaction that more than one subscription fits waits"
        " in quarantine as ambiguous."
    )
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        credentials.CredentialRevoked: (None, REVOKED_MESSAGE),
        credentials.SubscriptionOfOtherCustomer: ("to", OTHER_CUSTOMER_MESSAGE),
        credentials.AlreadyAssigned: ("to", ALREADY_ASSIGNED_MESSAGE),
        credentials.NotAssigned: ("at", NOT_ASSIGNED_MESSAGE),
    }

    to = pickers.subscription_picker(label="Subscription")
    at = _optional_datetime_field(
        "Empty: now. A moment in the past takes the usage since then along.", label="From"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widget: Any = self.fields["to"].widget
        widget.customer = self.target.customer

    def perform(self, by: User) -> str:
        to, at = self.cleaned_data["to"], self.cleaned_data["at"]
        credentials.assign_subscription(credential=self.target, subscription=to, at=at, by=by)
        return f"“{self.target}” feeds “{to}”."


class MoveCredentialForm(AssignSubscriptionForm):
    title = "Move to another subscription"
    button = "Move"
    explanation = (
        "From that moment on it feeds the other subscription. What came before stays where it is."
    )

    subscription = forms.ModelChoiceField(
        Subscription.objects.none(), label="From subscription", empty_label=None
    )
    to = pickers.subscription_picker(label="To subscription")

    field_order = ("subscription", "to", "at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["subscription"], _assigned_subscriptions(self.target))

    def perform(self, by: User) -> str:
        said = self.cleaned_data
        credentials.move_credential(
            credential=self.target,
            subscription=said["subscription"],
            to=said["to"],
            at=said["at"],
            by=by,
        )
        return f"“{self.target}” was moved to “{said['to']}”."


class UnassignSubscriptionForm(EndingActionForm):
    title = "Unassign"
    button = "Unassign"
    explanation = "From that moment on it no longer feeds the subscription."
    field_errors: ClassVar[Mapping[type[Exception], tuple[str | None, str]]] = {
        credentials.NotAssigned: ("at", NOT_ASSIGNED_MESSAGE)
    }

    subscription = forms.ModelChoiceField(Subscription.objects.none(), empty_label=None)
    at = _optional_datetime_field("Empty: now.", label="From")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["subscription"], _assigned_subscriptions(self.target))

    def perform(self, by: User) -> str:
        subscription, at = self.cleaned_data["subscription"], self.cleaned_data["at"]
        credentials.unassign_subscription(
            credential=self.target, subscription=subscription, at=at, by=by
        )
        return f"“{self.target}” no longer feeds “{subscription}”."


class KeyChoiceField(ModelChoiceField):
    def label_from_instance(self, key: ExternalKey) -> str:
        last_use = _last_use_in_words(key, timezone.now())
        return f"{key}, from {key.active_from:%Y-%m-%d %H:%M}, {last_use}"


class EndKeyForm(EndingActionForm):
    title = "End a key"
    button = "End it"
    explanation = "From that moment on the string means nobody. The credential itself stays."

    key = KeyChoiceField(ExternalKey.objects.none(), widget=forms.RadioSelect, empty_label=None)
    at = _optional_datetime_field("Empty: now.", label="From")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["key"], self.target.keys.not_ended_at(timezone.now()))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        key, at = cleaned.get("key"), cleaned.get("at")
        if key and at and not key.is_active_at(at):
            self.add_error("at", "It is not valid at that moment.")
        return cleaned

    def ended_calls(self) -> list[str]:
        key, at = self.cleaned_data["key"], self.cleaned_data.get("at") or timezone.now()
        used = _last_use_in_words(key, timezone.now())
        return [f"From {at:%Y-%m-%d %H:%M} UTC on, calls with {key} are charged to nobody: {used}."]

    def perform(self, by: User) -> str:
        key = self.cleaned_data["key"]
        credentials.end_key(key=key, at=self.cleaned_data["at"], by=by)
        return f"{key} was ended."


def _set_choices(field: Any, those: QuerySet[Any]) -> None:
    field.queryset = those


def _assigned_subscriptions(credential: Credential) -> QuerySet[Subscription]:
    assignments = credential.assignments.not_ended_at(timezone.now())
    return Subscription.objects.filter(pk__in=assignments.values("subscription"))


def _last_use_in_words(key: ExternalKey, now: datetime) -> str:
    if key.last_used_at is None:
        return "never used"
    return f"last used {timesince(key.last_used_at, now)} ago"
