"""Forms of the storefront."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

from allauth.account.forms import ReauthenticateForm
from django import forms
from django.db import models
from django.db.models import Q, QuerySet
from django.utils.translation import gettext, gettext_noop

from metering.customer_calls import CallFilter, CallPosition, find_sent_calls
from metering.models import RefusedCall
from revcred.fingerprints import fingerprint
from revcred.models import Credential, ExternalKey, Subscription
from revcred.models.credentials import CredentialQuerySet
from revcred.models.subscriptions import SubscriptionQuerySet
from revcred.pasting import MAX_PASTED_CHARACTERS, extract_key, is_marked_as_key, looks_like_key
from revcred.texts import gettext_lazy
from storefront.figures import ChartChoice
from storefront.listings import CredentialsOrder, CredentialsShown
from storefront.refused_calls import find_own_receipt
from storefront.windows import CalendarSpan, DateRange, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.forms.boundfield import BoundField
    from django.utils.datastructures import MultiValueDict

# Dates near the ends of the calendar would overflow in later arithmetic.
EARLIEST_DAY, LATEST_DAY = date(2000, 1, 1), date(2199, 12, 31)
DAYS_LISTED_AT_FIRST = 30  # of calls
MAX_CHOICES = 200  # in a list to choose from
MAX_ID_CHARACTERS = 1_000
ANY_OF = {
    "credential": gettext_noop("Any credential"),
    "subscription": gettext_noop("Any subscription"),
}
MAX_NAMES_OFF = 20  # series that are switched off


def choose_among(field: Any, choices: "QuerySet[Any]", none_chosen: str) -> None:
    """Let the field offer these choices by name."""
    field.queryset, field.empty_label = choices.order_by("name", "pk"), none_chosen
    # Thousands in a list help nobody: a link from the object's page chooses it.
    if choices[MAX_CHOICES:].exists():
        field.widget = forms.HiddenInput()


class ConfirmPasswordForm(ReauthenticateForm):  # type: ignore[misc]
    """allauth's form, so that its limits and its record of the session apply."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["password"].label = gettext("Your password")
        self.fields["password"].widget.attrs = {"autocomplete": "current-password"}


