"""Memberships of customers: changes of a role, their records, and mails to those concerned."""

from typing import Any

from django.db.transaction import atomic
from django.utils.translation import gettext

from revcred.models import AuditEvent, AuditVerb, Credential, Customer, Membership, Subscriber, User
from revcred.outbox import notify_owners, queue_mail
from revcred.texts import gettext_lazy

MAX_CUSTOMERS_OF_MEMBER = 5
# Mails name whoever acted; actions of the command line have no user.
OPERATOR_NAME = gettext_lazy("the operator")


def announce_new_member(
    *,
    membership: Membership,
    by: User | None,
    credential: Credential | None = None,
    address: str | None = None,
) -> None:
    """Record a new membership, and tell the member and the customer's owners.

    Every page and action that adds a member calls this. `credential`: the credential whose new
    holder became a member by it. `address`: IP address that `by` is signed in from.
    """
    record_new_member(membership=membership, by=by, credential=credential, address=address)
    notify_new_member(membership=membership, by=by, credential=credential)


def record_new_member(
    *,
    membership: Membership,
    by: User | None,
    credential: Credential | None = None,
    address: str | None = None,
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
    AuditEvent.objects.record(
        AuditVerb.CREATED, target=membership, by=by, details=details, address=address
    )
    context = {"membership": membership, "by": by or OPERATOR_NAME}
    notify_owners(membership.customer, "emails/new_member", context, actor=by)


def notify_new_member(
    *, membership: Membership, by: User | None, credential: Credential | None = None
) -> None:
    """Tell a new member by mail which customer the person belongs to from now on."""
    context = {
        "membership": membership,
        "by": by or OPERATOR_NAME,
        "is_holder": credential is not None,
    }
    # To the subscriber's address: the person may have no login yet.
    queue_mail("emails/became_member", membership.subscriber.email, context)


@atomic
def change_membership_role(
    *, membership: Membership, role: str, by: User | None, address: str | None = None
) -> None:
    """Give a member another role, record it, and tell the customer's owners."""
    # Read again under a lock: the old role goes on record, and two changes may come at once.
    locked = Membership.objects.select_for_update(no_key=True)
    membership.refresh_from_db(fields=["role"], from_queryset=locked)
    old, membership.role = membership.role, role
    membership.save(update_fields=["role"])
    record_role_changed(membership=membership, old=old, by=by, address=address)


def record_role_changed(
    *, membership: Membership, old: str, by: User | None, address: str | None = None
) -> None:
    """Record a changed role of a membership, and tell the customer's owners."""
    if membership.role == old:
        return
    details = {"role": f"{old} → {membership.role}", "undo": {"role": [old, membership.role]}}
    AuditEvent.objects.record(
        AuditVerb.ROLE_CHANGED, target=membership, by=by, details=details, address=address
    )
    context = {
        "membership": membership,
        "old": Membership.Role(old).label,
        "by": by or OPERATOR_NAME,
    }
    notify_owners(membership.customer, "emails/new_role", context, actor=by)


def record_membership_ended(
    *, membership: Membership, by: User | None, address: str | None = None
) -> None:
    """Record the end of a membership that is deleted, and tell the person and the owners."""
    details = {"role": membership.role}
    AuditEvent.objects.record(
        AuditVerb.DELETED, target=membership, by=by, details=details, address=address
    )
    context = {"membership": membership, "by": by or OPERATOR_NAME}
    notify_owners(membership.customer, "emails/member_left", context, actor=by)
    queue_mail("emails/no_member", membership.subscriber.email, context)


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
    # Whoever is added by mistake often has an address of another company.
    expected = {each.lower() for each in customer.email_domains}
    if expected and domain.lower() not in expected:
        domain = gettext("%(domain)s, which is none of its own (%(expected)s)") % {
            "domain": domain,
            "expected": ", ".join(sorted(expected)),
        }
    others = other_customers(subscriber, customer)
    belongs = (
        gettext("belongs to %(others)s") % {"others": ", ".join(others)}
        if others
        else gettext("belongs to no customer")
    )
    return gettext(
        "%(email)s becomes a member of %(customer)s: mail domain %(domain)s, %(belongs)s."
    ) % {"email": subscriber.email, "customer": customer, "domain": domain, "belongs": belongs}
