"""What every client's calls are about: one customer's credential, and a gateway for each client."""

from datetime import timedelta

from django.utils import timezone

from conformance.cast import CREDENTIAL, CUSTOMER, KEY, SUBSCRIPTION
from metering.models import GatewayToken
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.models import Customer, Gateway, Product, Subscription, User, UserToken


def seed(gateways: dict[str, str]) -> dict[str, str]:
    """The gateways' tokens. Given is what the subject of their events names."""
    customer = Customer.objects.create(name="Acme", external_key=CUSTOMER)
    product = Product.objects.create(name="AI", external_key="ai")
    subscription = Subscription.objects.create(
        customer=customer,
        product=product,
        name="Acme AI",
        external_key=SUBSCRIPTION,
        active_from=timezone.now() - timedelta(days=40),
    )
    credentials.issue_credential(
        customer=customer,
        name=CREDENTIAL,
        by=None,
        subscriptions=[subscription],
        new_key=NewKey(key=KEY, active_from=subscription.active_from),
    )
    return {name: _token(name, subject) for name, subject in gateways.items()}


def _token(name: str, subject: str) -> str:
    gateway = Gateway.objects.create(name=name, event_subject=subject)
    return GatewayToken.issue(gateway, name="", scopes=list(GatewayToken.Scope))[1]


def user_token() -> str:
    """Of somebody who may do everything with lists."""
    user = User.objects.create_superuser("ops@example.com")
    return UserToken.issue(user, name="", scopes=list(UserToken.Scope))[1]
