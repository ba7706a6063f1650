"""Who may see what: own things only, and a key or secret only after a fresh confirmation.

Every page starts from one of these querysets, so that what is another's is as good as not there.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

from allauth.account.internal.flows.reauthentication import did_recently_reauthenticate
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from metering.models import Transaction, Usage
from revcred.models import Credential, Customer, Membership, Subscription

if TYPE_CHECKING:
    from metering.models.transactions import TransactionQuerySet
    from metering.models.usage import UsageQuerySet
    from revcred.models import User
    from revcred.models.credentials import CredentialQuerySet
    from revcred.models.subscriptions import SubscriptionQuerySet


class SignedInRequest(HttpRequest):
    user: "User"


def sign_in_required(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """A page for whoever has signed in; others are asked to, and brought back."""
    return login_required(page)


def never_cached(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """No cache on the way, and no history of the browser, keeps what this page answers."""

    @wraps(page)
    def answer(*args: object, **kwargs: object) -> HttpResponse:
        response = page(*args, **kwargs)
        response["Cache-Control"] = "no-store, private"
        response["Pragma"] = "no-cache"
        return response

    return answer


def own_credentials(user: "User") -> "CredentialQuerySet":
    return Credential.objects.visible_to(user)


def own_subscriptions(user: "User") -> "SubscriptionQuerySet":
    return Subscription.objects.visible_to(user)


def own_usage(user: "User") -> "UsageQuerySet":
    """All of customers owned; of others what the user's own credentials have used."""
    return Usage.objects.filter(_owned_or_held(user))


def own_transactions(user: "User") -> "TransactionQuerySet":
    return Transaction.objects.filter(_owned_or_held(user))


def owns_customer(user: "User", customer: Customer) -> bool:
    return Customer.objects.owned_by(user).filter(pk=customer.pk).exists()


def may_reveal(user: "User", credential: Credential) -> bool:
    """Of what the user sees: everything but where the user is there to look on."""
    memberships = credential.customer.memberships.filter(subscriber__user=user)
    return memberships.exclude(role=Membership.Role.VIEWER).exists()


def has_confirmed_password(request: SignedInRequest) -> bool:
    """Whether the password was confirmed in this session, in the last five minutes.

    allauth lets those pass who have no password to confirm. We do not.
    """
    return request.user.has_usable_password() and did_recently_reauthenticate(request)


def _owned_or_held(user: "User") -> Q:
    owned = Customer.objects.owned_by(user).values("pk")
    held = Credential.objects.visible_to(user).values("pk")
    return Q(customer__in=owned) | Q(credential__in=held)
