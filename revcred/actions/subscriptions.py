"""What people do with subscriptions and the products they are to."""

from datetime import datetime

from django.db.models import Min, QuerySet
from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions.constraints import raising_on_violation
from revcred.hooks import announce_change
from revcred.models import AuditEvent, FormerName, Product, Source, Subscription, User
from revcred.models.audit import audit_difference


class SubscriptionExternalKeyInUse(Exception):
    """Another subscription has this external key in that time."""


class LastSourceOfProducts(Exception):
    """These products have no other source, and nobody has said what they count without it."""

    def __init__(self, products: list[Product]) -> None:
        super().__init__(products)
        self.products = products


class SubscriptionNotStarted(Exception):
    """The subscription has not started by then, so that it would have held for no time at all."""


@atomic
def start_subscription(*, subscription: Subscription, by: User | None) -> None:
    """Save a new one. Transactions that named it and waited are claimed.

    What has been counted under its name as another's former one follows it, as far as it reaches
    back. Raises SubscriptionExternalKeyInUse.
    """
    with raising_on_violation(
        SubscriptionExternalKeyInUse, "subscription_external_key_once_at_a_time"
    ):
        subscription.save(force_insert=True)
    AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=subscription, by=by)
    announce_change(
        f"subscription “{subscription}” was added",
        subscription=subscription,
        since=subscription.active_from if _was_name_of_another(subscription) else None,
        by=by,
    )


@atomic
def change_subscription(*, subscription: Subscription, by: User | None) -> None:
    """Save what has been changed. Usage follows a new start or end, also into the past.

    Under another external key it is still known by the one before: see `FormerName`. Raises
    SubscriptionExternalKeyInUse.
    """
    before = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
    changed = _changed_fields(before, subscription)
    if not changed:
        return
    with raising_on_violation(
        SubscriptionExternalKeyInUse, "subscription_external_key_once_at_a_time"
    ):
        subscription.save(update_fields=changed)
    values = {
        each: audit_difference(getattr(before, each), getattr(subscription, each))
        for each in changed
    }
    details = {"changed": values}
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=subscription, by=by, details=details)
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
    """Ending an ended subscription leaves its end where it was. Raises SubscriptionNotStarted."""
    at = at or timezone.now()
    locked = Subscription.objects.select_for_update(no_key=True)
    subscription.refresh_from_db(from_queryset=locked)
    if at <= subscription.active_from:
        raise SubscriptionNotStarted
    if subscription.is_active_at(at):
        subscription.active_until = at
        change_subscription(subscription=subscription, by=by)


def former_names_taken_by(*, subscription: Subscription) -> QuerySet[FormerName]:
    """Its external key, as the former name of others for whom it no longer counts."""
    return FormerName.objects.filter(
        kind=FormerName.Kind.SUBSCRIPTION,
        name=subscription.external_key,
        taken_by_id=subscription.pk,
    )


@atomic
def forget_former_name(*, subscription: Subscription, name: str, by: User | None) -> None:
    """Let a former name of it no longer count: as if it had never had it.

    Whoever had the name before, and lost it to this one, has it again.
    """
    former = subscription.former_names().filter(name=name).first()
    if former is None:
        return
    lost = FormerName.objects.filter(
        kind=FormerName.Kind.SUBSCRIPTION, name=name, taken_by_id=subscription.pk
    )
    had_it_before = list(Subscription.objects.filter(pk__in=lost.values("target_id")))
    lost.update(counts_until=former.counts_until, taken_by_id=former.taken_by_id)
    former.delete()
    details = {"changed": {"former_name": audit_difference(name, None)}}
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=subscription, by=by, details=details)
    cause = f"“{name}” no longer means “{subscription}”"
    announce_change(cause, subscription=subscription, since=subscription.active_from, by=by)
    for each in had_it_before:
        announce_change(cause, subscription=each, by=by)


@atomic
def announce_sources_changed(*, product: Product, by: User | None) -> None:
    """After the sources of a product were set: they have no moments, so they count ever since."""
    since = _first_subscription_start(product.subscriptions.all())
    announce_change(f"the sources of “{product}” were changed", product=product, since=since, by=by)


@atomic
def open_product_to_all_calls(*, product: Product, by: User | None) -> None:
    """Let a product without sources count all calls. One with sources stays restricted to them."""
    opened = Product.objects.filter(pk=product.pk, restricted=True, sources=None)
    if not opened.update(restricted=False):
        return
    product.restricted = False
    details = {"changed": {"restricted": [True, False]}}
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=product, by=by, details=details)
    since = _first_subscription_start(product.subscriptions.all())
    announce_change(f"“{product}” was opened to all calls", product=product, since=since, by=by)


@atomic
def announce_paths_changed(*, source: Source, by: User | None) -> None:
    """After the key or the path rules of a source were set.

    A call belongs to one source at most, so this concerns every product that has any.
    """
    cause = f"the paths of “{source}” were changed"
    announce_change(cause, with_sources=True, since=_first_start_with_sources(), by=by)


def products_with_only_source(*, source: Source) -> list[Product]:
    """The products that have no other source."""
    return [
        each for each in source.products.all() if not each.sources.exclude(pk=source.pk).exists()
    ]


@atomic
def delete_source(*, source: Source, by: User | None, opens: bool | None = None) -> None:
    """Delete it with its path rules; calls to it are judged again.

    `opens`: whether products that have no other source count all calls then, or none. Raises
    LastSourceOfProducts if that is not said of any.
    """
    last_of = products_with_only_source(source=source)
    if last_of and opens is None:
        raise LastSourceOfProducts(last_of)
    products = list(source.products.all())
    since = _first_start_with_sources()
    cause = f"the source “{source}” was deleted"
    details = {
        "changed": {
            "name": audit_difference(source.name, None),
            "external_key": audit_difference(source.external_key, None),
            "products": audit_difference(products, None),
            "path_rules": [[str(each) for each in source.path_rules.all()], None],
        }
    }
    AuditEvent.objects.record(AuditEvent.Verb.DELETED, target=source, by=by, details=details)
    source.delete()
    if since:
        announce_change(cause, with_sources=True, since=since, by=by)
    for product in last_of if opens else ():
        open_product_to_all_calls(product=product, by=by)


def _first_subscription_start(subscriptions: QuerySet[Subscription]) -> datetime | None:
    at: datetime | None = subscriptions.aggregate(at=Min("active_from"))["at"]
    return at


def _first_start_with_sources() -> datetime | None:
    """The start of the first subscription to a product that does not count every call."""
    return _first_subscription_start(Subscription.objects.filter(product__restricted=True))


def _was_name_of_another(subscription: Subscription) -> bool:
    former = FormerName.objects.filter(
        kind=FormerName.Kind.SUBSCRIPTION, name=subscription.external_key
    )
    return former.exclude(target_id=subscription.pk).exists()


def _changed_fields(before: Subscription, after: Subscription) -> list[str]:
    """The names of the fields that differ."""
    fields = Subscription._meta.concrete_fields
    return [
        each.name
        for each in fields
        if getattr(before, each.attname) != getattr(after, each.attname)
    ]


def _first_moment_affected(before: Subscription, after: Subscription) -> datetime | None:
    """The earliest moment at which one holds and the other does not, or None."""
    if before.external_key != after.external_key or before.product_id != after.product_id:
        return min(before.active_from, after.active_from)
    moments = []
    if before.active_from != after.active_from:
        moments.append(min(before.active_from, after.active_from))
    if before.active_until != after.active_until:
        moments.append(min(filter(None, (before.active_until, after.active_until))))
    return min(moments, default=None)
