"""Forms of the storefront."""

from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import UUID

from allauth.account.forms import ReauthenticateForm
from django import forms
from django.db.models import Q

from revcred.fingerprints import fingerprint
from revcred.models import ExternalKey
from revcred.models.credentials import CredentialQuerySet
from revcred.pasting import MAX_PASTED_CHARACTERS, extract_key, is_marked_as_key, looks_like_key
from storefront.windows import CalendarSpan, DateRange

if TYPE_CHECKING:
    from django.utils.datastructures import MultiValueDict

# Dates near the ends of the calendar would overflow in later arithmetic.
# Dates near the ends of the calendar would overflow in later arithmetic.
EARLIEST_DAY, LATEST_DAY = date(2000, 1, 1), date(2199, 12, 31)


class ConfirmPasswordForm(ReauthenticateForm):  # type: ignore[misc]
    """allauth's form, so that its limits and its record of the session apply."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].label = "Your password"
        self.fields["password"].widget.attrs = {"autocomplete": "current-password"}


class DateRangeForm(forms.Form):
    """Choice of a date range and an element. Invalid values are ignored."""

    span = forms.ChoiceField(choices=CalendarSpan.choices)
    day = forms.DateField()
    element = forms.CharField()

    def __init__(self, data: "MultiValueDict[str, str]", *, today: date) -> None:
        super().__init__(data)
        self.today = today
        # Fills cleaned_data with the fields that are valid; the others are left out.
        self.is_valid()

    @property
    def window(self) -> DateRange:
        """Return the chosen range, or the present month."""
        day = self.cleaned_data.get("day") or self.today
        if not EARLIEST_DAY <= day <= LATEST_DAY:
            day = self.today
        return DateRange.holding(
            day, CalendarSpan(self.cleaned_data.get("span") or CalendarSpan.MONTH)
        )

    @property
    def chosen(self) -> str | None:
        """Return the chosen element, or None."""
        return self.cleaned_data.get("element")


class CredentialSearchForm(forms.Form):
    """A search. It is posted, and answered by a URL with a name or a key's fingerprint."""

    q = forms.CharField(
        required=False,
        max_length=MAX_PASTED_CHARACTERS,
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
        """Return credentials whose name contains the text, or whose key is it or ends in it."""
        data = self.cleaned_data if self.is_valid() else {}
        if key_fingerprint := data.get("key"):
            return _having_fingerprint(credentials, key_fingerprint)
        return _matching_term(credentials, data.get("q", ""))

    def address_of(self, credentials: CredentialQuerySet) -> dict[str, str]:
        """Return the query of the result's URL, with a fingerprint for what may be a key."""
        term = self.cleaned_data.get("q", "") if self.is_valid() else ""
        if not term:
            return {}
        key_fingerprint = fingerprint(extract_key(term))
        if self.has_a_key(credentials) or (
            looks_like_key(term) and not _matching_term(credentials, term).exists()
        ):
            return {"key": str(key_fingerprint)}
        return {"q": term}

    def has_a_key(self, credentials: CredentialQuerySet) -> bool:
        """Return True if the text shows that it is a key, or is one of these credentials' keys.

        Keys of other people's credentials are not looked up, so that the answer tells nothing of
        them.
        """
        term = self.cleaned_data.get("q", "") if self.is_valid() else ""
        if not term:
            return False
        # Limited to these credentials: the answer must not tell whether others have the key.
        found = _having_fingerprint(credentials, fingerprint(extract_key(term)))
        return is_marked_as_key(term) or found.exists()


def _having_fingerprint(
    credentials: CredentialQuerySet, key_fingerprint: UUID
) -> CredentialQuerySet:
    keys = ExternalKey.objects.filter(fingerprint=key_fingerprint)
    return credentials.filter(pk__in=keys.values("credential"))


def _matching_term(credentials: CredentialQuerySet, term: str) -> CredentialQuerySet:
    if not term:
        return credentials
    # A hint has exactly four characters, so only such a term finds anything.
    hinted = ExternalKey.objects.filter(hint=term).values("credential")
    return credentials.filter(Q(name__icontains=term) | Q(pk__in=hinted))
