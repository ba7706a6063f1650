"""Re-attribution of calls that name a customer, product, subscriber or credential.

A call may name its owner instead of a key. After a rename the same name may mean somebody else.
"""

from collections.abc import Iterable
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
    User,
)


def fields_named_by_calls(*, model: type[Model]) -> set[str]:
    """Return the fields of a model by which calls may name its rows."""
    if not issubclass(model, (Customer, Product, Subscriber, Credential)):
        return set()
    return {*FormerName.KINDS[model._meta.model_name or ""]}


@atomic
def give_back_name(*, target: Model, kind: FormerName.Kind, name: str) -> list[int]:
    """Take a former name away from a row, as if the row had never had it.

    Rows that had the name before, and lost it to this one, have it again. Returns their numbers.
    The caller announces the change.
    """
    lost = FormerName.objects.filter(kind=kind, name=name, taken_by_id=target.pk)
    # Read before the update, which removes what they are found by.
    numbers = list(lost.values_list("target_id", flat=True))
    former = FormerName.objects.filter(kind=kind, name=name, target_id=target.pk).first()
    # The names return to whoever lost them, with the end that this one had.
    lost.update(
        counts_until=former.counts_until if former else None,
        taken_by_id=former.taken_by_id if former else None,
    )
    if former:
        former.delete()
    return numbers


@atomic
def give_back_taken_name(*, target: Model, field: str, name: str) -> list[int]:
    """Give a name that a row took from others back to them, once the row has its old one again.

    A name that nobody lost stays a former name of the row. Returns the numbers of the others.
    """
    kinds = FormerName.KINDS.get(target._meta.model_name or "", {})
    if field not in kinds:
        return []
    kind, in_any_case = kinds[field]
    text = name.lower() if in_any_case else name
    if not FormerName.objects.filter(kind=kind, name=text, taken_by_id=target.pk).exists():
        return []
    return give_back_name(target=target, kind=kind, name=text)


@atomic
def reattribute_renamed(*, target: Any, by: User | None) -> None:
    """Announce that a saved row has a new name, so that calls which name it are judged again.

    Others who have or had the name are announced as well, because a current name wins over a former
    one.
    """
    cause = f"“{target}” is called so now"
    for each in (target, *_namesakes_of(target)):
        # Each kind is announced by what metering finds calls by: its subscriptions, or its keys.
        if isinstance(each, Product):
            since = each.subscriptions.earliest_start()
            announce_change(cause, product=each, since=since, by=by)
        elif isinstance(each, Credential):
            first = each.assignments.aggregate(at=Min("active_from"))["at"]
            announce_change(cause, credential=each, since=first, by=by)
        else:
            _announce_customers(cause, each, by)


def _announce_customers(cause: str, each: Customer | Subscriber, by: User | None) -> None:
    """Announce one subscription of each customer: calls that name the customer follow with it."""
    customers = [each] if isinstance(each, Customer) else each.customers.all()
    for customer in customers:
        subscriptions = customer.subscriptions.order_by("active_from")
        if first := subscriptions.first():
            announce_change(cause, subscription=first, since=first.active_from, by=by)


def _namesakes_of(target: Any) -> Iterable[Any]:
    """Return other rows that have, or once had, one of the target's names."""
    model = type(target)
    # All fields of the thing, not only the changed one: a former name may be any of them.
    same, former = Q(), Q()
    for field, (kind, in_any_case) in FormerName.KINDS[model._meta.model_name].items():
        if name := getattr(target, field):
            same |= Q(**{f"{field}__iexact" if in_any_case else field: name})
            former |= Q(kind=kind, name=name.lower() if in_any_case else name)
    # Former names refer to rows by number, without a foreign key.
    numbers = FormerName.objects.filter(former).values("target_id")
    found: QuerySet[Any] = model._base_manager.filter(same | Q(pk__in=numbers)).exclude(
        pk=target.pk
    )
    # Names of credentials are unique only within their customer.
    if model is Credential:
        found = found.filter(customer=target.customer_id)
    return found.order_by("pk")
