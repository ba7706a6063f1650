"""What people do with subscriptions and the products they are to."""

from datetime import datetime

from django.db.models import Min, QuerySet
from django.db.transaction import atomic
from django.utils import timezone

from revcred.links import announce
from revcred.models import AuditEvent, Product, Source, Subscription, User
from revcred.models.audit import difference


class NotStarted(Exception):
    """The subscription has not started by then, so that it would have held for no time at all."""


@atomic
def start(*, subscription: Subscription, by: User | None) -> None:
    """Save a new one. Transactions that named it and waited are claimed."""
    subscription.save(force_insert=True)
    AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=subscription, by=by)
    announce(f"subscription “{subscription}” was added", subscription=subscription, by=by)


@atomic
def change(*, subscription: Subscription, by: User | None) -> None:
    """Save what has been changed. Usage follows a new start or end, also into the past."""
    before = Subscription.objects.select_for_update(no_key=True).get(pk=subscription.pk)
    changed = _differences(before, subscription)
    if not changed:
        return
    subscription.save(update_fields=changed)
    values = {
        each: difference(getattr(before, each), getattr(subscription, each)) for each in changed
    }
    details = {"changed": values}
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=subscription, by=by, details=details)
    since = _first_difference(before, subscription)
    if since:
        announce(
            f"subscription “{subscription}” was changed",
            subscription=subscription,
            since=since,
            by=by,
        )


@atomic
def end(*, subscription: Subscription, by: User | None, at: datetime | None = None) -> None:
    """Ending an ended subscription leaves its end where it was. Raises NotStarted."""
    at = at or timezone.now()
    locked = Subscription.objects.select_for_update(no_key=True)
    subscription.refresh_from_db(from_queryset=locked)
    if at <= subscription.active_from:
        raise NotStarted
    if subscription.holds(at):
        subscription.active_until = at
        change(subscription=subscription, by=by)


@atomic
def sources_changed(*, product: Product, by: User | None) -> None:
    """After the sources of a product were set: they have no moments, so they count ever since."""
    since = _first_start(product.subscriptions.all())
    announce(f"the sources of “{product}” were changed", product=product, since=since, by=by)


@atomic
def paths_changed(*, source: Source, by: User | None) -> None:
    """After the key or the path rules of a source were set.

    A call belongs to one source at most, so this concerns every product that has any.
    """
    cause = f"the paths of “{source}” were changed"
    announce(cause, with_sources=True, since=_first_start_with_sources(), by=by)


@atomic
def delete_source(*, source: Source, by: User | None) -> None:
    """Delete it with its path rules; calls to it are judged again."""
    products = list(source.products.all())
    since = _first_start_with_sources()
    cause = f"the source “{source}” was deleted"
    details = {
        "changed": {
            "name": difference(source.name, None),
            "external_key": difference(source.external_key, None),
            "products": difference(products, None),
            "path_rules": [[str(each) for each in source.path_rules.all()], None],
        }
    }
    AuditEvent.objects.record(AuditEvent.Verb.DELETED, target=source, by=by, details=details)
    source.delete()
    if since is None:  # no subscription's product had a source
        return
    announce(cause, with_sources=True, since=since, by=by)
    for product in products:  # one that has no source any more is none of those
        if not product.sources.exists():
            announce(cause, product=product, since=since, by=by)


def _first_start(subscriptions: QuerySet[Subscription]) -> datetime | None:
    at: datetime | None = subscriptions.aggregate(at=Min("active_from"))["at"]
    return at


def _first_start_with_sources() -> datetime | None:
    """The start of the first subscription to a product that has sources."""
    with_sources = Product.sources.through.objects.values("product")
    return _first_start(Subscription.objects.filter(product__in=with_sources))


def _differences(before: Subscription, after: Subscription) -> list[str]:
    """The names of the fields that differ."""
    fields = Subscription._meta.concrete_fields
    return [
        each.name
        for each in fields
        if getattr(before, each.attname) != getattr(after, each.attname)
    ]


def _first_difference(before: Subscription, after: Subscription) -> datetime | None:
    """The earliest moment at which one holds and the other does not, or None."""
    if before.external_key != after.external_key or before.product_id != after.product_id:
        return min(before.active_from, after.active_from)
    moments = []
    if before.active_from != after.active_from:
        moments.append(min(before.active_from, after.active_from))
    if before.active_until != after.active_until:
        moments.append(min(filter(None, (before.active_until, after.active_until))))
    return min(moments, default=None)
