"""Mails about memberships and keys that an upload changed: one for each person and upload."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext, gettext_noop

from revcred.actions.memberships import OPERATOR_NAME
from revcred.languages import within_sentence
from revcred.models import Membership, Upload, User
from revcred.outbox import queue_mails
from revcred.uploads.plans.plan import UNDONE_TABLE
from revcred.uploads.staging import decode_json_column

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
JOIN revcred_externalkey x ON x.id = (c.undo_data ->> 'taken')::bigint
JOIN revcred_credential old ON old.id = x.credential_id
JOIN revcred_customer had ON had.id = old.customer_id
JOIN revcred_credential k ON k.id = c.target_id
JOIN revcred_customer has ON has.id = k.customer_id
WHERE c.upload_id = %s AND c.undo_data ? 'taken' AND old.customer_id <> k.customer_id
ORDER BY k.name
"""


# Undoing deletes memberships and keys. What the mails need of them is noted before, in the undo
# data of each change.
# in: changes that are undone in this transaction; out: their memberships and roles, noted
NOTE_UNDONE_MEMBERSHIPS = f"""
UPDATE revcred_uploadchange c SET undo_data = coalesce(c.undo_data, '{{}}') || jsonb_build_object(
    'undone', jsonb_build_object(
        'customer_id', m.customer_id, 'customer', o.name, 'person', p.id, 'email', p.email,
        'name', p.name, 'role', c.before ->> 'role', 'old_role', m.role
    )
)
FROM {UNDONE_TABLE} u
JOIN revcred_membership m ON m.id = u.target_id
JOIN revcred_customer o ON o.id = m.customer_id
JOIN revcred_subscriber p ON p.id = m.subscriber_id
WHERE c.id = u.id AND u.target_type = 'revcred.membership'
"""
# in: changes that are undone in this transaction; out: keys with both owners, noted
NOTE_UNDONE_KEYS = f"""
UPDATE revcred_uploadchange c SET undo_data = c.undo_data || jsonb_build_object(
    'undone_key', jsonb_build_array(
        old.customer_id, had.name, old.name, k.customer_id, has.name, k.name, x.hint
    )
)
FROM {UNDONE_TABLE} u
JOIN revcred_externalkey x ON x.id = (u.undo_data ->> 'taken')::bigint
JOIN revcred_credential old ON old.id = x.credential_id
JOIN revcred_customer had ON had.id = old.customer_id
JOIN revcred_credential k ON k.id = u.target_id
JOIN revcred_customer has ON has.id = k.customer_id
WHERE c.id = u.id AND u.undo_data ? 'taken' AND old.customer_id <> k.customer_id
"""
UNDO_NOTES_QUERY = """
SELECT undo_data -> 'undone', undo_data -> 'undone_key' FROM revcred_uploadchange
WHERE upload_id = %s AND (undo_data ? 'undone' OR undo_data ? 'undone_key') ORDER BY id
"""
NOTE_STATEMENTS = {
    "revcred.membership": NOTE_UNDONE_MEMBERSHIPS,
    "revcred.credential": NOTE_UNDONE_KEYS,
}
# Lines of mails to the owners of customers, by the customer's id. A line is a function, since each
# mail has the language of its recipient.
Line: TypeAlias = Callable[[], str]
OwnerLines: TypeAlias = dict[int, list[Line]]


@dataclass(frozen=True)
class ChangedMembership:
    """A membership that a list began or changed, or that undoing the list took back."""

    customer_id: int
    customer: str
    person: int
    email: str
    name: str
    role: str | None  # None: the person is no longer a member
    old_role: str | None
    is_undone: bool = False

    def own_line(self) -> str:
        """Return the line for the person."""
        if self.role is None:
            text = gettext("no longer a member of %(customer)s")
        elif self.is_undone:
            text = gettext("%(role)s of %(customer)s again")
        else:
            text = gettext("%(role)s of %(customer)s")
        return text % self._parts()

    def line(self) -> str:
        """Return the line for the owners of the customer."""
        if self.role is None:
            text = gettext("%(person)s no longer belongs to %(customer)s")
        elif self.is_undone:
            text = gettext("%(person)s is %(role)s of %(customer)s again")
        elif self.old_role:
            text = gettext("%(person)s is %(role)s of %(customer)s, and was %(old)s before")
        else:
            text = gettext(
                "%(person)s is %(role)s of %(customer)s, and did not belong to it before"
            )
        return text % self._parts()

    def _parts(self) -> dict[str, str]:
        return {
            "person": self.email,
            "customer": self.customer,
            "role": _role_name(self.role),
            "old": _role_name(self.old_role),
        }


def _role_name(role: str | None) -> str:
    return within_sentence(Membership.Role(role).label) if role else ""


