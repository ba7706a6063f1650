"""Actions on many credentials, subscriptions or subscribers.

What changes fields makes a list and hands it to uploads: then it has their preview, their outcome
row by row, and their undo.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, ClassVar

from django import forms
from django.utils import timezone
from django.utils.translation import gettext

from revcred import hooks
from revcred.actions import credentials, subscribers, users
from revcred.admin_toolkit import confirmation, pickers
from revcred.admin_toolkit.action_pages import FieldErrors
from revcred.admin_toolkit.datetime_field import MomentField
from revcred.admin_toolkit.selections import SelectionForm
from revcred.list_files import ListFormat, write_list
from revcred.models import Credential, Subscriber, Subscription, Upload, User
from revcred.texts import gettext_lazy, kept_language, number_of, number_of_rows
from revcred.time_zones import moment_with_zone
from revcred.uploads.actions import NoRoom, receive_upload
from revcred.uploads.columns import VALUE_SEPARATOR, ListKind

MAX_ROWS_OF_LIST = 100_000


class CredentialSelectionForm(SelectionForm):
    """An action on many credentials, of which the revoked ones stay as they are."""

    model = Credential
    none_concerned = gettext_lazy("All of these credentials are revoked, or in that state already.")
    field_errors: ClassVar[FieldErrors] = {
        credentials.CredentialRevoked: (
            None,
            gettext_lazy("One of them has been revoked meanwhile. Try again."),
        ),
    }

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row.revoked_at is None]

    def ending_effect(self) -> confirmation.Effect:
        sentence = gettext(
            "From %(moment)s on, calls with %(credentials)s are charged to nobody"
        ) % {
            "moment": moment_with_zone(timezone.now()),
            "credentials": number_of(
                len(self.rows), "%(count)s credential", "%(count)s credentials"
            ),
        }
        return self.effect_on_rows(sentence, lambda row: hooks.recent_calls_of(credential=row))


class SuspendManyForm(CredentialSelectionForm):
    """Suspends credentials."""

    title = gettext_lazy("Suspend")
    button = gettext_lazy("Suspend them")
    about = gettext_lazy(
        "From now on their transactions wait in quarantine instead of being charged. You"
        " can resume them at any time."
    )

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in super().concerned(rows) if not row.suspended]

    def effects(self) -> list[confirmation.Effect]:
        return [self.ending_effect()]

    def perform(self, by: User) -> str:
        for row in self.rows:
            credentials.suspend_credential(credential=row, by=by)
        self.undo = ("resume", gettext("Undo: resume them"), [row.pk for row in self.rows])
        return gettext("%(credentials)s suspended.") % {
            "credentials": number_of(
                len(self.rows), "%(count)s credential", "%(count)s credentials"
            )
        }


class ResumeManyForm(CredentialSelectionForm):
    """Resumes suspended credentials."""

    title = gettext_lazy("Resume")
    button = gettext_lazy("Resume them")
    about = gettext_lazy(
        "From now on their transactions are charged again. Those that came while they were"
        " suspended stay in quarantine."
    )

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in super().concerned(rows) if row.suspended]

    def effects(self) -> list[confirmation.Effect]:
        sentence = gettext("From now on, calls with %(credentials)s count again") % {
            "credentials": number_of(
                len(self.rows), "%(count)s credential", "%(count)s credentials"
            )
        }
        return [
            self.effect_on_rows(sentence, lambda row: hooks.recent_calls_of(credential=row)),
        ]

    def perform(self, by: User) -> str:
        for row in self.rows:
            credentials.resume_credential(credential=row, by=by)
        self.undo = (
            "suspend",
            gettext("Undo: suspend them"),
            [row.pk for row in self.rows],
        )
        return gettext("%(credentials)s resumed.") % {
            "credentials": number_of(
                len(self.rows), "%(count)s credential", "%(count)s credentials"
            )
        }


class RevokeManyForm(CredentialSelectionForm):
    """Revokes credentials for good."""

    title = gettext_lazy("Revoke")
    button = gettext_lazy("Revoke them for good")
    is_destructive = True
    about = gettext_lazy(
        "This cannot be undone: their keys are unknown from now on, and neither key nor"
        " secret can be revealed again. Their past usage stays as it is."
    )

    reason = forms.CharField(max_length=500, widget=forms.Textarea(attrs={"rows": 3}))

    def effects(self) -> list[confirmation.Effect]:
        return [self.ending_effect()]

    def perform(self, by: User) -> str:
        for row in self.rows:
            credentials.revoke_credential(credential=row, reason=self.cleaned_data["reason"], by=by)
        return gettext("%(credentials)s revoked.") % {
            "credentials": number_of(
                len(self.rows), "%(count)s credential", "%(count)s credentials"
            )
        }


class ListMakingForm(SelectionForm):
    """Makes a list of the selected rows, which becomes an upload that is applied on its page."""

    kind: ClassVar[ListKind]
    columns: ClassVar[tuple[str, ...]]
    rights = ("revcred.add_upload",)
    max_rows = MAX_ROWS_OF_LIST
    field_errors: ClassVar[FieldErrors] = {NoRoom: (None, "")}

    def row_of_list(self, row: Any) -> Sequence[str]:
        """Return the cells of a row, one for each column."""
        raise NotImplementedError

    def perform(self, by: User) -> str:
        file = BytesIO()
        cells = (self.row_of_list(row) for row in self.rows)
        # JSON, in which every text is just text.
        write_list(file, ListFormat.JSON_LINES, self.columns, cells)
        file.seek(0)
        with kept_language():
            name = f"{self.title}, {number_of_rows(len(self.rows), self.model)}.jsonl"
        self.upload: Upload = receive_upload(
            kind=self.kind,
            file=file,
            name=name,
            mapping=dict(enumerate(self.columns)),
            by=by,
        )
        return gettext(
            "Nothing has changed yet. Once the list is checked, look at what it does, and apply it."
        )


class CredentialListForm(ListMakingForm):
    """Makes a list of credentials, each named by its customer and its name."""

    model = Credential
    kind = ListKind.CREDENTIALS
    none_concerned = gettext_lazy("All of these credentials are revoked.")
    about = gettext_lazy(
        "This makes a list of them, as if you had uploaded it. Its page shows what it"
        " would do, before you apply it, and undoes it afterwards."
    )

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row.revoked_at is None]

    def row_of_list(self, row: Credential) -> Sequence[str]:
        return (row.customer.external_key, row.name, self.value_for(row))

    def value_for(self, row: Credential) -> str:
        """Return the cell of the column that changes."""
        raise NotImplementedError


class TagManyForm(CredentialListForm):
    """Adds tags to credentials, or takes some from them."""

    title = gettext_lazy("Add or remove tags")
    button = gettext_lazy("Make the list")
    columns = ("customer", "name", "tags")

    add = forms.CharField(
        required=False,
        max_length=500,
        label=gettext_lazy("Tags to add"),
        help_text=gettext_lazy("Separated by commas."),
    )
    remove = forms.CharField(
        required=False,
        max_length=500,
        label=gettext_lazy("Tags to remove"),
        help_text=gettext_lazy("Separated by commas."),
    )

    def clean(self) -> dict[str, Any]:
        if not (self.cleaned_data.get("add") or self.cleaned_data.get("remove")):
            raise forms.ValidationError(gettext("Enter a tag to add or to remove."))
        return super().clean()

    def concerned(self, rows: list[Any]) -> list[Any]:
        self.added, self.removed = (
            [tag.strip() for tag in self.cleaned_data.get(name, "").split(",") if tag.strip()]
            for name in ("add", "remove")
        )
        return [row for row in super().concerned(rows) if self._tags(row) != row.tags]

    def _tags(self, row: Credential) -> list[str]:
        tags = dict.fromkeys((*row.tags, *self.added))
        return [tag for tag in tags if tag not in self.removed]

    none_concerned = gettext_lazy(
        "All of these credentials are revoked, or have just these tags already."
    )

    def value_for(self, row: Credential) -> str:
        # Ends with the separator, so that a tag may have a comma, and there may be none.
        return "".join(f"{tag}{VALUE_SEPARATOR}" for tag in self._tags(row)) or VALUE_SEPARATOR


class ExtendManyForm(CredentialListForm):
    """Sets another expiry."""

    title = gettext_lazy("Set another expiry")
    button = gettext_lazy("Make the list")
    columns = ("customer", "name", "expires_at")

    expires_at = MomentField(label=gettext_lazy("Expires at"))

    def value_for(self, row: Credential) -> str:
        return str(self.cleaned_data["expires_at"].isoformat())


class MoveManyForm(CredentialListForm):
    """Charges credentials to another subscription."""

    title = gettext_lazy("Charge to another subscription")
    button = gettext_lazy("Make the list")
    columns = ("customer", "name", "subscription", "assigned_from")

    subscription = pickers.subscription_picker(
        help_text=gettext_lazy("Credentials of other customers are rejected.")
    )
    at = MomentField(
        required=False,
        label=gettext_lazy("Charged from"),
        help_text=gettext_lazy("Empty: when the list is applied."),
    )

    def row_of_list(self, row: Credential) -> Sequence[str]:
        at = self.cleaned_data["at"]
        return (*super().row_of_list(row), at.isoformat() if at else "")

    def value_for(self, row: Credential) -> str:
        return str(self.cleaned_data["subscription"].external_key)


class ExtendSubscriptionsForm(ListMakingForm):
    """Sets another end of subscriptions."""

    model = Subscription
    kind = ListKind.SUBSCRIPTIONS
    title = gettext_lazy("Set another end")
    button = gettext_lazy("Make the list")
    about = CredentialListForm.about
    columns = ("external_key", "customer", "product", "active_until")

    active_until = MomentField(label=gettext_lazy("Active until"))

    def row_of_list(self, row: Subscription) -> Sequence[str]:
        until = self.cleaned_data["active_until"].isoformat()
        customer, product = row.customer.external_key, row.product.external_key
        return (row.external_key, customer, product, until)


class InviteManyForm(SelectionForm):
    """Invites subscribers who do not sign in yet."""

    model = Subscriber
    title = gettext_lazy("Invite")
    button = gettext_lazy("Send the invitations")
    permission = "invite"
    about = gettext_lazy(
        "Sends each an e-mail with a link to choose a password and sign in to the"
        " storefront. Those who sign in already get none."
    )
    none_concerned = gettext_lazy("All of these subscribers sign in already.")
    field_errors: ClassVar[FieldErrors] = {
        subscribers.AddressOfAnotherSubscriber: (
            None,
            subscribers.AddressOfAnotherSubscriber.sentence,
        ),
        users.AddressOfStaff: (None, users.AddressOfStaff.sentence),
    }

    def concerned(self, rows: list[Any]) -> list[Any]:
        return [row for row in rows if row.user_id is None and row.erased_at is None]

    def effects(self) -> list[confirmation.Effect]:
        mails = number_of(len(self.rows), "%(count)s invitation is", "%(count)s invitations are")
        return [
            confirmation.Effect(
                gettext("%(mails)s sent: %(named)s.%(left)s")
                % {"mails": mails, "named": self.named(), "left": self.left_in_words()}
            )
        ]

    def perform(self, by: User) -> str:
        for row in self.rows:
            subscribers.invite_subscriber(subscriber=row, by=by, request=self.request)
        return gettext("%(invitations)s sent.") % {
            "invitations": number_of(
                len(self.rows), "%(count)s invitation was", "%(count)s invitations were"
            )
        }


CREDENTIAL_SELECTIONS: Mapping[str, type[SelectionForm]] = {
    "suspend": SuspendManyForm,
    "resume": ResumeManyForm,
    "revoke": RevokeManyForm,
    "tag": TagManyForm,
    "extend": ExtendManyForm,
    "move": MoveManyForm,
}
