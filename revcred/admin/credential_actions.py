"""Forms of the actions on a credential."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib.postgres.forms import SimpleArrayField
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.timesince import timesince
from django.utils.translation import gettext

from revcred import hooks
from revcred.actions import credentials, memberships, mistakes, subscribers, users
from revcred.actions.credentials import NewKey
from revcred.admin_toolkit import confirmation, pickers
from revcred.admin_toolkit.action_pages import ActionForm, ConcealedField, FieldErrors
from revcred.admin_toolkit.datetime_field import MomentField
from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.external_keys import trim_key
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExternalKey, Gateway, Subscriber, Subscription, User
from revcred.models.names import MAX_NAME_CHARACTERS
from revcred.public_ids import SELECT_FINGERPRINTS_OF_CREDENTIAL
from revcred.roles import RIGHT_LABELS
from revcred.texts import gettext_lazy, number_of, quoted
from revcred.time_zones import moment_text, moment_with_zone

ADD_MEMBERSHIP_RIGHT = "revcred.add_membership"
INVITE_RIGHT = "revcred.invite_subscriber"
MAX_PEOPLE_NAMED = 5
NAME_IN_USE_MESSAGE = gettext_lazy("This customer has a credential of this name already.")
KEY_IN_USE_MESSAGE = gettext_lazy("Another credential has this key in that period already.")


def key_in_use_message(error: credentials.KeyInUse) -> str:
    """Return a sentence that names the credential which has the key, with a link to it."""
    if error.key is None:
        return KEY_IN_USE_MESSAGE
    credential = error.key.credential
    return format_html(
        gettext('This key belongs to <a href="{}">{}</a> of {} since {}.'),
        reverse("admin:revcred_credential_change", args=[credential.pk]),
        credential,
        credential.customer,
        moment_with_zone(error.key.active_from),
    )


OTHER_CUSTOMER_MESSAGE = gettext_lazy("This subscription belongs to another customer.")
ALREADY_ASSIGNED_MESSAGE = gettext_lazy(
    "The credential is assigned to this subscription in that period already."
)
NOT_ASSIGNED_MESSAGE = gettext_lazy(
    "The credential is not assigned to that subscription at that time."
)
REVOKED_MESSAGE = gettext_lazy("This credential is revoked for good. Issue another one.")


def may_add_members(user: Any) -> bool:
    """Return True if the user may make people members, which uploads ask as well."""
    return bool(user.has_perm(ADD_MEMBERSHIP_RIGHT))


def holders_not_members_in_words(people: list[Subscriber]) -> str:
    """Return a sentence on people who would have to become members first."""
    names = ", ".join(map(str, people))
    return gettext(
        "These people do not belong to this customer, and you may not add members:"
        " %(names)s. This needs the right “%(right)s”."
    ) % {"names": names, "right": RIGHT_LABELS[ADD_MEMBERSHIP_RIGHT]}


def _tags_field() -> SimpleArrayField:
    return SimpleArrayField(
        forms.CharField(max_length=100),
        required=False,
        help_text=gettext_lazy("Separated by commas."),
    )


def _optional_datetime_field(help_text: str, **kwargs: Any) -> MomentField:
    return MomentField(required=False, help_text=help_text, **kwargs)


def use_again_field() -> forms.BooleanField:
    """Return the field that allows a key which a revoked credential had."""
    return forms.BooleanField(
        required=False,
        label=gettext_lazy("Use a revoked credential's key again"),
        help_text=gettext_lazy(
            "Off: a key that a revoked credential had is not accepted. On: it counts for this"
            " credential from now on, or from the time given."
        ),
    )


class SecretFields(forms.Form):
    """Asks for an existing secret, or whether to generate one."""

    secret = ConcealedField(
        help_text=gettext_lazy(
            "An existing secret that belongs to the key. It is stored encrypted; holders can"
            " reveal it."
        )
    )
    generate_secret = forms.BooleanField(required=False, label=gettext_lazy("Generate a secret"))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("secret") and cleaned.get("generate_secret"):
            self.add_error(
                "generate_secret", gettext("Give an existing secret or generate one, not both.")
            )
        return cleaned

    def chosen_secret(self) -> str | None:
        """Return the secret to keep, or None."""
        if self.cleaned_data["generate_secret"]:
            return credentials.generate_secret()
        return self.cleaned_data["secret"] or None


def unseen_key_in_words(credential: Credential) -> str:
    """Return a sentence if nobody can see the credential's key, or nobody yet; or nothing."""
    people = list(credentials.people_who_may_reveal(credential=credential).select_related("user"))
    if not people:
        customer = credential.customer
        return gettext(
            "Nobody can see its key: it has no holder who is a member of %(customer)s, and"
            " %(customer)s has no owner. Add a holder."
        ) % {"customer": customer}
    if any(person.user is not None and person.user.is_active for person in people):
        return ""
    states = {True: gettext("invited"), False: gettext("never invited")}
    names = ", ".join(
        f"{person} ({states[person.invited_at is not None]})"
        for person in people[:MAX_PEOPLE_NAMED]
    )
    return gettext("Nobody can see its key until one of these people signs in: %(names)s.") % {
        "names": names
    }


