"""Actions on subscriptions, and on products and sources as far as they decide whose a call is."""

from datetime import datetime

from django.db.models import QuerySet
from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import names
from revcred.actions.constraints import raising_on_violation
from revcred.hooks import announce_change
from revcred.models import (
    AuditEvent,
    AuditVerb,
    FormerName,
    PathRule,
    Product,
    Source,
    Subscription,
    User,
)
from revcred.models.audit import audit_difference


class SubscriptionExternalKeyInUse(Exception):
    """Another subscription has this external key in the same period."""


class LastSourceOfProducts(Exception):
    """Products have no other source, and nobody chose what they count without it."""

    def __init__(self, products: list[Product]) -> None:
        super().__init__(products)
        self.products = products


class SubscriptionNotStarted(Exception):
    """The subscription starts later, so it would never have been active."""


@atomic
def start_subscription(*, subscription: Subscription, by: User | None) -> None:
    """Save a new subscription, and attribute transactions that named it and waited.

    Calls counted under its external key as another subscription's former one follow it, from its
    start. Raises SubscriptionExternalKeyInUse.
    """
    with raising_on_violation(
        SubscriptionExternalKeyInUse, "subscription_external_key_once_at_a_time"
    ):
        subscription.save(force_insert=True)
    AuditEvent.objects.record(AuditVerb.CREATED, target=subscription, by=by)
    announce_change(
        f"subscription “{subscription}” was added",
        subscription=subscription,
        since=subscription.active_from if _was_name_of_another(subscription) else None,
        by=by,
    )


@atomic
def change_subscription(*, subscription: Subscription, by: User | None) -> None:
    """Save the changed fields. A changed start or end re-attributes usage, also in the past.

    Calls under its former external key go on counting: see `FormerName`. Raises
    SubscriptionExternalKeyInUse.
    """
    before = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
    changed = _changed_fields(before, subscription)
    # Saving an unchanged form leaves no event behind.
    if not changed:
        return
    with raising_on_violation(
        SubscriptionExternalKeyInUse, "subscription_external_key_once_at_a_time"
    ):
        subscription.save(update_fields=changed)
    values = {
        name: audit_difference(getattr(before, name), getattr(subscription, name))
        for name in changed
    }
    details = {"changed": values}
    AuditEvent.objects.record(AuditVerb.CHANGED, target=subscription, by=by, details=details)
    since = _first_moment_affected(before, subscription)
    if since:
        announce_change(
            f"subscription “{subscription}” was changed",
            subscription=subscription,
            since=since,
            by=by,
        )


@atomic
def end_subscription(
    *, subscription: Subscription, by: User | None, at: datetime | None = None
) -> None:
    """End a subscription. One that has ended keeps its end. Raises SubscriptionNotStarted."""
    at = at or timezone.now()
    locked = Subscription.objects.select_for_update(no_key=True)
    subscription.refresh_from_db(from_queryset=locked)
    if at <= subscription.active_from:
        raise SubscriptionNotStarted
    if subscription.is_active_at(at):
        subscription.active_until = at
        change_subscription(subscription=subscription, by=by)


def former_names_taken_by(*, subscription: Subscription) -> QuerySet[FormerName]:
    """Return its external key as former name of others, for whom it no longer counts."""
    return FormerName.objects.filter(
        kind=FormerName.Kind.SUBSCRIPTION,
        name=subscription.external_key,
        taken_by_id=subscription.pk,
    )


@atomic
def forget_former_name(*, subscription: Subscription, name: str, by: User | None) -> None:
    """Forget a former external key of the subscription, as if it had never had it.

    Whoever had the key before, and lost it to this subscription, has it again.
    """
    if not subscription.former_names().filter(name=name).exists():
        return
    had_it_before = names.give_back_name(
        target=subscription, kind=FormerName.Kind.SUBSCRIPTION, name=name
    )
    details = {"changed": {"former_name": audit_difference(name, None)}}
    AuditEvent.objects.record(AuditVerb.CHANGED, target=subscription, by=by, details=details)
    cause = f"“{name}” no longer means “{subscription}”"
    announce_change(cause, subscription=subscription, since=subscription.active_from, by=by)
    for each in Subscription.objects.filter(pk__in=had_it_before):
        announce_change(cause, subscription=each, by=by)


@atomic
def announce_sources_changed(*, product: Product, by: User | None) -> None:
    """Announce that a product's sources were set.

    Sources have no period, so calls of all time are judged again.
    """
    since = product.subscriptions.earliest_start()
    announce_change(f"the sources of “{product}” were changed", product=product, since=since, by=by)


