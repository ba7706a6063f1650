"""Judge calls again that name a customer, product, subscriber or credential by a changed name."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Min, Model, Q, QuerySet
from django.db.transaction import atomic

from revcred.hooks import announce_change
from revcred.models import (
    Credential,
    Customer,
    FormerName,
    Product,
    Subscriber,
    Subscription,
    User,
)


def fields_named_by_calls(*, model: type[Model]) -> set[str]:
    """The fields that calls name it by, of what is judged again by `reattribute_renamed`."""
    if not issubclass(model, (Customer, Product, Subscriber, Credential)):
        return set()
    return {*FormerName.KINDS[model._meta.model_name or ""]}


@atomic
def reattribute_renamed(*, target: Any, by: User | None) -> None:
    """After it was saved under a new name: what names it may have another owner now.

    That concerns others, too, who have or had this name: whoever has it now comes before those.
    """
    cause = f"“{target}” is called so now"
    for each in (target, *_namesakes_of(target)):
        if isinstance(each, Product):
            since = _earliest_start(each.subscriptions.all())
            announce_change(cause, product=each, since=since, by=by)
        elif isinstance(each, Credential):
            first = each.assignments.aggregate(at=Min("active_from"))["at"]
            announce_change(cause, credential=each, since=first, by=by)
        else:
            _announce_customers(cause, each, by)


def _announce_customers(cause: str, each: Customer | Subscriber, by: User | None) -> None:
    """By one subscription of each: what names its customer is judged again with it."""
    customers = [each] if isinstance(each, Customer) else each.customers.all()
    for customer in customers:
        subscriptions = customer.subscriptions.order_by("active_from")
        if first := subscriptions.first():
            announce_change(cause, subscription=first, since=first.active_from, by=by)


def _namesakes_of(target: Any) -> Iterable[Any]:
    model = type(target)
    same, former = Q(), Q()
    for field, (kind, in_any_case) in FormerName.KINDS[model._meta.model_name].items():
        if name := getattr(target, field):
            same |= Q(**{f"{field}__iexact" if in_any_case else field: name})
            former |= Q(kind=kind, name=name.lower() if in_any_case else name)
    numbers = FormerName.objects.filter(former).values("target_id")
    found: QuerySet[Any] = model._base_manager.filter(same | Q(pk__in=numbers)).exclude(
        pk=target.pk
    )
    if model is Credential:
        found = found.filter(customer=target.customer_id)
    return found.order_by("pk")


def _earliest_start(subscriptions: QuerySet[Subscription]) -> datetime | None:
    at: datetime | None = subscriptions.aggregate(at=Min("active_from"))["at"]
    return at
