"""Forms by which owners manage the people of their customer. Each says first what it will do."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest

from revcred.actions import credentials, teams
from revcred.limits import LimitReached
from revcred.models import Credential, Customer, Membership, Subscriber, User
from revcred.models.names import MAX_NAME_CHARACTERS
from storefront.action_forms import ActionForm, FieldErrors

Role = Membership.Role

ROLE_MEANINGS = {
    Role.OWNER: "sees all credentials and usage, reveals all keys, and manages this team",
    Role.MEMBER: "sees the credentials that the person holds, and reveals and rotates their keys",
    Role.VIEWER: "sees the credentials that the person holds, and reveals and changes nothing",
}
NOT_INVITABLE_MESSAGE = (
    "You cannot invite this address. Check it, or ask your provider to add the person."
)
TEAM_ERRORS: FieldErrors = {
    teams.LastOwner: (
        None,
        "This is the only owner who can sign in. Make somebody else owner first.",
    ),
    teams.NotInvitable: (None, NOT_INVITABLE_MESSAGE),
    teams.HasSignedUp: (None, "This person has accepted an invitation already."),
    credentials.HoldersNotMembers: (
        None,
        "Somebody was removed from the team meanwhile. Look at the page again.",
    ),
    credentials.RevealsPaused: (
        None,
        "Your sign-in address was changed. Confirm that change with your password first.",
    ),
    LimitReached: (None, "Too many invitations were sent in the last hour. Try again later."),
}


class TeamForm(ActionForm):
    """The form of an action on a customer's team."""

    is_confirmed_by_password = True
    has_two_steps: ClassVar[bool] = False
    field_errors: ClassVar[FieldErrors] = TEAM_ERRORS

    def __init__(self, *args: Any, customer: Customer, request: HttpRequest, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.customer = customer
        self.request = request

    @property
    def heading(self) -> str:
        return self.title


class InviteForm(TeamForm):
    """Asks whom to invite, and in which role."""

    title = "Invite somebody"
    button = "Send the invitation"
    field_errors: ClassVar[FieldErrors] = {
        **TEAM_ERRORS,
        teams.NotInvitable: ("email", NOT_INVITABLE_MESSAGE),
        teams.MemberAlready: ("email", "This person belongs to the team already."),
    }

    email = forms.EmailField(max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))
    name = forms.CharField(
        max_length=MAX_NAME_CHARACTERS, required=False, help_text="May be empty."
    )
    role = forms.ChoiceField(
        choices=[(role.value, f"{role.label}: {means}") for role, means in ROLE_MEANINGS.items()],
        initial=Role.MEMBER,
        widget=forms.RadioSelect,
    )

    def effects(self) -> list[str]:
        domains = ", ".join(self.customer.email_domains)
        return [
            f"The person becomes part of {self.customer} at once, and gets a mail about it.",
            "Who has no login yet chooses a password by a link in the mail.",
            *([f"The address has to be one of {domains}."] if domains else []),
            (
                "All owners are told by mail. You can change the role, or remove the person, at any"
                " time."
            ),
        ]

    def perform(self, by: User) -> str:
        data = self.cleaned_data
        membership = teams.invite_to_team(
            customer=self.customer,
            email=data["email"],
            name=data["name"],
            role=data["role"],
            by=by,
            request=self.request,
        )
        return f"{membership.subscriber} is part of the team, and gets a mail."


class MemberForm(TeamForm):
    """The form of an action on one member."""

    def __init__(self, *args: Any, membership: Membership, **kwargs: Any) -> None:
        super().__init__(*args, customer=membership.customer, **kwargs)
        self.membership = membership
        self.person = membership.subscriber

    @property
    def heading(self) -> str:
        return f"{self.title}: {self.person.name or self.person.email}"

    def _held_in_words(self) -> str:
        held = self.customer.credentials.filter(revoked_at=None, holders=self.person).count()
        return f"{held:,} credential{'' if held == 1 else 's'}"


class ResendForm(MemberForm):
    """Asks before an invitation is sent again."""

    title = "Send the invitation again"
    button = "Send it again"
    is_confirmed_by_password = False

    def effects(self) -> list[str]:
        return [
            f"{self.person.email} gets another mail with a link, which works for three days.",
            "A link that was sent before works as well until then.",
        ]

    def perform(self, by: User) -> str:
        teams.resend_invitation(membership=self.membership, by=by, request=self.request)
        return f"The invitation was sent to {self.person.email} again."