class IssueCredentialForm(SecretFields, ActionForm):
    """Asks for everything a new credential consists of."""

    title = gettext_lazy("Issue a credential")
    button = gettext_lazy("Issue")
    permission = "add"
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialNameInUse: ("name", NAME_IN_USE_MESSAGE),
        credentials.KeyInUse: ("key", key_in_use_message),
        credentials.KeyOfRevokedCredential: ("key", ""),
        credentials.SubscriptionOfOtherCustomer: (
            "subscriptions",
            gettext_lazy("One of these belongs to another customer."),
        ),
        credentials.HoldersNotMembers: ("holders", ""),
        subscribers.AddressOfAnotherSubscriber: (
            "holders",
            subscribers.AddressOfAnotherSubscriber.sentence,
        ),
        users.AddressOfStaff: ("holders", users.AddressOfStaff.sentence),
    }

    # Pickers, because there may be a million customers and subscriptions.
    customer = pickers.customer_picker()
    name = forms.CharField(
        max_length=MAX_NAME_CHARACTERS,
        help_text=gettext_lazy("Unique among the customer's credentials that are not revoked."),
    )
    key = ConcealedField(
        label=gettext_lazy("Existing key"),
        help_text=gettext_lazy(
            "The string that callers send. Empty: a new key is generated, and its holders find"
            " it in the storefront."
        ),
    )
    use_again = use_again_field()
    gateway = pickers.gateway_picker()
    active_from = _optional_datetime_field(
        gettext_lazy(
            "Empty: an existing key counts from as far back as transactions are accepted, so"
            " that its usage in quarantine is attributed; a generated one counts from now."
        ),
        label=gettext_lazy("Counts from"),
    )
    subscriptions = pickers.subscriptions_picker(
        help_text=gettext_lazy(
            "What its usage is charged to: one or several subscriptions of this customer."
        )
    )
    holders = pickers.holders_picker(
        help_text=gettext_lazy("The people who use the credential and may reveal its key.")
    )
    invite = forms.BooleanField(
        required=False,
        label=gettext_lazy("Invite holders who do not sign in yet"),
        help_text=gettext_lazy(
            "Sends each an e-mail with a link to choose a password and sign in."
        ),
    )
    environment = forms.CharField(
        max_length=50, required=False, help_text=gettext_lazy("Such as production or staging.")
    )
    tags = _tags_field()
    expires_at = _optional_datetime_field(gettext_lazy("Empty: never."))

    class Media:
        # Limits the picker of subscriptions to the chosen customer.
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
        "invite",
        "environment",
        "tags",
        "expires_at",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        user: Any = self.request.user
        if not user.has_perm(INVITE_RIGHT):
            del self.fields["invite"]

    def _people_to_invite(self) -> list[Subscriber]:
        """Return the holders to whom an invitation is sent."""
        if not self.cleaned_data.get("invite"):
            return []
        return [holder for holder in self.cleaned_data["holders"] if holder.user_id is None]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        customer, name = cleaned.get("customer"), cleaned.get("name")
        # Checked here to show the error at the field; the action checks again under the constraint.
        same = Credential.objects.filter(customer=customer, name=name, revoked_at=None)
        if customer and same.exists():
            self.add_error("name", NAME_IN_USE_MESSAGE)
        # Members-to-be are named on the confirmation page, so they are found before it.
        self.joining: list[Subscriber] = []
        if customer:
            holders = cleaned.get("holders") or ()
            self.joining = credentials.holders_not_members(customer=customer, holders=holders)
        if self.joining and not may_add_members(self.request.user):
            self.add_error("holders", holders_not_members_in_words(self.joining))
        return cleaned

    def new_members(self) -> list[str]:
        customer = self.cleaned_data["customer"]
        return [memberships.describe_new_member(person, customer) for person in self.joining]

    def effects(self) -> list[confirmation.Effect]:
        data = self.cleaned_data
        reuse = _reuse_effects(data["key"], data["gateway"]) if data["use_again"] else []
        return [*reuse, *self._expiry_effects(), *self._invitation_effects()]

    def _invitation_effects(self) -> list[confirmation.Effect]:
        invited = self._people_to_invite()
        if not invited:
            return []
        names = ", ".join(map(str, invited))
        mails = number_of(len(invited), "%(count)s invitation is", "%(count)s invitations are")
        return [
            confirmation.Effect(
                gettext("%(mails)s sent by e-mail: %(names)s.") % {"mails": mails, "names": names}
            )
        ]

    def _expiry_effects(self) -> list[confirmation.Effect]:
        """Return a question about a credential that is over, or that is never valid."""
        data, now = self.cleaned_data, timezone.now()
        ends, begins = data["expires_at"], data["active_from"]
        if ends is None:
            return []
        end = moment_with_zone(ends)
        # A generated key counts from now, whenever it ends.
        begins = begins or (None if data["key"] else now)
        if begins and ends <= begins:
            sentence = gettext(
                "It expires at %(end)s, before its key counts. It will never be valid, and"
                " no call will be charged."
            ) % {"end": end}
        elif ends <= now:
            sentence = gettext("It expired at %(end)s. No call after that is charged.") % {
                "end": end
            }
        else:
            return []
        return [confirmation.Effect(sentence)]

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        new_key = NewKey(
            key=data["key"] or None,
            secret=self.chosen_secret(),
            gateway=data["gateway"],
            active_from=data["active_from"],
            use_again=data["use_again"],
        )
        self.target = credentials.issue_credential(
            customer=data["customer"],
            name=data["name"],
            new_key=new_key,
            subscriptions=data["subscriptions"],
            holders=data["holders"],
            new_members=self.joining,
            environment=data["environment"],
            tags=data["tags"],
            expires_at=data["expires_at"],
            by=by,
        )
        invited = self._people_to_invite()
        for person in invited:
            subscribers.invite_subscriber(subscriber=person, by=by, request=self.request)
        done = gettext("“%(target)s” was issued.") % {"target": self.target}
        if invited:
            done += gettext(" Invited: %(people)s.") % {"people": ", ".join(map(str, invited))}
        # Whoever typed a key knows it. A generated one is not shown to staff.
        if data["key"]:
            return done
        found_by = gettext("Its holders find the key in the storefront.")
        return f"{done} {unseen_key_in_words(self.target) or found_by}"


