"""What people do with subscriptions and the products they are to."""

from datetime import datetime

from django.db.transaction import atomic
from django.utils import timezone

from revcred.links import announce
from revcred.models import AuditEvent, Product, Source, Subscription, User


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
    details = {"changed": changed}
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
    """After the sources of a product were set: what waits may fit it now."""
    announce(f"the sources of “{product}” were changed", product=product, by=by)


@atomic
def paths_changed(*, source: Source, by: User | None) -> None:
    """After the rules of a source were set: what waits may belong to a product that has it."""
    for product in source.products.all():
        announce(f"the paths of “{source}” were changed", product=product, by=by)


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
