"""Load the demo the way all data comes in: by actions, and through the inbox."""

import secrets
from collections.abc import Collection, Iterator
from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db.models import Prefetch
from django.db.transaction import atomic
from django.utils import timezone

from metering.actions import issue_gateway_token, revoke_gateway_token
from metering.api.transactions import AcceptanceWindow, call_from_transaction
from metering.attribution import processing
from metering.demo import notes, traffic
from metering.demo.companies import (
    DEMO_ADMIN_EMAIL,
    DEMO_CUSTOMER_KEYS,
    DemoCast,
    KeysByCredential,
    create_demo_account,
    create_demo_companies,
)
from metering.demo.notes import DemoAccount, DemoCaller, DemoGatewayAccess, DemoNotes
from metering.inbox.intake import accept_calls
from metering.models import GatewayToken
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import Credential, ExternalKey, Gateway, Membership, Subscriber, User
from revcred.models.credentials import CredentialQuerySet

DEMO_GATEWAY_NAME = "Demo gateway"
CALLS_PER_DELIVERY = 1_000
# Without l, 1, o and 0, which are taken for one another.
PASSWORD_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"  # noqa: S105 - an alphabet


def ensure_demo(url: str) -> str:
    """Load the demo and write its notes, as far as they are missing; return what was done."""
    gateway = Gateway.objects.filter(name=DEMO_GATEWAY_NAME).first()
    noted = notes.read_notes()
    if gateway is None:
        noted, done = _load_demo(url), "Demo data loaded"
    elif noted is None or not _is_valid_token(noted["gateway"]["token"]):
        noted = _renew_notes(url, gateway)
        done = "Demo data kept, with new passwords and a new token"
    else:
        noted, done = {**noted, "url": url}, "Demo data kept"
    notes.write_notes(noted)
    return f"{done}: {notes.NOTES_PATH}"


def _is_valid_token(token: str) -> bool:
    """Return False if the notes are of another database, whose token this one does not know."""
    return GatewayToken.objects.valid().of(token).exists()


def _load_demo(url: str) -> DemoNotes:
    noted = _load_in_one_transaction(url)
    # While the quarantine and the ledger are empty, so that these claims have nothing to judge.
    reattribution.work_through_claims()
    processing.process_waiting_deliveries()
    return noted


@atomic
def _load_in_one_transaction(url: str) -> DemoNotes:
    cast = DemoCast(admin=_demo_admin(), now=timezone.now())
    create_demo_companies(cast)
    gateway = Gateway.objects.create(name=DEMO_GATEWAY_NAME, check_mode=Gateway.CheckMode.ENFORCE)
    _accept_month_of_calls(gateway, cast.keys, cast.old_keys, cast.now)
    return _make_notes(url, gateway, cast.keys, cast.old_keys, by=cast.admin)


def _demo_admin() -> User:
    return create_demo_account(DEMO_ADMIN_EMAIL, name="Demo admin", is_staff=True)


def _accept_month_of_calls(
    gateway: Gateway, keys: KeysByCredential, old_keys: KeysByCredential, now: datetime
) -> None:
    window = AcceptanceWindow.for_gateway(gateway, now)
    calls = [
        call_from_transaction(posted, window)
        for posted in traffic.month_of_calls(keys, old_keys, now)
    ]
    for start in range(0, len(calls), CALLS_PER_DELIVERY):
        accept_calls(gateway, calls[start : start + CALLS_PER_DELIVERY])


def _renew_notes(url: str, gateway: Gateway) -> DemoNotes:
    """Make notes for a demo whose notes are lost.

    Keys are revealed, which is recorded. Passwords and tokens can only be replaced.
    """
    admin = _demo_admin()
    for token in gateway.tokens.filter(revoked_at=None):
        revoke_gateway_token(token=token, by=admin)
    keys, old_keys = _reveal_keys()
    return _make_notes(url, gateway, keys, old_keys, by=admin)


def _reveal_keys() -> tuple[KeysByCredential, KeysByCredential]:
    """Reveal the keys of each customer as one of its owners, within the limit of a person."""
    keys: KeysByCredential = {}
    old_keys: KeysByCredential = {}
    current = ExternalKey.objects.current(timezone.now()).filter(sealed__value__isnull=False)
    callers = _demo_credentials().filter(customer__suspended_at=None)
    for credential in callers.prefetch_related(Prefetch("keys", current)):
        owner = User.objects.filter(
            subscriber__memberships__customer=credential.customer_id,
            subscriber__memberships__role=Membership.Role.OWNER,
        ).earliest("pk")
        for key, known in zip(credential.keys.all(), (keys, old_keys), strict=False):
            known[credential.name] = credentials.reveal_key(key=key, field="value", by=owner)
    return keys, old_keys


def _make_notes(
    url: str, gateway: Gateway, keys: KeysByCredential, old_keys: KeysByCredential, *, by: User
) -> DemoNotes:
    _, token = issue_gateway_token(
        gateway=gateway, name="make run", scopes=GatewayToken.Scope.values, by=by
    )
    (admin,) = _set_shared_password([by.email])
    people = Subscriber.objects.filter(customers__external_key__in=DEMO_CUSTOMER_KEYS).distinct()
    return DemoNotes(
        url=url,
        admin=admin,
        subscribers=_set_shared_password(people.order_by("pk").values_list("email", flat=True)),
        gateway=DemoGatewayAccess(name=gateway.name, token=token),
        credentials=list(_callers_with_keys(keys, old_keys)),
    )


def _set_shared_password(emails: Collection[str]) -> list[DemoAccount]:
    """Give these users one new password, and return their accounts."""
    # One for all: hashing each would take seconds, as it takes long on purpose.
    password = "-".join(
        "".join(secrets.choice(PASSWORD_LETTERS) for _ in range(4)) for _ in range(3)
    )
    User.objects.filter(email__in=emails).update(password=make_password(password))
    return [DemoAccount(email=email, password=password) for email in emails]


def _callers_with_keys(keys: KeysByCredential, old_keys: KeysByCredential) -> Iterator[DemoCaller]:
    now = timezone.now()
    for credential in _demo_credentials().select_related("customer"):
        assignment = credential.assignments.at(now).select_related("subscription").last()
        if credential.name in keys and assignment:
            yield DemoCaller(
                name=credential.name,
                external_key=keys[credential.name],
                old_key=old_keys.get(credential.name),
                customer=credential.customer.external_key,
                customer_name=credential.customer.name,
                subscription=assignment.subscription.external_key,
                subscription_name=assignment.subscription.name,
            )


def _demo_credentials() -> CredentialQuerySet:
    callers = Credential.objects.filter(
        customer__external_key__in=DEMO_CUSTOMER_KEYS, revoked_at=None
    )
    return callers.order_by("pk")