@dataclass
class UploadNotice:
    """The mail to one person about an upload."""

    email: str
    name: str
    joined: list[Line] = field(default_factory=list)  # the person's own new roles
    lines: list[Line] = field(default_factory=list)  # changes at customers that the person owns

    def context(self, by: object) -> dict[str, Any]:
        return {
            "name": self.name,
            "by": by,
            "joined": self.joined[:MAX_LINES_PER_MAIL],
            "more_joined": max(len(self.joined) - MAX_LINES_PER_MAIL, 0),
            "lines": self.lines[:MAX_LINES_PER_MAIL],
            "more_lines": max(len(self.lines) - MAX_LINES_PER_MAIL, 0),
        }


def note_undone_changes(cursor: CursorWrapper, target: str) -> None:
    """Note what `queue_undo_notices` needs of things of a kind, before they are undone.

    `target` is the label of the model, such as "revcred.membership".
    """
    if target in NOTE_STATEMENTS:
        cursor.execute(NOTE_STATEMENTS[target])


def queue_upload_notices(upload: Upload) -> int:
    """Queue a mail to each new member, and to owners of customers whose members or keys changed.

    Belongs to the transaction in which the upload ends. Return the number of mails.
    """
    with connection.cursor() as cursor:
        cursor.execute(CHANGED_MEMBERSHIPS_QUERY, [upload.pk])
        members = [ChangedMembership(*row) for row in cursor.fetchall()]
        cursor.execute(MOVED_KEYS_QUERY, [upload.pk])
        keys = cursor.fetchall()
    lines: OwnerLines = defaultdict(list)
    for had, had_customer, had_name, has, has_customer, has_name, hint in keys:
        # One customer must not learn the name of another.
        lines[had].append(
            partial(
                _filled,
                gettext_noop(
                    "the key …%(hint)s of “%(credential)s” at %(customer)s belongs to another"
                    " customer"
                ),
                hint=hint,
                credential=had_name,
                customer=had_customer,
            )
        )
        lines[has].append(
            partial(
                _filled,
                gettext_noop(
                    "the key …%(hint)s belongs to %(customer)s, as “%(credential)s”, and belonged"
                    " to another customer before"
                ),
                hint=hint,
                credential=has_name,
                customer=has_customer,
            )
        )
    return _queue_notices("emails/list_applied", upload.applied_by, members, lines)


def queue_undo_notices(upload: Upload) -> int:
    """Queue mails about undone changes, to the same people as `queue_upload_notices`.

    Belongs to the transaction in which the undo ends. Return the number of mails.
    """
    members: list[ChangedMembership] = []
    lines: OwnerLines = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(UNDO_NOTES_QUERY, [upload.pk])
        notes = cursor.fetchall()
    for member, key in notes:
        if member:
            members.append(ChangedMembership(**decode_json_column(member), is_undone=True))
        if key:
            had, had_customer, had_name, has, has_customer, has_name, hint = decode_json_column(key)
            # One customer must not learn the name of another.
            lines[had].append(
                partial(
                    _filled,
                    gettext_noop(
                        "the key …%(hint)s belongs to %(customer)s again, as “%(credential)s”"
                    ),
                    hint=hint,
                    credential=had_name,
                    customer=had_customer,
                )
            )
            lines[has].append(
                partial(
                    _filled,
                    gettext_noop(
                        "the key …%(hint)s of “%(credential)s” at %(customer)s belongs to another"
                        " customer again"
                    ),
                    hint=hint,
                    credential=has_name,
                    customer=has_customer,
                )
            )
    return _queue_notices("emails/list_undone", upload.undone_by, members, lines)


def _filled(text: str, **parts: Any) -> str:
    """Return a text of the catalogue in the language of the mail."""
    return gettext(text) % parts


def _queue_notices(
    template_prefix: str, by: User | None, members: list[ChangedMembership], lines: OwnerLines
) -> int:
    """Queue one mail for each person. `lines` are those that concern more than memberships."""
    notices: dict[int, UploadNotice] = {}
    for member in members:
        notice = notices.setdefault(member.person, UploadNotice(member.email, member.name))
        notice.joined.append(member.own_line)
        lines[member.customer_id].append(member.line)
    _add_owners(notices, by, members, lines)
    name = by or OPERATOR_NAME
    mails = ((notice.email, notice.context(name)) for notice in notices.values())
    return queue_mails(template_prefix, mails)


def _add_owners(
    notices: dict[int, UploadNotice],
    by: User | None,
    members: list[ChangedMembership],
    lines: OwnerLines,
) -> None:
    """Add lines for owners, except those who became owners by this list: that is in `joined`."""
    by_list = {(member.customer_id, member.person) for member in members if member.role == "owner"}
    owners = Membership.objects.filter(
        customer__in=lines,
        role=Membership.Role.OWNER,
        subscriber__user__is_active=True,
    ).select_related("subscriber__user")
    for owner in owners.order_by("customer__name"):
        person = owner.subscriber
        is_told = (owner.customer_id, person.pk) not in by_list
        # The person who applied or undid the list knows what is in it.
        if is_told and person.user and person.user != by:
            email = person.user.email
            notice = notices.setdefault(person.pk, UploadNotice(email, person.name))
            # Mail goes to the address of the login, which may differ from the subscriber's.
            notice.email = email
            notice.lines += lines[owner.customer_id]