class CredentialActionForm(ActionForm):
    """Form of an action on one credential, with messages for the usual errors."""

    target: Credential
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: (None, REVOKED_MESSAGE),
        credentials.KeyInUse: ("key", key_in_use_message),
        credentials.KeyOfRevokedCredential: ("key", ""),
    }


class EndingActionForm(CredentialActionForm):
    """Form of an action after which calls have no owner: it tells how many there were lately."""

    is_destructive = True

    def effects(self) -> list[confirmation.Effect]:
        subscription = self.cleaned_data.get("subscription")
        # Calls of the future cannot be counted: those of the last days show what is at stake.
        lately = hooks.recent_calls_of(credential=self.target, subscription=subscription)
        at = self.cleaned_data.get("at") or timezone.now()
        through = (
            gettext("through “%(credential)s” to “%(subscription)s”")
            if subscription
            else gettext("through “%(credential)s”")
        ) % {"credential": self.target, "subscription": subscription}
        extent = [] if subscription else [confirmation.Effect(_extent_in_words(self.target))]
        return [*extent, confirmation.ending_calls_in_words(through, at, lately)]


def _extent_in_words(credential: Credential) -> str:
    """Return a sentence on the keys and subscriptions of a credential that stops."""
    now = timezone.now()
    keys = credential.keys.at(now).count()
    assigned = credential.assignments.at(now).count()
    return gettext("1 credential stops, with %(keys)s. It is assigned to %(subscriptions)s.") % {
        "keys": number_of(keys, "%(count)s key", "%(count)s keys"),
        "subscriptions": number_of(assigned, "%(count)s subscription", "%(count)s subscriptions"),
    }


