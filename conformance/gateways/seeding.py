"""Customers, credentials and gateways that the real gateways' calls are about."""

from collections.abc import Sequence
from datetime import timedelta

from django.utils import timezone

from conformance.gateways.callers import (
    CUSTOMER,
    LEAVING_KEY,
    OTHER_CUSTOMER,
    PRODUCT,
    SUBSCRIPTION,
    Key,
    credential_name,
)
from metering.models import GatewayToken
from revcred.actions import credentials
from revcred.actions.credentials import NewKey
from revcred.models import (
    Credential,
    Customer,
    Gateway,
    PathRule,
    Product,
    Source,
    Subscription,
)


def seed(gateways: Sequence[str]) -> dict[str, str]:
    """Return the token of each gateway, by name, and under "metering" one of none of them."""
    began = timezone.now() - timedelta(days=20)
    product = Product.objects.create(name="Maps", external_key=PRODUCT)
    for name in ("maps", "routes"):
        source = Source.objects.create(name=name, external_key=name)
        PathRule.objects.create(source=source, text=f"/{name}/")
    product.sources.set([Source.objects.get(external_key="maps")])

    def issue(key: str, subscription: Subscription) -> Credential:
        return credentials.issue_credential(
            customer=subscription.customer,
            name=credential_name(key),
            by=None,
            subscriptions=[subscription],
            new_key=NewKey(key=key, active_from=began),
        )

    def subscribe(customer: str, name: str, quota: int) -> Subscription:
        holder, _ = Customer.objects.get_or_create(external_key=customer, name=customer)
        return Subscription.objects.create(
            customer=holder, product=product, external_key=name, quota=quota, active_from=began
        )

    maps = subscribe(CUSTOMER, SUBSCRIPTION, 1_000_000)
    issue(Key.GOOD, maps)
    issue(Key.OTHER, subscribe(OTHER_CUSTOMER, "globex-maps", 1_000_000))
    credentials.suspend_credential(credential=issue(Key.SUSPENDED, maps), by=None)
    credentials.revoke_credential(credential=issue(Key.REVOKED, maps), reason="tests", by=None)
    expired = issue(Key.EXPIRED, maps)
    Credential.objects.filter(pk=expired.pk).update(expires_at=began + timedelta(days=1))
    issue(Key.EXHAUSTED, subscribe("small", "small-maps", 1))
    for name in gateways:
        issue(LEAVING_KEY.format(name), maps)
    tokens = {
        name: _gateway_token(name, Gateway.Kind(name.lower().partition("-")[0]))
        for name in gateways
    }
    return tokens | {"metering": _gateway_token("metering", Gateway.Kind.OTHER)}


def _gateway_token(name: str, kind: Gateway.Kind) -> str:
    gateway = Gateway.objects.create(
        name=name,
        kind=kind,
        check_mode=Gateway.CheckMode.ENFORCE,
        check_refuses_over_quota=True,
        signs_claims=True,
    )
    scopes: list[str] = [
        *(GatewayToken.Scope.CHECK, GatewayToken.Scope.POST, GatewayToken.Scope.DIGESTS),
    ]
    return GatewayToken.issue(gateway, name="", scopes=scopes)[1]
