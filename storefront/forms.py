from datetime import date
from typing import TYPE_CHECKING, Any

from allauth.account.forms import ReauthenticateForm
from django import forms
from django.db.models import Q

from revcred.models import ExternalKey
from revcred.models.credentials import CredentialQuerySet
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
    q = forms.CharField(
        required=False,
        max_length=200,
        label="Search credentials",
        widget=forms.TextInput(
            attrs={"type": "search", "placeholder": "Name or last four characters"}
        ),
    )

    def narrow(self, credentials: CredentialQuerySet) -> CredentialQuerySet:
        """Those whose name holds what was typed, or one of whose keys ends in it."""
        said = self.cleaned_data.get("q", "") if self.is_valid() else ""
        if not said:
            return credentials
        hinted = ExternalKey.objects.filter(hint=said).values("credential")
        return credentials.filter(Q(name__icontains=said) | Q(pk__in=hinted))
