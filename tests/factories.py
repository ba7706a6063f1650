"""Things that tests are about, each with what it cannot be without."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from allauth.account.models import EmailAddress
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import ONE_CALL, Call
from metering.inbox.intake import accept_calls
from metering.models import Usage
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint_hex, hint
from revcred.models import (
    AuditEvent,
    Credential,
    Customer,
    Gateway,
    Membership,
    Product,
    Subscriber,
    Subscription,
    User,
)

PASSWORD = "correct horse battery staple"
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)

_numbers = count(1)


def a_user(email: str | None = None, **fields: Any) -> User:
    email = email or f"user-{next(_numbers)}@example.com"
    user = User.objects.create_user(email, PASSWORD, **fields)
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def an_admin() -> User:
    """Somebody who may do everything, the same one each time."""
    known = User.objects.filter(email="admin@staff.example.com").first()
    return known or a_user("admin@staff.example.com", is_staff=True, is_superuser=True)


def details_of(event: AuditEvent) -> dict[str, Any]:
    """What an event says, without the id of the request that did it."""
    return {name: value for name, value in event.details.items() if name != "request_id"}


def a_customer(name: str | None = None, **fields: Any) -> Customer:
    name = name or f"Customer {next(_numbers)}"
    return Customer.objects.create(name=name, external_key=name.lower(), **fields)


def a_subscriber(
    customer: Customer | None = None,
    role: Membership.Role = Membership.Role.MEMBER,
    email: str | None = None,
) -> Subscriber:
    """Somebody who can sign in with PASSWORD."""
    user = a_user(email)
    subscriber = Subscriber.objects.create(email=user.email, user=user)
    if customer:
        Membership.objects.create(customer=customer, subscriber=subscriber, role=role)
    return subscriber


def a_product(name: str | None = None, **fields: Any) -> Product:
    name = name or f"Product {next(_numbers)}"
    return Product.objects.create(name=name, external_key=name.lower(), **fields)


def a_subscription(customer: Customer | None = None, **fields: Any) -> Subscription:
    number = next(_numbers)
    return Subscription.objects.create(
        **{
            "customer": customer or a_customer(),
            "product": fields.pop("product", None) or a_product(),
            "external_key": f"subscription-{number}",
            "name": f"Subscription {number}",
            "active_from": LONG_AGO,
        }
        | fields
    )


def a_credential(
    customer: Customer | None = None,
    key: str | None = None,
    secret: str | None = None,
    **fields: Any,
) -> Credential:
    """Issued long ago by nobody in particular."""
    return credentials.issue_credential(
        **{
            "customer": customer or a_customer(),
            "name": f"Credential {next(_numbers)}",
            "by": None,
            "new_members": fields.get("holders", ()),
            "new_key": NewKey(
                key=key or f"key-of-tests-{next(_numbers):08}", secret=secret, active_from=LONG_AGO
            ),
        }
        | fields
    )


def a_gateway(name: str | None = None, **fields: Any) -> Gateway:
    return Gateway.objects.create(name=name or f"Gateway {next(_numbers)}", **fields)


def some_usage(
    subscription: Subscription,
    credential: Credential | None,
    at: datetime,
    quantity: object,
    element: str = "calls",
) -> Usage:
    """Usage of the hour in which the moment is, without the calls behind it."""
    return Usage.objects.create(
        subscription=subscription,
        credential=credential,
        customer=subscription.customer,
        product=subscription.product,
        hour=at.replace(minute=0, second=0, microsecond=0),
        element=element,
        count=1,
        quantity=Decimal(str(quantity)),
    )


def a_call(key: str | None = None, *, ago: timedelta = timedelta(), **fields: Any) -> Call:
    """As the inbox keeps it: the key is a fingerprint by then."""
    known = {"fingerprint": fingerprint_hex(key), "hint": hint(key)} if key else {}
    return Call(
        **{
            "transaction_id": f"call-{next(_numbers)}",
            "occurred_at": timezone.now() - ago,
            "elements": ONE_CALL,
        }
        | known
        | fields
    )


def settled(*calls: Call, gateway: Gateway | None = None) -> None:
    """Taken in from a gateway, and settled."""
    accept_calls(gateway or a_gateway(), calls)
    process_waiting_deliveries()