class UsageForm(forms.Form):
    """Choice of days, step, element and what is switched off. Invalid values are ignored.

    The days are those of a calendar's span that holds `day`, or those from `since` to `until`.
    """

    span = forms.ChoiceField(choices=CalendarSpan.choices, required=False, widget=forms.HiddenInput)
    day = forms.DateField(required=False, widget=forms.HiddenInput)
    since = forms.DateField(
        required=False, label=gettext_lazy("From"), widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.DateField(
        required=False, label=gettext_lazy("To"), widget=forms.DateInput(attrs={"type": "date"})
    )
    step = forms.ChoiceField(
        choices=[("", gettext_lazy("Automatic")), *Step.choices],
        required=False,
        label=gettext_lazy("Bars per"),
    )
    element = forms.CharField(required=False)

    def __init__(
        self,
        data: "MultiValueDict[str, str]",
        *,
        today: date,
        choices: "Mapping[str, QuerySet[Any]] | None" = None,
    ) -> None:
        super().__init__(data)
        self.today = today
        for name, offered in (choices or {}).items():
            choose_among(self.fields[name], offered, gettext(ANY_OF[name]))
        # The names of series are those of any chart.
        self._off = frozenset(data.getlist("off")[:MAX_NAMES_OFF])
        # Fills cleaned_data with the fields that are valid; the others are left out.
        self.is_valid()
        # The days are shown, however they were chosen.
        self.data = data.copy()
        self.data["since"] = self.window.first.isoformat()
        self.data["until"] = self.window.last.isoformat()

    @cached_property
    def window(self) -> DateRange:
        """Return the chosen days, or the present month."""
        step = Step(self.cleaned_data["step"]) if self.cleaned_data.get("step") else None
        since, until = self._day("since"), self._day("until")
        if since and until:
            return DateRange.between(since, until, step)
        if since or until:
            return DateRange.between(since or until or self.today, self.today, step)
        span = CalendarSpan(self.cleaned_data.get("span") or CalendarSpan.MONTH)
        of_span = DateRange.holding(self._day("day") or self.today, span)
        return DateRange.between(of_span.first, of_span.last, step) if step else of_span

    def _day(self, name: str) -> date | None:
        day: date | None = self.cleaned_data.get(name)
        return day if day and EARLIEST_DAY <= day <= LATEST_DAY else None

    @property
    def chosen(self) -> ChartChoice:
        """Return the chosen element, and what is switched off."""
        return ChartChoice(element=self.cleaned_data.get("element") or None, off=self._off)

    def kept_fields(self) -> "list[BoundField]":
        """Return the hidden fields that go on with another choice. The days are shown."""
        shown = ("span", "day")
        return [each for each in self.hidden_fields() if each.name not in shown and each.value()]

    @property
    def kept(self) -> dict[str, Any]:
        """Return what links to other days keep, as fields of their addresses."""
        kept: dict[str, Any] = {"off": sorted(self._off)}
        if self.cleaned_data.get("step"):
            kept["step"] = self.cleaned_data["step"]
        return kept


class UsagePageForm(UsageForm):
    """Choice for the page of all usage, which can also be split and narrowed."""

    class Split(models.TextChoices):
        SUBSCRIPTION = "subscription", gettext_lazy("Subscription")
        CREDENTIAL = "credential", gettext_lazy("Credential")
        ELEMENT = "element", gettext_lazy("Element")
        GATEWAY = "gateway", gettext_lazy("Gateway")

    by = forms.ChoiceField(choices=Split.choices, required=False, label=gettext_lazy("By"))
    subscription = forms.ModelChoiceField(
        Subscription.objects.none(), required=False, label=gettext_lazy("Subscription")
    )
    credential = forms.ModelChoiceField(
        Credential.objects.none(), required=False, label=gettext_lazy("Credential")
    )

    @property
    def split(self) -> str:
        """Return what the series of the chart are."""
        return self.cleaned_data.get("by") or self.Split.SUBSCRIPTION

    @property
    def kept(self) -> dict[str, Any]:
        chosen = {name: self.cleaned_data.get(name) for name in ("subscription", "credential")}
        narrowed = {name: each.pk for name, each in chosen.items() if each}
        return super().kept | {"by": self.split} | narrowed


class CallFilterForm(forms.Form):
    """Choice of calls to list. Invalid values are ignored."""

    class Show(models.TextChoices):
        ALL = "all", gettext_lazy("Counted or not")
        COUNTED = "counted", gettext_lazy("Counted")
        UNCOUNTED = "uncounted", gettext_lazy("Not counted")

    STATUS_CLASSES = tuple((str(n), f"{n}xx") for n in range(1, 6))

    show = forms.ChoiceField(choices=Show.choices, required=False, label=gettext_lazy("Calls"))
    credential = forms.ModelChoiceField(
        Credential.objects.none(), required=False, label=gettext_lazy("Credential")
    )
    subscription = forms.ModelChoiceField(
        Subscription.objects.none(), required=False, label=gettext_lazy("Subscription")
    )
    status = forms.ChoiceField(
        label=gettext_lazy("Status"),
        choices=[("", gettext_lazy("Any status")), *STATUS_CLASSES],
        required=False,
    )
    since = forms.DateField(
        required=False, label=gettext_lazy("From"), widget=forms.DateInput(attrs={"type": "date"})
    )
    until = forms.DateField(
        required=False, label=gettext_lazy("To"), widget=forms.DateInput(attrs={"type": "date"})
    )
    id = forms.CharField(required=False, widget=forms.HiddenInput, max_length=MAX_ID_CHARACTERS)
    key = forms.UUIDField(required=False, widget=forms.HiddenInput)
    before = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        data: "MultiValueDict[str, str]",
        *,
        credentials: CredentialQuerySet,
        subscriptions: SubscriptionQuerySet,
        today: date,
    ) -> None:
        super().__init__(data)
        self._today = today
        choose_among(self.fields["credential"], credentials, gettext("Any credential"))
        choose_among(self.fields["subscription"], subscriptions, gettext("Any subscription"))
        # Fills cleaned_data with the fields that are valid; the others are left out.
        self.is_valid()
        # The period is shown, chosen or not.
        first, last = self.days
        self.data = data.copy()
        self.data["since"], self.data["until"] = first.isoformat(), last.isoformat()

    def kept_fields(self) -> "list[BoundField]":
        """Return the hidden fields that go on with another choice. Only the page begins anew."""
        return [each for each in self.hidden_fields() if each.name != "before" and each.value()]

    @property
    def days(self) -> tuple[date, date]:
        """Return the first and the last day, at first the last DAYS_LISTED_AT_FIRST."""
        last = self._chosen_day("until") or self._today
        first = self._chosen_day("since") or last - timedelta(days=DAYS_LISTED_AT_FIRST - 1)
        return min(first, last), last

    def _chosen_day(self, name: str) -> date | None:
        day: date | None = self.cleaned_data.get(name)
        return day if day and EARLIEST_DAY <= day <= LATEST_DAY else None

    @property
    def chosen(self) -> CallFilter:
        """Return the filter. With an id or a key it covers all days, unless some were chosen."""
        data = self.cleaned_data
        first, last = self.days
        term, key = data.get("id"), data.get("key")
        if (term or key) and not self._chosen_day("since"):
            first = EARLIEST_DAY
        shown = data.get("show") or self.Show.ALL
        status = int(data.get("status") or 0) * 100
        credential, subscription = data.get("credential"), data.get("subscription")
        return CallFilter(
            start=datetime.combine(first, time(), UTC),
            # Gateways whose clocks are ahead report calls of tomorrow.
            end=datetime.combine(last + timedelta(days=1 + (last == self._today)), time(), UTC),
            counted=None if shown == self.Show.ALL else shown == self.Show.COUNTED,
            credential=credential.pk if credential else None,
            subscription=subscription.pk if subscription else None,
            statuses=(status, status + 99) if status else None,
            sent=find_sent_calls(term) if term else None,
            key=key,
        )

    @property
    def position(self) -> CallPosition | None:
        """Return where the page begins; None for the first page."""
        moment, _, number = (self.cleaned_data.get("before") or "").partition("_")
        try:
            at = datetime.fromisoformat(moment)
            return CallPosition(occurred_at=at.astimezone(UTC), id=UUID(number))
        except (ValueError, OverflowError):
            return None

    @property
    def is_narrowed(self) -> bool:
        """Return True if anything but the period is chosen."""
        names = ("credential", "subscription", "status", "id", "key")
        data = self.cleaned_data
        return data.get("show") in (self.Show.COUNTED, self.Show.UNCOUNTED) or any(
            data.get(name) for name in names
        )


