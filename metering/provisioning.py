"""Make what calls name and nobody knows yet, where the installation says so. It is on record."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TypeVar
from uuid import uuid4

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

MAX_CACHED_PROVISIONED = 10_000

NamedModel = TypeVar("NamedModel", bound=Model)

_provisioned: OrderedDict[tuple[str | None, ...], None] = OrderedDict()


def provision_named_in_calls(calls: Iterable[Call], withheld: WithheldSecrets) -> None:
    """Make what the calls name and nobody knows yet, if the installation wants that."""
    if not settings.CREATE_NAMED:
        return
    for call in calls:
        if call.names and not call.subscription_named:
            names = call_without_secrets(call, withheld).names or {}
            provision(names, key=call.key.text if call.key else None)


def provision(names: Mapping[str, str], *, key: str | None) -> None:
    """Whatever is missing of customer, product, subscriber, subscription and credential.

    Without a customer there is nobody it could belong to, and nothing is made.
    """
    asked = (
        *(names.get(each) for each in ("customer", "product", "subscriber", "credential")),
        str(fingerprint(key)) if key else None,
    )
    if asked in _provisioned or not names.get("customer"):
        return
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [PROVISIONING_LOCK])
        _provision_missing(names, key)
    _provisioned[asked] = None
    if len(_provisioned) > MAX_CACHED_PROVISIONED:
        _provisioned.popitem(last=False)


def forget_provisioned() -> None:
    _provisioned.clear()


def _provision_missing(names: Mapping[str, str], key: str | None) -> None:
    mark = fingerprint(key) if key else None
    if mark and ExternalKey.objects.filter(fingerprint=mark).exists():
        return  # the key says whose it is
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
    """The one of this name, or that had it last; a new one if there never was any."""
    objects = model._base_manager
    found = objects.filter(Q(external_key=name) | Q(name__iexact=name)).order_by("pk").first()
    if found is None:
        found = objects.filter(pk__in=FormerName.objects.holder(model, name)).first()
    if found is None:
        found = objects.create(name=name, external_key=name)
        _record_provisioned(found)
    return found


def _find_or_create_subscriber(customer: Customer, email: str) -> Subscriber | None:
    """A member of the customer. Who is not named by an address cannot be made.

    None of somebody else's people: a gateway makes them no members, and no holders of a key.
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
    """As old as a call may be, so that what waits is claimed, but not before its name is free."""
    found = customer.subscriptions.at(timezone.now()).filter(product=product).first()
    if found is None:
        name = f"{customer.external_key}/{product.external_key}"[:200]
        having = Subscription.objects.filter(external_key=name)
        begins = _earliest_acceptable_moment()
        if having.not_ended_at(timezone.now()).exists():
            name = f"{name[:180]}/{uuid4().hex[:8]}"  # one of another product, or yet to begin
        elif had_until := having.aggregate(at=Max("active_until"))["at"]:
            begins = max(begins, had_until)
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
    """Another of the same name that was revoked stays revoked, and none is made in its place.

    Only where a key comes that no credential ever had, the name is free for a new one.
    """
    same_name = customer.credentials.filter(name__iexact=name)
    credential = same_name.filter(revoked_at=None).first()
    if credential is None and (key or not same_name.exists()):
        credentials.issue_credential(
            customer=customer,
            name=name,
            keyed=NewKey(key=key, active_from=_earliest_acceptable_moment()),
            subscriptions=[subscription] if subscription else [],
            holders=[subscriber] if subscriber else [],
            by=None,
        )
    elif credential and key:
        credentials.add_alias(credential=credential, alias=key, by=None)


def _earliest_acceptable_moment() -> datetime:
    return timezone.now() - Gateway.objects.longest_accepted_age()


def _record_provisioned(made: Model) -> None:
    details = {"because": "a call named it"}
    AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=made, by=None, details=details)