def _reuse_effects(typed: str, gateway: Gateway | None) -> list[confirmation.Effect]:
    """Return the effect of using the key of a revoked credential again, if it is such a key."""
    text = trim_key(typed or "")
    if not text:
        return []
    former = credentials.keys_of_revoked_credentials(
        key_fingerprint=fingerprint(text), gateway=gateway
    ).first()
    if former is None:
        return []
    owner = former.credential
    return [
        confirmation.effect(
            gettext(
                "This key belonged to “%(owner)s” of %(customer)s, revoked at %(moment)s. Its"
                " calls count again."
            )
            % {
                "owner": owner,
                "customer": owner.customer,
                "moment": moment_with_zone(owner.revoked_at),
            },
            hooks.recent_calls_of(credential=owner),
            quoted(owner),
        )
    ]


class AddAliasForm(CredentialActionForm):
    """Asks for another string of the credential."""

    title = gettext_lazy("Add an alias")
    button = gettext_lazy("Add")
    explanation = gettext_lazy(
        "Another string under which usage may arrive, such as an application's id."
    )

    key = ConcealedField(label=gettext_lazy("Alias"))
    use_again = use_again_field()
    gateway = pickers.gateway_picker()
    active_from = _optional_datetime_field(
        gettext_lazy(
            "Empty: from as far back as transactions are accepted, so that its usage in"
            " quarantine is attributed."
        ),
        label=gettext_lazy("Counts from"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["key"].required = True

    def effects(self) -> list[confirmation.Effect]:
        data = self.cleaned_data
        return _reuse_effects(data["key"], data["gateway"]) if data["use_again"] else []

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        credentials.add_alias(
            credential=self.target,
            alias=data["key"],
            gateway=data["gateway"],
            active_from=data["active_from"],
            use_again=data["use_again"],
            by=by,
        )
        return gettext("The alias was added. Its usage in quarantine is being attributed.")


class RotateCredentialForm(SecretFields, CredentialActionForm):
    """Asks for a new key, and how long the old ones stay valid."""

    title = gettext_lazy("Rotate")
    button = gettext_lazy("Rotate")
    # Usual times that callers need to change their configuration.
    OVERLAPS = (
        ("0", gettext_lazy("None: the old key ends now")),
        ("1", gettext_lazy("1 hour")),
        ("24", gettext_lazy("24 hours")),
        ("168", gettext_lazy("7 days")),
        ("720", gettext_lazy("30 days")),
        ("other", gettext_lazy("Other")),
    )

    overlap = forms.ChoiceField(
        choices=OVERLAPS,
        initial="24",
        widget=forms.RadioSelect,
        help_text=gettext_lazy("How long the old key stays valid beside the new one."),
    )
    hours = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=24 * 366,
        help_text=gettext_lazy("Number of hours, if you chose Other."),
    )
    key = ConcealedField(
        label=gettext_lazy("Existing new key"),
        help_text=gettext_lazy(
            "Empty: one is generated, which its holders find in the storefront."
        ),
    )

    use_again = use_again_field()

    field_order = ("overlap", "hours", "key", "use_again", "secret", "generate_secret")

    @property
    def explanation(self) -> str:  # type: ignore[override]
        now = timezone.now()
        lines = [
            (key, _last_use_in_words(key, now))
            for key in self.target.keys.current(now).select_related("use")
        ]
        return format_html_join(" ", "{} was {}.", lines)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("overlap") == "other" and not cleaned.get("hours"):
            self.add_error("hours", gettext("Enter the number of hours."))
        return cleaned

    def chosen_overlap(self) -> timedelta:
        data = self.cleaned_data
        hours = data["hours"] if data["overlap"] == "other" else int(data["overlap"])
        return timedelta(hours=hours)

    def effects(self) -> list[confirmation.Effect]:
        """Return an effect for each key that ends, with the calls that it had."""
        now, overlap, data = timezone.now(), self.chosen_overlap(), self.cleaned_data
        # Keys that end earlier than the overlap are not changed by the rotation.
        ending = self.target.keys.filter(kind=ExternalKey.Kind.KEY).not_ended_at(now + overlap)
        reuse = _reuse_effects(data["key"], None) if data["use_again"] else []
        return [*reuse, *(_key_end_effect(key, now, overlap) for key in ending)]

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        credentials.rotate_credential(
            credential=self.target,
            overlap=self.chosen_overlap(),
            key=data["key"] or None,
            secret=self.chosen_secret(),
            use_again=data["use_again"],
            by=by,
        )
        return gettext("“%(target)s” has a new key.") % {"target": self.target}


def _key_end_effect(key: ExternalKey, now: datetime, overlap: timedelta) -> confirmation.Effect:
    """Return the effect of a rotation on an old key."""
    sentence = (
        gettext(
            "The old key …%(hint)s stays valid until %(moment)s. From then on, calls with it"
            " are charged to nobody."
        )
        % {"hint": key.hint, "moment": moment_with_zone(now + overlap)}
        if overlap
        else gettext(
            "The old key …%(hint)s stops at once: calls that still come with it are charged to"
            " nobody."
        )
        % {"hint": key.hint}
    )
    return confirmation.effect(sentence, hooks.recent_calls_of(key=key))


class SuspendCredentialForm(EndingActionForm):
    """Asks before a credential is suspended."""

    title = gettext_lazy("Suspend")
    button = gettext_lazy("Suspend")
    explanation = gettext_lazy(
        "From now on its transactions wait in quarantine instead of being charged. You can"
        " resume the credential at any time."
    )

    def perform(self, by: User) -> str:
        credentials.suspend_credential(credential=self.target, by=by)
        return gettext("“%(target)s” is suspended.") % {"target": self.target}


class ResumeCredentialForm(CredentialActionForm):
    """Asks before a credential counts again."""

    title = gettext_lazy("Resume")
    button = gettext_lazy("Resume")
    explanation = gettext_lazy(
        "From now on its transactions are charged again. Those that came while it was"
        " suspended stay in quarantine."
    )

    def effects(self) -> list[confirmation.Effect]:
        now = timezone.now()
        # One that is not suspended is not resumed: the action says so.
        suspension = self.target.suspensions.at(now).first()
        if suspension is None:
            return []
        keys = number_of(self.target.keys.at(now).count(), "%(count)s key", "%(count)s keys")
        assigned = self.target.assignments.at(now).count()
        rows = SELECT_FINGERPRINTS_OF_CREDENTIAL.format(credential=self.target.pk)
        waiting = hooks.count_waiting_for(rows).transactions
        by_subscriber = gettext("A subscriber suspended it. ") if suspension.by_subscriber else ""
        return [
            confirmation.Effect(
                gettext(
                    "%(by_subscriber)sFrom now on, calls with %(keys)s are charged to"
                    " %(subscriptions)s again. Earlier calls with these keys stay in quarantine:"
                    " %(calls)s."
                )
                % {
                    "by_subscriber": by_subscriber,
                    "keys": keys,
                    "subscriptions": number_of(
                        assigned, "%(count)s subscription", "%(count)s subscriptions"
                    ),
                    "calls": number_of(waiting, "%(count)s call", "%(count)s calls"),
                }
            )
        ]

    def perform(self, by: User) -> str:
        credentials.resume_credential(credential=self.target, by=by)
        return gettext("“%(target)s” counts again.") % {"target": self.target}


class RevokeCredentialForm(EndingActionForm):
    """Asks for the reason of a revocation."""

    title = gettext_lazy("Revoke")
    button = gettext_lazy("Revoke for good")
    explanation = gettext_lazy(
        "This cannot be undone: its keys are unknown from now on, and neither key nor"
        " secret can be revealed again. Its past usage stays as it is."
    )

    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 3}))

    def perform(self, by: User) -> str:
        credentials.revoke_credential(
            credential=self.target, reason=self.cleaned_data["reason"], by=by
        )
        return gettext("“%(target)s” is revoked.") % {"target": self.target}


