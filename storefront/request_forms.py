"""The form of a new credential, which is issued at once or requested."""

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext, gettext_noop

from revcred.actions import credential_requests, credentials
from revcred.actions.credential_requests import WantedCredential
from revcred.admin_toolkit.generic import ModelChoiceField
from revcred.models import Credential, CredentialRequest, Product, Subscription, User
from revcred.models.names import MAX_NAME_CHARACTERS
from revcred.texts import gettext_lazy
from storefront.formatting import short_moment_with_zone

if TYPE_CHECKING:
    from revcred.models.subscriptions import SubscriptionQuerySet

Issuing = Product.CredentialIssuing
DOUBLE_CLICK_PERIOD = timedelta(seconds=30)
NAME_IN_USE_MESSAGE = gettext_noop(
    "There is a credential of this name already. Choose another name."
)


class OfferedSubscriptionField(ModelChoiceField):
    """Offers subscriptions with their product."""

    def label_from_instance(self, subscription: Subscription) -> str:
        return f"{subscription} ({subscription.product}), {subscription.customer}"


class NewCredentialForm(forms.Form):
    """Asks for a credential's name, subscription and expiry."""

    subscription = OfferedSubscriptionField(
        Subscription.objects.none(),
        empty_label=None,
        label=gettext_lazy("Charged to"),
        help_text=gettext_lazy("The subscription that calls with it are counted for."),
    )
    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=MAX_NAME_CHARACTERS,
        help_text=gettext_lazy("Such as the application that will use it: “Web shop”."),
    )
    environment = forms.CharField(
        label=gettext_lazy("Environment"),
        max_length=50,
        required=False,
        help_text=gettext_lazy("Such as production or staging. May be empty."),
    )
    expires = forms.DateField(
        required=False,
        label=gettext_lazy("Expires after"),
        widget=forms.DateInput(attrs={"type": "date"}),
        help_text=gettext_lazy(
            "The last day on which it works, in UTC. Empty: it does not expire."
        ),
    )
    note = forms.CharField(
        max_length=500,
        required=False,
        label=gettext_lazy("What for"),
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=gettext_lazy("Read by whoever approves a request."),
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
            message = gettext("Choose today or a later day.")
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
            # Days are those of UTC, as the field says.
            day_in_utc = date_format(latest, "SHORT_DAY")
            if ends is None:
                self.add_error(
                    "expires", gettext("Choose a day, %(day)s at the latest.") % {"day": day_in_utc}
                )
            elif ends > latest:
                # The end of the last day is past the limit by some hours: that day still counts.
                if ends - latest >= timedelta(days=1):
                    self.add_error(
                        "expires",
                        gettext("Choose %(day)s or an earlier day.") % {"day": day_in_utc},
                    )
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
        until = (
            gettext("It works until %(moment)s.") % {"moment": short_moment_with_zone(ends)}
            if ends
            else gettext("It does not expire.")
        )
        used = credential_requests.count_of_product(subscription.customer, product)
        limit = product.credential_limit
        sentences = [
            gettext("“%(name)s” is issued at once with a new key, and you hold it.")
            % {"name": data["name"]}
            if self.is_issued_at_once
            else gettext(
                "Your provider is asked for “%(name)s”. You get a mail once somebody has"
                " approved or rejected it."
            )
            % {"name": data["name"]},
            gettext("Its calls are counted for “%(subscription)s” of %(customer)s. %(until)s")
            % {"subscription": subscription, "customer": subscription.customer, "until": until},
        ]
        if limit is not None:
            sentences.append(
                gettext(
                    "It is number %(number)s of %(limit)s that %(customer)s may have for"
                    " %(product)s."
                )
                % {
                    "number": used + 1,
                    "limit": limit,
                    "customer": subscription.customer,
                    "product": product,
                }
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
            self.add_error("name", gettext(NAME_IN_USE_MESSAGE))
        except credential_requests.AlreadyRequested:
            requests = CredentialRequest.objects.visible_to(by).waiting()
            if made := self._made_by_first_click(requests):
                return made
            self.add_error("name", gettext("A credential of this name is requested already."))
        except credential_requests.TooManyCredentials as error:
            self.add_error(
                "subscription",
                gettext(
                    "%(customer)s may have %(limit)s credentials for %(product)s, and has them or"
                    " has requested them. Revoke one, or ask your provider for more."
                )
                % {
                    "customer": wanted.subscription.customer,
                    "limit": error.limit,
                    "product": wanted.subscription.product,
                },
            )
        except credential_requests.ExpiryRequired as error:
            self.add_error(
                "expires",
                gettext("Choose a day within the next %(days)s days.") % {"days": error.days},
            )
        except credential_requests.NotOffered:
            self.add_error("subscription", gettext("This is no longer offered. Ask your provider."))
        except credentials.RevealsPaused:
            self.add_error(
                None,
                gettext("Your sign-in address was changed. Confirm that with your password first."),
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
