"""Forms by which owners manage the people of their customer. Each says first what it will do."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_noop, ngettext

from revcred.actions import credentials, teams
from revcred.languages import within_sentence
from revcred.limits import LimitReached
from revcred.models import Credential, Customer, Membership, Subscriber, User
from revcred.models.names import MAX_NAME_CHARACTERS
from revcred.texts import gettext_lazy
from storefront.action_forms import ActionForm, FieldErrors
from storefront.formatting import plain_number

Role = Membership.Role

ROLE_MEANINGS = {
    Role.OWNER: gettext_noop(
        "sees all credentials and usage, reveals all keys, and manages this team"
    ),
    Role.MEMBER: gettext_noop(
        "sees the credentials that the person holds, and reveals and rotates their keys"
    ),
    Role.VIEWER: gettext_noop(
        "sees the credentials that the person holds, and reveals and changes nothing"
    ),
}
NOT_INVITABLE_MESSAGE = gettext_noop(
    "You cannot invite this address. Check it, or ask your provider to add the person."
)
TEAM_ERRORS: FieldErrors = {
    teams.LastOwner: (
        None,
        gettext_noop("This is the only owner who can sign in. Make somebody else owner first."),
    ),
    teams.NotInvitable: (None, NOT_INVITABLE_MESSAGE),
    teams.HasSignedUp: (None, gettext_noop("This person has accepted an invitation already.")),
    credentials.HoldersNotMembers: (
        None,
        gettext_noop("Somebody was removed from the team meanwhile. Look at the page again."),
    ),
    credentials.RevealsPaused: (
        None,
        gettext_noop(
            "Your sign-in address was changed. Confirm that change with your password first."
        ),
    ),
    LimitReached: (
        None,
        gettext_noop("Too many invitations were sent in the last hour. Try again later."),
    ),
}


def role_choices() -> list[tuple[str, str]]:
    """Return the roles with what each means, in the language of the page."""
    return [
        (role.value, f"{role.label}: {gettext(means)}") for role, means in ROLE_MEANINGS.items()
    ]


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
        return gettext(self.title)


class InviteForm(TeamForm):
    """Asks whom to invite, and in which role."""

    title = gettext_noop("Invite somebody")
    button = gettext_noop("Send the invitation")
    field_errors: ClassVar[FieldErrors] = {
        **TEAM_ERRORS,
        teams.NotInvitable: ("email", NOT_INVITABLE_MESSAGE),
        teams.MemberAlready: ("email", gettext_noop("This person belongs to the team already.")),
    }

    email = forms.EmailField(
        label=gettext_lazy("Email"),
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=MAX_NAME_CHARACTERS,
        required=False,
        help_text=gettext_lazy("May be empty."),
    )
    role = forms.ChoiceField(
        choices=role_choices,
        label=gettext_lazy("Role"),
        initial=Role.MEMBER,
        widget=forms.RadioSelect,
    )

    def effects(self) -> list[str]:
        domains = ", ".join(self.customer.email_domains)
        return [
            gettext("The person becomes part of %(customer)s at once, and gets a mail about it.")
            % {"customer": self.customer},
            gettext("Who has no login yet chooses a password by a link in the mail."),
            *(
                [gettext("The address has to be one of %(domains)s.") % {"domains": domains}]
                if domains
                else []
            ),
            (
                gettext(
                    "All owners are told by mail. You can change the role, or remove the person,"
                    " at any time."
                )
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
        return gettext("%(subscriber)s is part of the team, and gets a mail.") % {
            "subscriber": membership.subscriber
        }


class MemberForm(TeamForm):
    """The form of an action on one member."""

    def __init__(self, *args: Any, membership: Membership, **kwargs: Any) -> None:
        super().__init__(*args, customer=membership.customer, **kwargs)
        self.membership = membership
        self.person = membership.subscriber

    @property
    def heading(self) -> str:
        return f"{gettext(self.title)}: {self.person.name or self.person.email}"

    def _held_in_words(self) -> str:
        held = self.customer.credentials.filter(revoked_at=None, holders=self.person).count()
        text = ngettext("%(number)s credential", "%(number)s credentials", held)
        return text % {"number": plain_number(held)}


class ResendForm(MemberForm):
    """Asks before an invitation is sent again."""

    title = gettext_noop("Send the invitation again")
    button = gettext_noop("Send it again")
    is_confirmed_by_password = False

    def effects(self) -> list[str]:
        return [
            gettext("%(email)s gets another mail with a link, which works for three days.")
            % {"email": self.person.email},
            gettext("A link that was sent before works as well until then."),
        ]

    def perform(self, by: User) -> str:
        teams.resend_invitation(membership=self.membership, by=by, request=self.request)
        return gettext("The invitation was sent to %(email)s again.") % {"email": self.person.email}


class RoleForm(MemberForm):
    """Asks for another role."""

    title = gettext_noop("Role")
    button = gettext_noop("Change the role")

    role = forms.ChoiceField(
        choices=role_choices,
        label=gettext_lazy("Role"),
        widget=forms.RadioSelect,
    )

    def __init__(self, *args: Any, membership: Membership, **kwargs: Any) -> None:
        initial = {"role": membership.role}
        super().__init__(*args, membership=membership, initial=initial, **kwargs)

    def effects(self) -> list[str]:
        role = within_sentence(self.membership.get_role_display())
        return [
            gettext("The person is %(role)s now, and holds %(credentials)s.")
            % {"role": role, "credentials": self._held_in_words()},
            gettext(
                "The new role counts at once. Owners are told by mail. You can change it back."
            ),
        ]

    def perform(self, by: User) -> str:
        role = self.cleaned_data["role"]
        teams.change_team_role(membership=self.membership, role=role, by=by)
        return gettext("%(person)s is %(role)s now.") % {
            "person": self.person,
            "role": within_sentence(Role(role).label),
        }


class RemoveForm(MemberForm):
    """Asks before somebody is removed."""

    title = gettext_noop("Remove from the team")
    button = gettext_noop("Remove this person")
    is_destructive = True

    def effects(self) -> list[str]:
        return [
            (
                gettext(
                    "%(person)s sees nothing of %(customer)s any more, and is signed out"
                    " everywhere at once."
                )
                % {"person": self.person, "customer": self.customer}
            ),
            (
                gettext(
                    "The person holds %(credentials)s now, and none afterwards. Their keys stay"
                    " valid: rotate those that the person knows."
                )
                % {"credentials": self._held_in_words()}
            ),
            (
                gettext(
                    "The person and all owners are told by mail. You can invite the person again;"
                    " the credentials have to be given again."
                )
            ),
        ]

    def perform(self, by: User) -> str:
        teams.remove_from_team(membership=self.membership, by=by)
        return gettext("%(person)s was removed. Rotate the keys that the person knows.") % {
            "person": self.person
        }


class HandOverForm(MemberForm):
    """Asks before ownership passes to somebody else."""

    title = gettext_noop("Hand over")
    button = gettext_noop("Hand over and become a member")
    is_destructive = True
    field_errors: ClassVar[FieldErrors] = {
        **TEAM_ERRORS,
        teams.NotInvitable: (
            None,
            gettext_noop(
                "Only somebody else who has accepted the invitation and can sign in becomes owner."
            ),
        ),
    }

    def effects(self) -> list[str]:
        return [
            (
                gettext("%(person)s becomes owner of %(customer)s: the person %(means)s.")
                % {
                    "person": self.person,
                    "customer": self.customer,
                    "means": gettext(ROLE_MEANINGS[Role.OWNER]),
                }
            ),
            (
                gettext(
                    "You become a member: you see the credentials that you hold, and no longer"
                    " manage this team. Only an owner can change that back."
                )
            ),
            gettext("All owners are told by mail."),
        ]

    def perform(self, by: User) -> str:
        teams.hand_over_team(membership=self.membership, by=by)
        return gettext("%(person)s is owner now, and you are a member.") % {"person": self.person}


class HoldingsForm(TeamForm):
    """Asks who holds which of the credentials that the page shows, and then to confirm it.

    A box is named by credential and person. `was` names those that were ticked when the page was
    shown, so that only boxes that the person has changed are changed.
    """

    title = gettext_noop("Change who holds what")
    button = gettext_noop("Change the holders")
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
                sentences.append(
                    gettext("“%(credential)s” is also held by %(people)s.")
                    % {"credential": credential, "people": ", ".join(given)}
                )
            if taken:
                sentences.append(
                    gettext("“%(credential)s” is no longer held by %(people)s.")
                    % {"credential": credential, "people": ", ".join(taken)}
                )
        return [
            *sentences,
            (
                gettext(
                    "Owners see and reveal all credentials anyway. Keys stay valid: rotate those"
                    " that somebody knows who should not. You can change the holders back."
                )
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
        return gettext("The holders were changed.")