@atomic
def open_product_to_all_calls(*, product: Product, by: User | None) -> None:
    """Let a product without sources count all calls. One with sources stays restricted."""
    # One UPDATE with all conditions: it does nothing if sources were added meanwhile.
    opened = Product.objects.filter(pk=product.pk, restricted=True, sources=None)
    if not opened.update(restricted=False):
        return
    product.restricted = False
    details = {"changed": {"restricted": [True, False]}}
    AuditEvent.objects.record(AuditVerb.CHANGED, target=product, by=by, details=details)
    since = product.subscriptions.earliest_start()
    announce_change(f"“{product}” was opened to all calls", product=product, since=since, by=by)


@atomic
def announce_paths_changed(*, source: Source, by: User | None) -> None:
    """Announce that the external key or the path rules of a source were set.

    A call belongs to one source at most, so this concerns every product that has any.
    """
    cause = f"the paths of “{source}” were changed"
    announce_change(cause, with_sources=True, since=_first_start_with_sources(), by=by)


@atomic
def switch_off_slow_path_rule(*, rule: PathRule, reason: str) -> bool:
    """Switch off a path rule that holds up attribution. Return False if somebody has already.

    What was attributed by it stays until it is switched on, and is judged again then.
    """
    on = PathRule.objects.filter(pk=rule.pk, text=rule.text, switched_off=False)
    if not on.update(switched_off=True, found_slow_at=timezone.now()):
        return False
    AuditEvent.objects.record(
        AuditVerb.SWITCHED_OFF,
        target=rule.source,
        by=None,
        details={"path_rule": str(rule), "reason": reason},
    )
    return True


def products_with_only_source(*, source: Source) -> list[Product]:
    """Return the products that have no other source."""
    return [
        product
        for product in source.products.all()
        if not product.sources.exclude(pk=source.pk).exists()
    ]


@atomic
def delete_source(*, source: Source, by: User | None, opens: bool | None = None) -> None:
    """Delete a source with its path rules, and judge calls to it again.

    `opens`: True lets products without another source count all calls from then on, False none.
    Raises LastSourceOfProducts if there are such products and `opens` is None.
    """
    # Without its last source a product would silently count every call, or none.
    last_of = products_with_only_source(source=source)
    if last_of and opens is None:
        raise LastSourceOfProducts(last_of)
    # Read before the deletion, which removes the relation.
    products = list(source.products.all())
    since = _first_start_with_sources()
    cause = f"the source “{source}” was deleted"
    details = {
        "changed": {
            "name": audit_difference(source.name, None),
            "external_key": audit_difference(source.external_key, None),
            "products": audit_difference(products, None),
            "path_rules": [[str(rule) for rule in source.path_rules.all()], None],
        }
    }
    AuditEvent.objects.record(AuditVerb.DELETED, target=source, by=by, details=details)
    source.delete()
    if since:
        announce_change(cause, with_sources=True, since=since, by=by)
    for product in last_of if opens else ():
        open_product_to_all_calls(product=product, by=by)


def _first_start_with_sources() -> datetime | None:
    """Return the start of the first subscription to a product that does not count every call."""
    return Subscription.objects.filter(product__restricted=True).earliest_start()


def _was_name_of_another(subscription: Subscription) -> bool:
    former = FormerName.objects.filter(
        kind=FormerName.Kind.SUBSCRIPTION, name=subscription.external_key
    )
    return former.exclude(target_id=subscription.pk).exists()


def _changed_fields(before: Subscription, after: Subscription) -> list[str]:
    """Return the names of the fields that differ."""
    fields = Subscription._meta.concrete_fields
    return [
        field.name
        for field in fields
        if getattr(before, field.attname) != getattr(after, field.attname)
    ]


def _first_moment_affected(before: Subscription, after: Subscription) -> datetime | None:
    """Return the earliest moment that is attributed differently after the change, or None."""
    # Another name or product changes every call of the subscription, whenever it was made.
    if before.external_key != after.external_key or before.product_id != after.product_id:
        return min(before.active_from, after.active_from)
    moments = []
    if before.active_from != after.active_from:
        moments.append(min(before.active_from, after.active_from))
    if before.active_until != after.active_until:
        moments.append(min(filter(None, (before.active_until, after.active_until))))
    return min(moments, default=None)