class RoleForm(MemberForm):
    """Asks for another role."""

    title = "Role"
    button = "Change the role"

    role = forms.ChoiceField(
        choices=[(role.value, f"{role.label}: {means}") for role, means in ROLE_MEANINGS.items()],
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, membership: Membership, **kwargs: Any) -> None:
        initial = {"role": membership.role}
        super().__init__(*args, membership=membership, initial=initial, **kwargs)

    def effects(self) -> list[str]:
        role = self.membership.get_role_display().lower()
        return [
            f"The person is {role} now, and holds {self._held_in_words()}.",
            "The new role counts at once. Owners are told by mail. You can change it back.",
        ]

    def perform(self, by: User) -> str:
        role = self.cleaned_data["role"]
        teams.change_team_role(membership=self.membership, role=role, by=by)
        return f"{self.person} is {Role(role).label.lower()} now."


class RemoveForm(MemberForm):
    """Asks before somebody is removed."""

    title = "Remove from the team"
    button = "Remove this person"
    is_destructive = True

    def effects(self) -> list[str]:
        return [
            (
                f"{self.person} sees nothing of {self.customer} any more, and is signed out"
                " everywhere at once."
            ),
            (
                f"The person holds {self._held_in_words()} now, and none afterwards. Their keys"
                " stay valid: rotate those that the person knows."
            ),
            (
                "The person and all owners are told by mail. You can invite the person again; the"
                " credentials have to be given again."
            ),
        ]

    def perform(self, by: User) -> str:
        teams.remove_from_team(membership=self.membership, by=by)
        return f"{self.person} was removed. Rotate the keys that the person knows."


class HandOverForm(MemberForm):
    """Asks before ownership passes to somebody else."""

    title = "Hand over"
    button = "Hand over and become a member"
    is_destructive = True
    field_errors: ClassVar[FieldErrors] = {
        **TEAM_ERRORS,
        teams.NotInvitable: (
            None,
            "Only somebody else who has accepted the invitation and can sign in becomes owner.",
        ),
    }

    def effects(self) -> list[str]:
        return [
            (
                f"{self.person} becomes owner of {self.customer}: the person"
                f" {ROLE_MEANINGS[Role.OWNER]}."
            ),
            (
                "You become a member: you see the credentials that you hold, and no longer manage"
                " this team. Only an owner can change that back."
            ),
            "All owners are told by mail.",
        ]

    def perform(self, by: User) -> str:
        teams.hand_over_team(membership=self.membership, by=by)
        return f"{self.person} is owner now, and you are a member."


class HoldingsForm(TeamForm):
    """Asks who holds which of the credentials that the page shows, and then to confirm it.

    A box is named by credential and person. `was` names those that were ticked when the page was
    shown, so that only boxes that the person has changed are changed.
    """

    title = "Change who holds what"
    button = "Change the holders"
    has_two_steps = True

    was = forms.CharField(required=False, widget=forms.HiddenInput)
    held = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        *args: Any,
        shown: Sequence[Credential],
        people: Sequence[Subscriber],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.shown = {credential.pk: credential for credential in shown}
        self.people = {person.pk: person for person in people}

    @property
    def changes(self) -> dict[Credential, dict[Subscriber, bool]]:
        """Return for each credential the people who become holders (True) or are none any more."""
        was, held = (self._boxes(name) for name in ("was", "held"))
        changes: dict[Credential, dict[Subscriber, bool]] = {}
        for credential, person in sorted(was ^ held):
            of_credential = changes.setdefault(self.shown[credential], {})
            of_credential[self.people[person]] = (credential, person) in held
        return changes

    def _boxes(self, name: str) -> set[tuple[int, int]]:
        """Return the boxes of a field that are on the page, others are ignored."""
        shown = {
            f"{credential}-{person}": (credential, person)
            for credential in self.shown
            for person in self.people
        }
        return {shown[box] for box in self.cleaned_data.get(name, "").split() if box in shown}

    def effects(self) -> list[str]:
        sentences = []
        for credential, people in self.changes.items():
            given = [str(person) for person, holds in people.items() if holds]
            taken = [str(person) for person, holds in people.items() if not holds]
            if given:
                sentences.append(f"“{credential}” is also held by {', '.join(given)}.")
            if taken:
                sentences.append(f"“{credential}” is no longer held by {', '.join(taken)}.")
        return [
            *sentences,
            (
                "Owners see and reveal all credentials anyway. Keys stay valid: rotate those that"
                " somebody knows who should not. You can change the holders back."
            ),
        ]

    def perform(self, by: User) -> str:
        holders: Mapping[Credential, set[Subscriber]] = {
            credential: set(credential.holders.all()) for credential in self.changes
        }
        for credential, people in self.changes.items():
            for person, holds in people.items():
                (holders[credential].add if holds else holders[credential].discard)(person)
        teams.set_team_holdings(customer=self.customer, holders=holders, by=by)
        return "The holders were changed."
