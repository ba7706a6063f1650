"""Records and mails about new members of a customer."""

from typing import Any

from revcred.models import AuditEvent, AuditVerb, Credential, Customer, Membership, Subscriber, User
from revcred.outbox import notify_owners, queue_mail, site_name

MAX_CUSTOMERS_OF_MEMBER = 5
# Mails name whoever acted; actions of the command line have no user.
OPERATOR_NAME = "the operator"


def record_new_member(
    *, membership: Membership, by: User | None, credential: Credential | None = None
) -> None:
    """Record a new membership, and tell the customer's owners.

    `credential`: the credential whose new holder became a member by it.
    """
    customers = other_customers(membership.subscriber, membership.customer)
    details: dict[str, Any] = {"role": membership.role}
    if credential:
        details["as_holder_of"] = str(credential)
    if customers:
        details["belongs_to_as_well"] = customers
    AuditEvent.objects.record(AuditVerb.CREATED, target=membership, by=by, details=details)
    context = {"membership": membership, "by": by or OPERATOR_NAME, "site": site_name(None)}
    notify_owners(membership.customer, "emails/new_member", context, actor=by)


def notify_new_member(*, membership: Membership, by: User | None) -> None:
    """Tell a new member by mail which customer the person belongs to from now on."""
    context = {"membership": membership, "by": by or OPERATOR_NAME}
    # To the subscriber's address: the person may have no login yet.
    queue_mail("emails/became_member", membership.subscriber.email, context)


def other_customers(subscriber: Subscriber, customer: Customer) -> list[str]:
    """Return the names of further customers that a person belongs to, at most
    MAX_CUSTOMERS_OF_MEMBER.
    """
    others = subscriber.memberships.exclude(customer=customer)
    names = others.order_by("customer__name").values_list("customer__name", flat=True)
    return list(names[:MAX_CUSTOMERS_OF_MEMBER])


def describe_new_member(subscriber: Subscriber, customer: Customer) -> str:
    """Return a sentence on who would become a member, at which mail domain, and where else a
    member.
    """
    domain = subscriber.email.rpartition("@")[2]
    others = other_customers(subscriber, customer)
    belongs = f"belongs to {', '.join(others)}" if others else "belongs to no customer"
    return f"{subscriber.email} becomes a member of {customer}: mail domain {domain}, {belongs}."
