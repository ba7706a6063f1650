from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

from allauth.account.forms import ReauthenticateForm
from django import forms
from django.db.models import Q

from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey
from revcred.models.credentials import CredentialQuerySet
from revcred.pasting import MOST_CHARACTERS, key_in, may_be_a_key, says_it_is_a_key
from storefront.windows import Span, Window

if TYPE_CHECKING:
    from django.utils.datastructures import MultiValueDict

EARLIEST, LATEST = date(2000, 1, 1), date(2199, 12, 31)


class ConfirmForm(ReauthenticateForm):  # type: ignore[misc]
    """allauth's own, so that its limits and its record of the session apply."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].label = "Your password"
        self.fields["password"].widget.attrs = {"autocomplete": "current-password"}


class WindowForm(forms.Form):
    """Which usage to look at. What makes no sense is as if it had not been said."""

    span = forms.ChoiceField(choices=Span.choices)
    day = forms.DateField()
    element = forms.CharField()

    def __init__(self, data: "MultiValueDict[str, str]", *, today: date) -> None:
        super().__init__(data)
        self.today = today
        self.is_valid()

    @property
    def window(self) -> Window:
        day = self.cleaned_data.get("day") or self.today
        if not EARLIEST <= day <= LATEST:
            day = self.today
        return Window.holding(day, Span(self.cleaned_data.get("span") or Span.MONTH))

    @property
    def chosen(self) -> str | None:
        return self.cleaned_data.get("element")


class SearchForm(forms.Form):
    """A search is posted, and its answer is an address with a name, or a key's fingerprint."""

    q = forms.CharField(
        required=False,
        max_length=MOST_CHARACTERS,
        label="Search credentials",
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "placeholder": "Name, key, or its last four characters",
                "autocomplete": "off",
            }
        ),
    )
    key = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def narrow(self, credentials: CredentialQuerySet) -> CredentialQuerySet:
        """Those whose name holds what was typed, or one of whose keys ends in it, or is it."""
        said = self.cleaned_data if self.is_valid() else {}
        if mark := said.get("key"):
            return _with_fingerprint(credentials, mark)
        return _named(credentials, said.get("q", ""))

    def address_of(self, credentials: CredentialQuerySet) -> dict[str, str]:
        """What the address of the answer says. Whatever may be a key is its fingerprint there."""
        term = self.cleaned_data.get("q", "") if self.is_valid() else ""
        if not term:
            return {}
        mark = fingerprint(key_in(term))
        if self.has_a_key(credentials) or (
            may_be_a_key(term) and not _named(credentials, term).exists()
        ):
            return {"key": str(mark)}
        return {"q": term}

    def has_a_key(self, credentials: CredentialQuerySet) -> bool:
        """True if it says so itself, or if one of these credentials has it: of others, no word."""
        term = self.cleaned_data.get("q", "") if self.is_valid() else ""
        if not term:
            return False
        found = _with_fingerprint(credentials, fingerprint(key_in(term)))
        return says_it_is_a_key(term) or found.exists()


def _with_fingerprint(credentials: CredentialQuerySet, mark: UUID) -> CredentialQuerySet:
    keys = ExternalKey.objects.filter(fingerprint=mark)
    return credentials.filter(pk__in=keys.values("credential"))


def _named(credentials: CredentialQuerySet, term: str) -> CredentialQuerySet:
    if not term:
        return credentials
    hinted = ExternalKey.objects.filter(hint=term).values("credential")
    return credentials.filter(Q(name__icontains=term) | Q(pk__in=hinted))