class DeleteMistakeForm(CredentialActionForm):
    """Asks before a credential is deleted that no call came with."""

    title = gettext_lazy("Delete a mistake")
    button = gettext_lazy("Delete for good")
    is_destructive = True
    field_errors: ClassVar[FieldErrors] = {mistakes.CredentialUsed: (None, "")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reason_to_keep = mistakes.reason_to_keep(self.target)
        self.is_refused = bool(self.reason_to_keep)

    @property
    def explanation(self) -> str:  # type: ignore[override]
        if self.is_refused:
            return gettext(
                "Only a credential that no call came with can be deleted. %(reason_to_keep)s"
            ) % {"reason_to_keep": self.reason_to_keep}
        return gettext(
            "For a credential that was issued by mistake: no call has come with it. Calls"
            " that come later wait in quarantine under an unknown key. This cannot be"
            " undone."
        )

    def effects(self) -> list[confirmation.Effect]:
        keys = number_of(self.target.keys.count(), "%(count)s key", "%(count)s keys")
        people = number_of(self.target.holders.count(), "%(count)s holder", "%(count)s holders")
        sentence = gettext(
            "“%(target)s” of %(customer)s is deleted, with %(keys)s and %(people)s. Its"
            " history stays in the audit."
        ) % {
            "target": self.target,
            "customer": self.target.customer,
            "keys": keys,
            "people": people,
        }
        return [confirmation.Effect(sentence)]

    def perform(self, by: User) -> str:
        name = gettext("“%(target)s” of %(customer)s") % {
            "target": self.target,
            "customer": self.target.customer,
        }
        mistakes.delete_unused_credential(credential=self.target, by=by)
        return gettext("%(name)s was deleted.") % {"name": name}


class AssignSubscriptionForm(CredentialActionForm):
    """Asks for one more subscription to charge."""

    title = gettext_lazy("Assign another subscription")
    button = gettext_lazy("Assign")
    explanation = gettext_lazy(
        "Its usage can be charged to this subscription, too. A transaction that fits more"
        " than one subscription waits in quarantine as ambiguous."
    )
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: (None, REVOKED_MESSAGE),
        credentials.SubscriptionOfOtherCustomer: ("to", OTHER_CUSTOMER_MESSAGE),
        credentials.AlreadyAssigned: ("to", ALREADY_ASSIGNED_MESSAGE),
        credentials.NotAssigned: ("at", NOT_ASSIGNED_MESSAGE),
    }

    to = pickers.subscription_picker(label=gettext_lazy("Subscription"))
    at = _optional_datetime_field(
        gettext_lazy("Empty: now. A time in the past also moves the usage since then."),
        label=gettext_lazy("From"),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        widget: Any = self.fields["to"].widget
        widget.customer = self.target.customer

    def effects(self) -> list[confirmation.Effect]:
        now = timezone.now()
        at, to = self.cleaned_data.get("at") or now, self.cleaned_data["to"]
        # An assignment from the past on competes with what is assigned today, too.
        others = self.target.assignments.at(max(at, now)).exclude(subscription=to).count()
        sentence = gettext(
            "From %(moment)s on, calls through “%(target)s” can be charged to “%(to)s”."
        ) % {"moment": moment_with_zone(at), "target": self.target, "to": to}
        if others:
            sentence += gettext(
                " It is assigned to %(subscriptions)s already. Calls that fit more than"
                " one wait in quarantine as ambiguous."
            ) % {
                "subscriptions": number_of(
                    others, "%(count)s other subscription", "%(count)s other subscriptions"
                )
            }
        return [confirmation.effect(sentence, hooks.recent_calls_of(credential=self.target))]

    def perform(self, by: User) -> str:
        to, at = self.cleaned_data["to"], self.cleaned_data["at"]
        credentials.assign_subscription(credential=self.target, subscription=to, at=at, by=by)
        return gettext("“%(target)s” is now charged to “%(to)s”.") % {
            "target": self.target,
            "to": to,
        }


class MoveCredentialForm(AssignSubscriptionForm):
    """Asks for the subscriptions to move from and to."""

    title = gettext_lazy("Move to another subscription")
    button = gettext_lazy("Move")
    explanation = gettext_lazy(
        "From that time on its usage is charged to the other subscription. Earlier usage"
        " stays where it is."
    )

    subscription = forms.ModelChoiceField(
        Subscription.objects.none(), label=gettext_lazy("From subscription"), empty_label=None
    )
    to = pickers.subscription_picker(label=gettext_lazy("To subscription"))

    field_order = ("subscription", "to", "at")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["subscription"], _assigned_subscriptions(self.target))

    def effects(self) -> list[confirmation.Effect]:
        data = self.cleaned_data
        at = data.get("at") or timezone.now()
        lately = hooks.recent_calls_of(credential=self.target, subscription=data["subscription"])
        sentence = gettext(
            "From %(moment)s on, calls through “%(target)s” are charged to “%(to)s”"
            " instead of “%(subscription)s”."
        ) % {
            "moment": moment_with_zone(at),
            "target": self.target,
            "to": data["to"],
            "subscription": data["subscription"],
        }
        return [confirmation.effect(sentence, lately)]

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        credentials.move_credential(
            credential=self.target,
            subscription=data["subscription"],
            to=data["to"],
            at=data["at"],
            by=by,
        )
        return gettext("“%(target)s” was moved to “%(to)s”.") % {
            "target": self.target,
            "to": data["to"],
        }


