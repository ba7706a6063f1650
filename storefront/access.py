"""Access rules of the storefront: own things only, a key or secret only after a fresh confirmation.

Every page starts from one of these querysets, so that what belongs to others does not exist for it.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING

from allauth.account.internal.flows.reauthentication import reauthenticate_by_password
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext

from metering.ledger.scope import LedgerScope
from metering.models import Quarantined, Transaction
from revcred.models import Credential, Customer, Membership, Subscription

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from metering.models.transactions import QuarantinedQuerySet, TransactionQuerySet
    from revcred.models import User
    from revcred.models.credentials import CredentialQuerySet
    from revcred.models.subscriptions import SubscriptionQuerySet


MAX_OWNERS_NAMED = 3


class SignedInRequest(HttpRequest):
    """A request of somebody who has signed in."""

    user: "User"


def sign_in_required(page: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Show the page to whoever has signed in; ask others to, and bring them back."""
    guarded = login_required(page)

    @wraps(page)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = guarded(request, *args, **kwargs)
        # htmx would put the page of signing in into the place of the section that it asked for.
        if "HX-Request" in request.headers and not request.user.is_authenticated:
            return HttpResponse(status=401, headers={"HX-Redirect": response["Location"]})
        return response

    return answer


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


def own_team(user: "User") -> "QuerySet[Membership]":
    """Return the memberships of the customers that the user owns."""
    return Membership.objects.filter(customer__in=Customer.objects.owned_by(user))


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


def other_confirmations(request: SignedInRequest) -> list[tuple[str, str]]:
    """Return label and address of each way to confirm who asks, besides the password.

    Each leads back to the page that is shown.
    """
    back = urlencode({"next": request.path})
    at_company = SocialAccount.objects.filter(user=request.user).exists()
    own_types = set(Authenticator.objects.filter(user=request.user).values_list("type", flat=True))
    ways = [
        (label, f"{reverse(page)}?{back}")
        for factor_type, label, page in (
            (Authenticator.Type.WEBAUTHN, gettext("your passkey"), "mfa_reauthenticate_webauthn"),
            (Authenticator.Type.TOTP, gettext("a code of your app"), "mfa_reauthenticate"),
        )
        if factor_type in own_types
    ]
    if at_company:
        page = reverse("account_confirm_at_company")
        ways.append((gettext("your company's sign-in"), f"{page}?{back}"))
    return ways


def check_may_manage(user: "User", credential: Credential) -> None:
    """Raise PermissionDenied, and say whom to ask, if the user is a viewer."""
    if credential.may_be_managed_by(user):
        return
    owners = credential.customer.memberships.filter(role=Membership.Role.OWNER)
    names = [
        each.subscriber.name or each.subscriber.email
        for each in owners.select_related("subscriber")[:MAX_OWNERS_NAMED]
    ]
    ask = (
        gettext("Ask %(people)s (owner).") % {"people": gettext(" or ").join(names)}
        if names
        else gettext("Ask whoever provides your API.")
    )
    refusal = gettext("Viewers cannot reveal keys, nor change credentials.")
    message = f"{refusal} {ask}"
    raise PermissionDenied(message)


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
