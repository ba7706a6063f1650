"""Just-in-time provisioning: create customers and more that calls name and nobody has entered.

Only where the setting says so. Each creation is recorded in the audit.
"""

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TypeVar
from uuid import uuid4

from cachetools import LRUCache
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import connection
from django.db.models import Max, Model, Q
from django.db.transaction import atomic
from django.utils import timezone

from metering.inbox.calls import Call, call_without_secrets
from metering.inbox.redaction import WithheldSecrets
from metering.locks import PROVISIONING_LOCK
from revcred.actions import credentials, memberships, subscriptions
from revcred.actions.credentials import NewKey
from revcred.fingerprints import fingerprint, hint
from revcred.models import (
    AuditEvent,
    Customer,
    ExternalKey,
    FormerName,
    Gateway,
    Membership,
    Product,
    Subscriber,
    Subscription,
)
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS

MAX_CACHED_PROVISIONED = 10_000

NamedModel = TypeVar("NamedModel", bound=Model)

_provisioned: LRUCache[tuple[str | None, ...], None] = LRUCache(MAX_CACHED_PROVISIONED)
_provisioned_lock = Lock()


def provision_named_in_calls(calls: Iterable[Call], withheld: WithheldSecrets) -> None:
    """Create what the calls name and does not exist yet, if provisioning is switched on."""
    if not settings.AUTO_PROVISION:
        return
    for call in calls:
        if call.names and not call.subscription_named:
            names = call_without_secrets(call, withheld).names or {}
            provision(names, key=call.key.text if call.key else None)


def provision(names: Mapping[str, str], *, key: str | None) -> None:
    """Create what is missing of customer, product, subscriber, subscription and credential.

    Without the name of a customer nothing is created, since it would belong to nobody.
    """
    asked = (
        *(names.get(kind) for kind in ("customer", "product", "subscriber", "credential")),
        str(fingerprint(key)) if key else None,
    )
    if asked in _provisioned or not names.get("customer"):
        return
    # Calls with the same new name often come at the same moment, from several processes.
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROVISIONING_LOCK])
        _provision_missing(names, key)
    # After the commit: what failed is tried again with the next call.
    with _provisioned_lock:
        _provisioned[asked] = None


def forget_provisioned() -> None:
    """Empty the cache, so that the next call with a name asks the database."""
    with _provisioned_lock:
        _provisioned.clear()


def _provision_missing(names: Mapping[str, str], key: str | None) -> None:
    # A known key decides whose the call is, whatever names stand beside it.
    if key and ExternalKey.objects.filter(fingerprint=fingerprint(key)).exists():
        return
    customer = _find_or_create_by_name(Customer, names["customer"])
    product = _find_or_create_by_name(Product, names["product"]) if "product" in names else None
    subscriber = (
        _find_or_create_subscriber(customer, names["subscriber"]) if "subscriber" in names else None
    )
    subscription = _find_or_create_subscription(customer, product) if product else None
    if key or "credential" in names:
        name = names.get("credential") or f"Key …{hint(key or '')}"
        _provision_credential(customer, name, key, subscription, subscriber)


def _find_or_create_by_name(model: type[NamedModel], name: str) -> NamedModel:
    """Return the object with this name, or that had it last, or else a new one."""
    objects = model._base_manager
    found = objects.filter(Q(external_key=name) | Q(name__iexact=name)).order_by("pk").first()
    if found is None:
        found = objects.filter(pk__in=FormerName.objects.holder(model, name)).first()
    if found is None:
        external_key = name
        if len(name) > MAX_EXTERNAL_KEY_CHARACTERS:
            external_key = f"{name[:180]}/{uuid4().hex[:8]}"
        found = objects.create(name=name, external_key=external_key)
        _record_provisioned(found)
    return found


def _find_or_create_subscriber(customer: Customer, email: str) -> Subscriber | None:
    """Return a subscriber of the customer, or None.

    None for a new name that is no e-mail address, and for a subscriber of other customers only: a
    gateway must not make them members here, or holders of a key.
    """
    known = Q(email__iexact=email) | Q(external_key=email)
    subscriber = (
        Subscriber.objects.filter(known).first()
        or Subscriber.objects.filter(pk__in=FormerName.objects.holder(Subscriber, email)).first()
    )
    if subscriber is None:
        try:
            validate_email(email)
        except ValidationError:
            return None
        subscriber = Subscriber.objects.create(email=email)
        _record_provisioned(subscriber)
    belongs_to = {*subscriber.memberships.values_list("customer", flat=True)}
    if not belongs_to:
        membership = Membership.objects.create(customer=customer, subscriber=subscriber)
        memberships.record_new_member(membership=membership, by=None)
    return subscriber if not belongs_to or customer.pk in belongs_to else None


def _find_or_create_subscription(customer: Customer, product: Product) -> Subscription:
    """Return the customer's present subscription to the product, or a new one.

    A new one begins at the earliest acceptable moment, so that waiting transactions are
    attributed to it, but not while another subscription had its name.
    """
    found = customer.subscriptions.at(timezone.now()).filter(product=product).first()
    if found is None:
        name = f"{customer.external_key}/{product.external_key}"[:MAX_EXTERNAL_KEY_CHARACTERS]
        with_name = Subscription.objects.filter(external_key=name)
        begins = Gateway.objects.oldest_accepted_moment(timezone.now())
        # The name may be taken: by a subscription to another product, or one that is yet to begin.
        if with_name.not_ended_at(timezone.now()).exists():
            name = f"{name[:180]}/{uuid4().hex[:8]}"
        elif taken_until := with_name.aggregate(at=Max("active_until"))["at"]:
            begins = max(begins, taken_until)
        found = Subscription(
            customer=customer, product=product, external_key=name, active_from=begins
        )
        subscriptions.start_subscription(subscription=found, by=None)
    return found


def _provision_credential(
    customer: Customer,
    name: str,
    key: str | None,
    subscription: Subscription | None,
    subscriber: Subscriber | None,
) -> None:
    """Issue a credential of this name, or add the key to the one there is.

    A revoked credential is not replaced just because a call names it. Only a call with a new key
    gets a new credential of the same name.
    """
    same_name = customer.credentials.filter(name__iexact=name)
    credential = same_name.filter(revoked_at=None).first()
    if credential is None and (key or not same_name.exists()):
        credentials.issue_credential(
            customer=customer,
            name=name,
            new_key=NewKey(
                key=key, active_from=Gateway.objects.oldest_accepted_moment(timezone.now())
            ),
            subscriptions=[subscription] if subscription else [],
            holders=[subscriber] if subscriber else [],
            by=None,
        )
    elif credential and key:
        credentials.add_alias(credential=credential, alias=key, by=None)


def _record_provisioned(created: Model) -> None:
    details = {"because": "a call named it"}
    AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=created, by=None, details=details)