class CallSearchForm(forms.Form):
    """A search for calls by their id or key. It is posted, so that no address holds a key."""

    q = forms.CharField(
        required=False,
        max_length=MAX_PASTED_CHARACTERS,
        label=gettext_lazy("Search calls"),
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "placeholder": gettext_lazy("ID of a call, or a key"),
                "autocomplete": "off",
            }
        ),
    )

    def find_refused_call(self, credentials: CredentialQuerySet) -> RefusedCall | None:
        """Return the refused call of that id, if it is of one of these credentials."""
        term = self.cleaned_data["q"] if self.is_valid() else ""
        return find_own_receipt(term, credentials)

    def address_of(
        self, credentials: CredentialQuerySet, *, is_own_id: Callable[[str], bool]
    ) -> dict[str, str]:
        """Return the query of the result's URL, with a fingerprint for what may be a key.

        A long text that is the id of no call may be a key of elsewhere, and addresses are logged.
        """
        term = self.cleaned_data["q"] if self.is_valid() else ""
        if not term:
            return {}
        if named := credentials.filter(public_id=term).first():
            return {"credential": str(named.pk)}
        found = _having_fingerprint(credentials, fingerprint(extract_key(term)))
        if (
            is_marked_as_key(term)
            or found.exists()
            or (looks_like_key(term) and not is_own_id(term))
        ):
            return {"key": str(fingerprint(extract_key(term)))}
        return {"id": term}


class CredentialListForm(forms.Form):
    """Choice of the credentials in the list, and of their order. Invalid values are ignored."""

    show = forms.ChoiceField(choices=CredentialsShown.choices)
    order = forms.ChoiceField(choices=CredentialsOrder.choices)

    def __init__(self, data: "MultiValueDict[str, str]") -> None:
        super().__init__(data)
        # Fills cleaned_data with the fields that are valid; the others are left out.
        self.is_valid()

    @property
    def shown(self) -> str:
        return str(self.cleaned_data.get("show") or CredentialsShown.ALL)

    @property
    def ordered(self) -> str:
        return str(self.cleaned_data.get("order") or CredentialsOrder.NAME)


class CredentialSearchForm(forms.Form):
    """A search. It is posted, and answered by a URL with a name or a key's fingerprint."""

    q = forms.CharField(
        required=False,
        max_length=MAX_PASTED_CHARACTERS,
        label=gettext_lazy("Search credentials"),
        widget=forms.TextInput(
            attrs={
                "type": "search",
                "placeholder": gettext_lazy("Name, key, or its last four characters"),
                "autocomplete": "off",
            }
        ),
    )
    key = forms.UUIDField(required=False, widget=forms.HiddenInput)

    def narrow(self, credentials: CredentialQuerySet) -> CredentialQuerySet:
        """Return credentials with the text in their name, or as public id, key or end of a key."""
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
    return credentials.filter(Q(name__icontains=term) | Q(public_id=term) | Q(pk__in=hinted))
