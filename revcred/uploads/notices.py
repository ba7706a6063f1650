"""Mails about memberships and keys that an upload changed: one for each person and upload."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from revcred.actions.memberships import OPERATOR_NAME
from revcred.models import Membership, Upload
from revcred.outbox import queue_mails

# Longer mails would not be read, and a list may change thousands of memberships.
MAX_LINES_PER_MAIL = 20

# in: changes of an upload; out: memberships that began or got another role, as they are now
CHANGED_MEMBERSHIPS_QUERY = """
SELECT
    m.customer_id, o.name AS customer, p.id AS person, p.email, p.name, m.role,
    c.before ->> 'role' AS old_role
FROM revcred_uploadchange c
JOIN revcred_membership m ON m.id = c.target_id
JOIN revcred_customer o ON o.id = m.customer_id
JOIN revcred_subscriber p ON p.id = m.subscriber_id
WHERE c.upload_id = %s AND c.target_type = 'revcred.membership'
ORDER BY o.name, m.role = 'owner' DESC, p.email
"""
# in: changes of an upload; out: keys that another customer has since, with old and new owner
MOVED_KEYS_QUERY = """
SELECT old.customer_id, had.name, old.name, k.customer_id, has.name, k.name, x.hint
FROM revcred_uploadchange c
JOIN revcred_externalkey x ON x.id = (c.links ->> 'taken')::bigint
JOIN revcred_credential old ON old.id = x.credential_id
JOIN revcred_customer had ON had.id = old.customer_id
JOIN revcred_credential k ON k.id = c.target_id
JOIN revcred_customer has ON has.id = k.customer_id
WHERE c.upload_id = %s AND c.links ? 'taken' AND old.customer_id <> k.customer_id
ORDER BY k.name
"""


@dataclass(frozen=True)
class ChangedMembership:
    customer_id: int
    customer: str
    person: int
    email: str
    name: str
    role: str
    old_role: str | None

    @property
    def line(self) -> str:
        """Line for the owners of the customer."""
        label = Membership.Role(self.role).label.lower()
        if self.old_role:
            return f"{self.email} is {label} of {self.customer}, and was {self.old_role} before"
        return f"{self.email} is {label} of {self.customer}, and did not belong to it before"


@dataclass
class UploadNotice:
    """The mail to one person about an upload."""

    email: str
    name: str
    joined: list[str] = field(default_factory=list)  # the person's own new roles
    lines: list[str] = field(default_factory=list)  # changes at customers that the person owns

    def context(self, by: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "by": by,
            "joined": self.joined[:MAX_LINES_PER_MAIL],
            "more_joined": max(len(self.joined) - MAX_LINES_PER_MAIL, 0),
            "lines": self.lines[:MAX_LINES_PER_MAIL],
            "more_lines": max(len(self.lines) - MAX_LINES_PER_MAIL, 0),
        }


def queue_upload_notices(upload: Upload) -> int:
    """Queue a mail to each new member, and to owners of customers whose members or keys changed.

    Belongs to the transaction in which the upload ends. Return the number of mails.
    """
    with connection.cursor() as cursor:
        cursor.execute(CHANGED_MEMBERSHIPS_QUERY, [upload.pk])
        members = [ChangedMembership(*row) for row in cursor.fetchall()]
        cursor.execute(MOVED_KEYS_QUERY, [upload.pk])
        keys = cursor.fetchall()
    notices: dict[int, UploadNotice] = {}
    for member in members:
        notice = notices.setdefault(member.person, UploadNotice(member.email, member.name))
        notice.joined.append(f"{Membership.Role(member.role).label.lower()} of {member.customer}")
    _add_owners(notices, upload, members, keys)
    by = str(upload.applied_by) if upload.applied_by else OPERATOR_NAME
    mails = ((each.email, each.context(by)) for each in notices.values())
    return queue_mails("emails/list_applied", mails)


def _add_owners(
    notices: dict[int, UploadNotice],
    upload: Upload,
    members: list[ChangedMembership],
    keys: list[tuple[Any, ...]],
) -> None:
    """Add lines for owners, except those who became owners by this list: that is in `joined`."""
    lines: dict[int, list[str]] = defaultdict(list)
    for member in members:
        lines[member.customer_id].append(member.line)
    for had, had_customer, had_name, has, has_customer, has_name, hint in keys:
        # One customer must not learn the name of another.
        lines[had].append(
            f"the key …{hint} of “{had_name}” at {had_customer} belongs to another customer"
        )
        lines[has].append(
            f"the key …{hint} belongs to {has_customer}, as “{has_name}”, and belonged to another"
            " customer before"
        )
    by_list = {(member.customer_id, member.person) for member in members if member.role == "owner"}
    owners = Membership.objects.filter(
        customer__in=lines,
        role=Membership.Role.OWNER,
        subscriber__user__is_active=True,
    ).select_related("subscriber__user")
    for owner in owners.order_by("customer__name"):
        person = owner.subscriber
        is_told = (owner.customer_id, person.pk) not in by_list
        # The person who applied the list knows what is in it.
        if is_told and person.user and person.user != upload.applied_by:
            email = person.user.email
            notice = notices.setdefault(person.pk, UploadNotice(email, person.name))
            # Mail goes to the address of the login, which may differ from the subscriber's.
            notice.email = email
            notice.lines += lines[owner.customer_id]
