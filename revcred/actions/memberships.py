"""New members: on record, and told to them and to the customer's owners."""

from typing import Any

from revcred.models import AuditEvent, Credential, Customer, Membership, Subscriber, User
from revcred.outbox import notify_owners, queue_mail, site_name

MAX_CUSTOMERS_OF_MEMBER = 5
OPERATOR_NAME = "the operator"  # in mails, of what nobody who signs in did


def record_new_member(
    *, membership: Membership, by: User | None, credential: Credential | None = None
) -> None:
    """Record that somebody became a member, as a holder or otherwise, and tell the owners."""
    customers = other_customers(membership.subscriber, membership.customer)
    details: dict[str, Any] = {"role": membership.role}
    if credential:
        details["as_holder_of"] = str(credential)
    if customers:
        details["belongs_to_as_well"] = customers
    AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=membership, by=by, details=details)
    context = {"membership": membership, "by": by or OPERATOR_NAME, "site": site_name(None)}
    notify_owners(membership.customer, "emails/new_member", context, actor=by)


def notify_new_member(*, membership: Membership, by: User | None) -> None:
    """Tell a new member where that person belongs from now on."""
    context = {"membership": membership, "by": by or OPERATOR_NAME}
    queue_mail("emails/became_member", membership.subscriber.email, context)


def other_customers(subscriber: Subscriber, customer: Customer) -> list[str]:
    """Return the names of customers, but this one, that a person belongs to: the first of them."""
    others = subscriber.memberships.exclude(customer=customer)
    names = others.order_by("customer__name").values_list("customer__name", flat=True)
    return list(names[:MAX_CUSTOMERS_OF_MEMBER])


def describe_new_member(subscriber: Subscriber, customer: Customer) -> str:
    """Say who would become a member of the customer, of which mail domain, and who else's it is."""
    domain = subscriber.email.rpartition("@")[2]
    others = other_customers(subscriber, customer)
    belongs = f"belongs to {', '.join(others)}" if others else "belongs to no customer"
    return f"{subscriber.email} becomes a member of {customer}: mail domain {domain}, {belongs}."
