"""The form of a new credential, which is issued at once or requested."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone

from revcred.actions import credential_requests, credentials
from revcred.actions.credential_requests import WantedCredential
from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.models import Credential, CredentialRequest, Product, Subscription, User
from revcred.models.names import MAX_NAME_CHARACTERS

if TYPE_CHECKING:
    from revcred.models.subscriptions import SubscriptionQuerySet

Issuing = Product.CredentialIssuing
DOUBLE_CLICK_PERIOD = timedelta(seconds=30)
NAME_IN_USE_MESSAGE = "There is a credential of this name already. Choose another name."


class OfferedSubscriptionField(ModelChoiceField):
    """Offers subscriptions with their product."""

    def label_from_instance(self, subscription: Subscription) -> str:
        return f"{subscription} ({subscription.product}), {subscription.customer}"


class NewCredentialForm(forms.Form):
    """Asks for a credential's name, subscription and expiry."""

    subscription = OfferedSubscriptionField(
        Subscription.objects.none(),
        empty_label=None,
        label="Charged to",
        help_text="The subscription that calls with it are counted for.",
    )
    name = forms.CharField(
        max_length=MAX_NAME_CHARACTERS,
        help_text="Such as the application that will use it: “Web shop”.",
    )
    environment = forms.CharField(
        max_length=50, required=False, help_text="Such as production or staging. May be empty."
    )
    expires = forms.DateField(
        required=False,
        label="Expires after",
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text="The last day on which it works, in UTC. Empty: it does not expire.",
    )
    note = forms.CharField(
        max_length=500,
        required=False,
        label="What for",
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Read by whoever approves a request.",
    )
    # Set by the page that shows what will happen.
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, offered: "SubscriptionQuerySet", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["subscription"]
        field.queryset = offered.order_by("customer__name", "name", "pk")

    def clean_expires(self) -> datetime | None:
        """Return the end of the chosen day."""
        day: date | None = self.cleaned_data["expires"]
        if day is None:
            return None
        today = timezone.now().astimezone(UTC).date()
        if not today <= day <= today + timedelta(days=36_500):
            message = "Choose today or a later day."
            raise forms.ValidationError(message)
        return datetime.combine(day + timedelta(days=1), time(), UTC)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        subscription = cleaned.get("subscription")
        if not subscription:
            return cleaned
        product, ends = subscription.product, cleaned.get("expires")
        days = product.credential_max_days
        if days and "expires" in cleaned:
            latest = timezone.now() + timedelta(days=days)
            if ends is None:
                self.add_error("expires", f"Choose a day, {latest:%-d %b %Y} at the latest.")
            elif ends > latest:
                # The end of the last day is past the limit by some hours: that day still counts.
                if ends - latest >= timedelta(days=1):
                    self.add_error("expires", f"Choose {latest:%-d %b %Y} or an earlier day.")
                else:
                    cleaned["expires"] = latest
        return cleaned

    @property
    def is_issued_at_once(self) -> bool:
        chosen: Subscription = self.cleaned_data["subscription"]
        return chosen.product.credential_issuing == Issuing.SUBSCRIBER

    def effects(self) -> list[str]:
        """Return sentences on what will happen."""
        data = self.cleaned_data
        subscription: Subscription = data["subscription"]
        product = subscription.product
        ends = data["expires"]
        until = f"It works until {ends:%-d %b %Y, %H:%M} UTC." if ends else "It does not expire."
        used = credential_requests.count_of_product(subscription.customer, product)
        limit = product.credential_limit
        sentences = [
            f"“{data['name']}” is issued at once with a new key, and you hold it."
            if self.is_issued_at_once
            else f"Your provider is asked for “{data['name']}”. You get a mail once somebody has"
            " approved or rejected it.",
            f"Its calls are counted for “{subscription}” of {subscription.customer}. {until}",
        ]
        if limit is not None:
            sentences.append(
                f"It is number {used + 1} of {limit} that {subscription.customer} may have for"
                f" {product}."
            )
        return sentences

    def perform(self, by: User) -> Credential | CredentialRequest | None:
        """Issue or request it. Returns None if the form has an error now."""
        data = self.cleaned_data
        wanted = WantedCredential(
            subscription=data["subscription"],
            name=data["name"],
            environment=data["environment"],
            expires_at=data["expires"],
            note=data["note"],
        )
        try:
            if self.is_issued_at_once:
                return credential_requests.issue_own_credential(wanted=wanted, by=by)
            return credential_requests.request_credential(wanted=wanted, by=by)
        except credentials.CredentialNameInUse:
            if made := self._made_by_first_click(Credential.objects.visible_to(by)):
                return made
            self.add_error("name", NAME_IN_USE_MESSAGE)
        except credential_requests.AlreadyRequested:
            requests = CredentialRequest.objects.visible_to(by).waiting()
            if made := self._made_by_first_click(requests):
                return made
            self.add_error("name", "A credential of this name is requested already.")
        except credential_requests.TooManyCredentials as error:
            self.add_error(
                "subscription",
                f"{wanted.subscription.customer} may have {error.limit} credentials for"
                f" {wanted.subscription.product}, and has them or has requested them. Revoke one,"
                " or ask your provider for more.",
            )
        except credential_requests.ExpiryRequired as error:
            self.add_error("expires", f"Choose a day within the next {error.days} days.")
        except credential_requests.NotOffered:
            self.add_error("subscription", "This is no longer offered. Ask your provider.")
        except credentials.RevealsPaused:
            self.add_error(
                None, "Your sign-in address was changed. Confirm that with your password first."
            )
        return None

    def _made_by_first_click(self, visible: Any) -> Credential | CredentialRequest | None:
        """Return what a click that came twice has made already."""
        made: Credential | CredentialRequest | None = visible.filter(
            customer=self.cleaned_data["subscription"].customer,
            name=self.cleaned_data["name"],
            created_at__gt=timezone.now() - DOUBLE_CLICK_PERIOD,
        ).first()
        return made
