"""Access rules of the storefront: own things only, a key or secret only after a fresh confirmation.

Every page starts from one of these querysets, so that what belongs to others does not exist for it.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

from allauth.account.internal.flows.reauthentication import (
    did_recently_reauthenticate,
    reauthenticate_by_password,
)
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.forms import Form
from django.http import HttpRequest, HttpResponse

from metering.ledger.scope import LedgerScope
from metering.models import Quarantined, Transaction
from revcred.models import Credential, Customer, Subscription

if TYPE_CHECKING:
    from metering.models.transactions import QuarantinedQuerySet, TransactionQuerySet
    from revcred.models import User
    from revcred.models.credentials import CredentialQuerySet
    from revcred.models.subscriptions import SubscriptionQuerySet


class SignedInRequest(HttpRequest):
    """A request of somebody who has signed in."""

    user: "User"


def sign_in_required(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show the page to whoever has signed in; ask others to, and bring them back."""
    return login_required(page)


def never_cached(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Keep a page's response out of every cache on the way and of the browser's history."""

    @wraps(page)
    def answer(*args: object, **kwargs: object) -> HttpResponse:
        response = page(*args, **kwargs)
        # no-store keeps it out of the disk cache and of the page that the back button shows.
        response["Cache-Control"] = "no-store, private"
        response["Pragma"] = "no-cache"
        return response

    return answer


def own_credentials(user: "User") -> "CredentialQuerySet":
    """Return the credentials the user holds, and those of customers the user owns."""
    return Credential.objects.visible_to(user)


def own_subscriptions(user: "User") -> "SubscriptionQuerySet":
    """Return the subscriptions of owned customers, and those of the user's credentials."""
    return Subscription.objects.visible_to(user)


def own_transactions(user: "User") -> "TransactionQuerySet":
    """Return all transactions of owned customers, and those of the user's credentials."""
    # Subqueries instead of joins: the ledger has many rows.
    owned = Customer.objects.owned_by(user).values("pk")
    held = Credential.objects.visible_to(user).values("pk")
    return Transaction.objects.filter(Q(customer__in=owned) | Q(credential__in=held))


def own_uncounted_calls(user: "User") -> "QuarantinedQuerySet":
    """Return calls that are not counted, made with keys of the credentials the user sees."""
    return Quarantined.objects.of_credentials(own_credentials(user))


def own_ledger_scope(user: "User") -> LedgerScope:
    """Return the part of ledger and usage that the user sees."""
    owned = list(Customer.objects.owned_by(user).values_list("pk", flat=True))
    return LedgerScope(
        customers=owned,
        credentials=list(
            own_credentials(user).exclude(customer__in=owned).values_list("pk", flat=True)
        ),
        subscriptions=list(own_subscriptions(user).order_by("pk").values_list("pk", flat=True)),
    )


def has_confirmed_password(request: SignedInRequest) -> bool:
    """Return True if the password was confirmed in this session in the last five minutes.

    allauth lets people without a password pass. The storefront does not.
    """
    return request.user.has_usable_password() and did_recently_reauthenticate(request)


def confirm_password(request: SignedInRequest, form: Form | None) -> bool:
    """Return True if the form has the right password, or is None since none is needed.

    Guessing it here counts like guessing it at sign-in.
    """
    if form is None:
        return True
    # Without a password there is nothing that confirms who asks.
    if not request.user.has_usable_password() or not form.is_valid():
        return False
    reauthenticate_by_password(request)
    return True
