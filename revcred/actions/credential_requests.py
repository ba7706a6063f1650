"""Credentials that subscribers issue by themselves, or request, where the product allows it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.contrib.auth.backends import ModelBackend
from django.db.transaction import atomic
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext

from revcred.actions import credentials
from revcred.actions.constraints import raising_on_violation
from revcred.actions.own_credentials import NotAllowed
from revcred.models import (
    Assignment,
    AuditEvent,
    AuditVerb,
    Credential,
    CredentialRequest,
    Customer,
    Membership,
    Product,
    Subscriber,
    Subscription,
    User,
)
from revcred.outbox import absolute_url, notify_owners, queue_mail
from revcred.texts import gettext_lazy

if TYPE_CHECKING:
    from revcred.models.subscriptions import SubscriptionQuerySet

DECIDING_RIGHT = "revcred.change_credentialrequest"
MAX_STAFF_TOLD = 20

Issuing = Product.CredentialIssuing
State = CredentialRequest.State


class NotOffered(Exception):
    """The subscription is not active, or its product lets only the provider issue credentials."""


class RequestTooLate(Exception):
    """The subscription is not active any more, or the expiry that was asked for is over."""


class TooManyCredentials(Exception):
    """The customer has as many credentials for the product as it may have."""

    def __init__(self, limit: int) -> None:
        super().__init__(gettext("No more than %(limit)s.") % {"limit": limit})
        self.limit = limit


class ExpiryRequired(Exception):
    """The product asks for an expiry, no later than `days` from now."""

    def __init__(self, days: int) -> None:
        super().__init__(gettext("Within %(days)s days.") % {"days": days})
        self.days = days


class AlreadyRequested(Exception):
    """A credential of this name waits for a decision already."""


class AlreadyDecided(Exception):
    """Somebody has approved, rejected or withdrawn the request meanwhile."""


@dataclass(frozen=True, kw_only=True)
class WantedCredential:
    """The credential that a subscriber asks for."""

    subscription: Subscription
    name: str
    environment: str = ""
    expires_at: datetime | None = None
    note: str = ""


def offered_subscriptions(user: User) -> "SubscriptionQuerySet":
    """Return active subscriptions of the user's customers to which more credentials are offered.

    A viewer of a customer is offered none of it.
    """
    memberships = Membership.objects.filter(subscriber__user=user).exclude(
        role=Membership.Role.VIEWER
    )
    return (
        Subscription.objects.at(timezone.now())
        .filter(customer__in=memberships.values("customer"), customer__suspended_at=None)
        .exclude(product__credential_issuing=Issuing.PROVIDER)
        .select_related("customer", "product")
    )


def count_of_product(customer: Customer, product: Product) -> int:
    """Return how many credentials the limit counts: charged to the product now, or requested."""
    now = timezone.now()
    charged = Assignment.objects.at(now).filter(subscription__product=product)
    in_use = customer.credentials.filter(
        revoked_at=None, pk__in=charged.values("credential")
    ).exclude(expires_at__lte=now)
    waiting = customer.credential_requests.waiting().filter(subscription__product=product)
    return in_use.count() + waiting.count()


@atomic
def issue_own_credential(*, wanted: WantedCredential, by: User) -> Credential:
    """Issue a credential that `by` holds, where the product lets subscribers do so.

    Raises NotAllowed, NotOffered, TooManyCredentials, ExpiryRequired, CredentialNameInUse.
    """
    holder = _check_offered(wanted, by, Issuing.SUBSCRIBER)
    customer = wanted.subscription.customer
    credential = credentials.issue_credential(
        customer=customer,
        name=wanted.name,
        environment=wanted.environment,
        expires_at=wanted.expires_at,
        subscriptions=[wanted.subscription],
        holders=[holder],
        by=by,
    )
    url = absolute_url(reverse("storefront:credential", args=[credential.pk]))
    context = {"credential": credential, "by": by, "what": gettext_lazy("issued it."), "url": url}
    notify_owners(customer, "emails/own_credential_changed", context, actor=by)
    return credential


@atomic
def request_credential(*, wanted: WantedCredential, by: User) -> CredentialRequest:
    """Ask the provider for a credential, and tell the staff who decide by mail.

    Raises NotAllowed, NotOffered, TooManyCredentials, ExpiryRequired, CredentialNameInUse,
    AlreadyRequested.
    """
    holder = _check_offered(wanted, by, Issuing.REQUEST)
    customer = wanted.subscription.customer
    if customer.credentials.filter(name=wanted.name, revoked_at=None).exists():
        raise credentials.CredentialNameInUse
    with raising_on_violation(AlreadyRequested, "credentialrequest_once_at_a_time"):
        request = CredentialRequest.objects.create(
            customer=customer,
            subscription=wanted.subscription,
            subscriber=holder,
            name=wanted.name,
            environment=wanted.environment,
            expires_at=wanted.expires_at,
            note=wanted.note,
        )
    details = {"customer": str(customer), "subscription": str(wanted.subscription)}
    AuditEvent.objects.record(AuditVerb.REQUESTED, target=request, by=by, details=details)
    url = absolute_url(reverse("admin:revcred_credentialrequest_change", args=[request.pk]))
    deciding = ModelBackend().with_perm(DECIDING_RIGHT).filter(is_staff=True).order_by("pk")
    for user in deciding[:MAX_STAFF_TOLD]:
        queue_mail("emails/credential_requested", user.email, {"request": request, "url": url})
    return request


@atomic
def withdraw_request(*, request: CredentialRequest, by: User) -> None:
    """Withdraw a request. Raises AlreadyDecided."""
    _decide(request, State.WITHDRAWN, verb=AuditVerb.CANCELLED, by=by)


@atomic
def approve_request(*, request: CredentialRequest, by: User) -> Credential:
    """Issue the credential that was requested, and tell whoever asked for it.

    Raises AlreadyDecided, RequestTooLate, CredentialNameInUse, HoldersNotMembers.
    """
    _decide(request, State.APPROVED, verb=AuditVerb.APPROVED, by=by)
    now = timezone.now()
    is_active = Subscription.objects.at(now).filter(pk=request.subscription_id).exists()
    if not is_active or (request.expires_at and request.expires_at <= now):
        raise RequestTooLate
    credential = credentials.issue_credential(
        customer=request.customer,
        name=request.name,
        environment=request.environment,
        expires_at=request.expires_at,
        subscriptions=[request.subscription],
        holders=[request.subscriber],
        by=by,
    )
    request.credential = credential
    request.save(update_fields=["credential"])
    _tell_of_decision(request, reverse("storefront:credential", args=[credential.pk]))
    return credential


@atomic
def reject_request(*, request: CredentialRequest, reason: str, by: User) -> None:
    """Reject a request with a reason, and tell whoever asked. Raises AlreadyDecided."""
    request.reason = reason
    _decide(request, State.REJECTED, verb=AuditVerb.REQUEST_REJECTED, by=by)
    _tell_of_decision(request, reverse("storefront:credentials"))


def _check_offered(wanted: WantedCredential, by: User, issuing: "Issuing") -> Subscriber:
    """Return the person who asks. Raises NotAllowed, NotOffered and what the product's limits say.

    Locks the customer, so that two requests at once do not exceed the limit together.
    """
    if by.reveals_rest_since:
        raise credentials.RevealsPaused
    Customer.objects.select_for_update(no_key=True).get(pk=wanted.subscription.customer_id)
    holder = Subscriber.objects.of(by).first()
    offered = offered_subscriptions(by).filter(pk=wanted.subscription.pk).first()
    if holder is None:
        raise NotAllowed
    if offered is None or offered.product.credential_issuing != issuing:
        raise NotOffered
    product, now = offered.product, timezone.now()
    days = product.credential_max_days
    if days and not (wanted.expires_at and now < wanted.expires_at <= now + timedelta(days=days)):
        raise ExpiryRequired(days)
    limit = product.credential_limit
    if limit is not None and count_of_product(offered.customer, product) >= limit:
        raise TooManyCredentials(limit)
    return holder


def _decide(request: CredentialRequest, state: "State", *, verb: AuditVerb, by: User) -> None:
    """Set the state of a waiting request, and record it."""
    locked = CredentialRequest.objects.select_for_update(no_key=True)
    if locked.get(pk=request.pk).decided_at:
        raise AlreadyDecided
    request.state, request.decided_at = state, timezone.now()
    request.save(update_fields=["state", "decided_at", "reason"])
    details = {"customer": str(request.customer), "subscription": str(request.subscription)}
    if request.reason:
        details["reason"] = request.reason
    AuditEvent.objects.record(verb, target=request, by=by, details=details)


def _tell_of_decision(request: CredentialRequest, path: str) -> None:
    context = {"request": request, "url": absolute_url(path)}
    queue_mail("emails/credential_decided", request.subscriber.email, context)
