"""A row in every list of the administration, for tests that open all of its pages."""

from django.utils import timezone

from metering.inbox.intake import accept_calls
from metering.models import Claim, Conflict, DiscoveredSource, GatewayToken, Rejection
from revcred.actions import credentials
from revcred.models import (
    Appearance,
    CredentialRequest,
    OutgoingMail,
    Source,
    Upload,
    UserToken,
)
from tests.factories import (
    a_call,
    a_credential,
    a_customer,
    a_gateway,
    a_product,
    a_subscriber,
    a_subscription,
    a_user,
    settled,
)


def one_more(number: int) -> None:
    """A row more in every list."""
    Appearance.objects.get_or_create(pk=1)
    customer = a_customer()
    gateway = a_gateway()
    GatewayToken.issue(gateway, name="", scopes=[])
    product = a_product()
    # Of no product: the calls below name no source.
    Source.objects.create(name=f"Source {number}", external_key=f"source-{number}")
    subscription = a_subscription(customer, product=product)
    credential = a_credential(
        customer,
        key=f"a-key-of-some-length-{number}",
        subscriptions=[subscription],
        holders=[a_subscriber(customer)],
    )
    credentials.suspend_credential(credential=credential, by=None)
    credentials.resume_credential(credential=credential, by=None)
    known = a_call(f"a-key-of-some-length-{number}", transaction_id=f"known-{number}")
    settled(known, a_call(f"an-unknown-key-{number}"), gateway=gateway)
    Conflict.objects.create(
        transaction=f"00000000-0000-0000-0000-{number:012}",
        gateway=gateway,
        transaction_id=f"known-{number}",
        received_at=timezone.now(),
        content={"calls": 2},
    )
    CredentialRequest.objects.create(
        customer=customer,
        subscription=subscription,
        subscriber=a_subscriber(customer),
        name=f"Requested {number}",
    )
    Rejection.objects.create(gateway=gateway, door="/v1/transactions", code="x", message="Too old")
    Claim.objects.create(cause="A test")
    Upload.objects.create(kind="credentials", file_name="keys.csv", size=1, digest="0" * 64)
    UserToken.issue(a_user(), name="A script", scopes=[])
    OutgoingMail.objects.create(recipient="ann@example.com", subject=f"Mail {number}")
    accept_calls(gateway, [a_call(f"a-key-of-some-length-{number}")])
    DiscoveredSource.objects.create(
        name=f"Unknown {number}",
        kind="named",
        gateway=gateway,
        first_seen_at=timezone.now(),
        last_seen_at=timezone.now(),
    )