class UnassignSubscriptionForm(EndingActionForm):
    """Asks for the subscription that is no longer charged."""

    title = gettext_lazy("Unassign")
    button = gettext_lazy("Unassign")
    explanation = gettext_lazy(
        "From that time on its usage is no longer charged to the subscription."
    )
    field_errors: ClassVar[FieldErrors] = {credentials.NotAssigned: ("at", NOT_ASSIGNED_MESSAGE)}

    subscription = forms.ModelChoiceField(Subscription.objects.none(), empty_label=None)
    at = _optional_datetime_field(gettext_lazy("Empty: now."), label=gettext_lazy("From"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["subscription"], _assigned_subscriptions(self.target))

    def perform(self, by: User) -> str:
        subscription, at = self.cleaned_data["subscription"], self.cleaned_data["at"]
        credentials.unassign_subscription(
            credential=self.target, subscription=subscription, at=at, by=by
        )
        return gettext("“%(target)s” is no longer charged to “%(subscription)s”.") % {
            "target": self.target,
            "subscription": subscription,
        }


class KeyChoiceField(ModelChoiceField):
    """Offers keys with their start and last use, by which people tell them apart."""

    def label_from_instance(self, key: ExternalKey) -> str:
        last_use = _last_use_in_words(key, timezone.now())
        return gettext("%(key)s, from %(moment)s, %(last_use)s") % {
            "key": key,
            "moment": moment_text(key.active_from),
            "last_use": last_use,
        }


class EndKeyForm(EndingActionForm):
    """Asks which key to end."""

    title = gettext_lazy("End a key")
    button = gettext_lazy("End this key")
    explanation = gettext_lazy("From that time on the key is unknown. The credential itself stays.")

    key = KeyChoiceField(ExternalKey.objects.none(), widget=forms.RadioSelect, empty_label=None)
    at = _optional_datetime_field(gettext_lazy("Empty: now."), label=gettext_lazy("From"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_choices(self.fields["key"], self.target.keys.not_ended_at(timezone.now()))

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        key, at = cleaned.get("key"), cleaned.get("at")
        if key and at and not key.is_active_at(at):
            self.add_error("at", gettext("The key is not valid at that time."))
        return cleaned

    def effects(self) -> list[confirmation.Effect]:
        key, at = self.cleaned_data["key"], self.cleaned_data.get("at") or timezone.now()
        return [
            confirmation.ending_calls_in_words(
                gettext("with %(key)s") % {"key": key}, at, hooks.recent_calls_of(key=key)
            )
        ]

    def perform(self, by: User) -> str:
        key = self.cleaned_data["key"]
        credentials.end_key(key=key, at=self.cleaned_data["at"], by=by)
        return gettext("%(key)s was ended.") % {"key": key}


def _set_choices(field: Any, rows: QuerySet[Any]) -> None:
    field.queryset = rows


def _assigned_subscriptions(credential: Credential) -> QuerySet[Subscription]:
    assignments = credential.assignments.not_ended_at(timezone.now())
    return Subscription.objects.filter(pk__in=assignments.values("subscription"))


def _last_use_in_words(key: ExternalKey, now: datetime) -> str:
    if key.last_used_at is None:
        return gettext("never used")
    return gettext("last used %(timesince)s ago") % {"timesince": timesince(key.last_used_at, now)}
