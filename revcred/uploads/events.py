"""Audit events on things that an upload changed, recorded in the transaction that changes them.

These get an event: existing things that change, with old and new values; new memberships and
changed roles; and a key that passes to another customer or credential, on both sides.

Things that an upload only creates get none. Histories show them from the upload's changes. Events
form one chain, and recording a hundred thousand of them would make everybody else wait for its end.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from revcred.models import AuditEvent, Membership, Upload, User
from revcred.uploads.staging import decode_json_column

MAX_OTHER_CUSTOMERS_NAMED = 5  # that a new member belongs to already

MEMBERSHIP, CREDENTIAL = "revcred.membership", "revcred.credential"

# in: changes of an upload; out: those that get events, with the names of the things
CHANGES_WITH_EVENTS_QUERY = f"""
SELECT
    c.row, c.action, c.target_type, c.target_id, c.before, c.after, c.undo_data,
    coalesce(
        k.name, s.name || CASE WHEN s.name = '' THEN s.external_key ELSE '' END, p.email, o.name,
        member.email, product.name, source.name, gateway.name
    ) AS title,
    m.role, customer.name AS customer,
    CASE WHEN c.action = 'create' AND m.id IS NOT NULL THEN ARRAY(
        SELECT other.name FROM revcred_membership om
        JOIN revcred_customer other ON other.id = om.customer_id
        WHERE om.subscriber_id = m.subscriber_id AND om.id <> m.id
        ORDER BY other.name LIMIT {MAX_OTHER_CUSTOMERS_NAMED}
    ) END AS belongs_to,
    taken.hint, taken.active_until AS taken_until,
    coalesce(taken.credential_id, (c.undo_data ->> 'used_again_of')::bigint) AS old_credential,
    old.name AS old_credential_name
FROM {{changes}} c
LEFT JOIN revcred_credential k ON c.target_type = '{CREDENTIAL}' AND k.id = c.target_id
LEFT JOIN revcred_subscription s
    ON c.target_type = 'revcred.subscription' AND s.id = c.target_id
LEFT JOIN revcred_subscriber p ON c.target_type = 'revcred.subscriber' AND p.id = c.target_id
LEFT JOIN revcred_customer o ON c.target_type = 'revcred.customer' AND o.id = c.target_id
LEFT JOIN revcred_membership m ON c.target_type = '{MEMBERSHIP}' AND m.id = c.target_id
LEFT JOIN revcred_subscriber member ON member.id = m.subscriber_id
LEFT JOIN revcred_customer customer ON customer.id = m.customer_id
LEFT JOIN revcred_product product ON c.target_type = 'revcred.product' AND product.id = c.target_id
LEFT JOIN revcred_source source ON c.target_type = 'revcred.source' AND source.id = c.target_id
LEFT JOIN revcred_gateway gateway ON c.target_type = 'revcred.gateway' AND gateway.id = c.target_id
LEFT JOIN revcred_externalkey taken ON taken.id = (c.undo_data ->> 'taken')::bigint
LEFT JOIN revcred_credential old
    ON old.id = coalesce(taken.credential_id, (c.undo_data ->> 'used_again_of')::bigint)
WHERE c.target_type = '{MEMBERSHIP}' OR c.action <> 'create' OR c.undo_data ? 'used_again_of'
ORDER BY c.id
"""


def latest_change_id(cursor: CursorWrapper, upload: Upload) -> int:
    """Return the number of the upload's last change so far, or 0."""
    cursor.execute(
        "SELECT coalesce(max(id), 0) FROM revcred_uploadchange WHERE upload_id = %s", [upload.pk]
    )
    (number,) = cursor.fetchone()
    return int(number)


def record_events_of_applying(cursor: CursorWrapper, upload: Upload, *, after: int) -> None:
    """Record events for the upload's changes with numbers greater than `after`."""
    changes = (
        f"(SELECT * FROM revcred_uploadchange WHERE upload_id = {upload.pk:d} AND id > {after:d})"
    )
    audit_events = _build_events(cursor, upload, changes, by=upload.applied_by, is_undone=False)
    AuditEvent.objects.record_many(audit_events)


def events_of_undoing(cursor: CursorWrapper, upload: Upload, changes: str) -> list[AuditEvent]:
    """Return the events for changes that are about to be undone, while the things still exist."""
    return _build_events(cursor, upload, changes, by=upload.undone_by, is_undone=True)


def _build_events(
    cursor: CursorWrapper, upload: Upload, changes: str, *, by: User | None, is_undone: bool
) -> list[AuditEvent]:
    cursor.execute(CHANGES_WITH_EVENTS_QUERY.format(changes=changes))
    # The query joins each kind of thing, so columns are many and read by name.
    names = [column.name for column in cursor.description]
    now = timezone.now()
    return [
        AuditEvent(
            at=now,
            actor_id=by.pk if by else None,
            actor=by.email if by else "",
            verb=verb,
            target_type=target_type,
            target_id=number,
            target=title[:300],
            details={"upload": upload.pk, "list": upload.file_name[:100]} | details,
        )
        for values in cursor.fetchall()
        for change in [dict(zip(names, values, strict=True))]
        for verb, target_type, number, title, details in _event_parts(change, is_undone=is_undone)
    ]


# verb, type and number of the thing, its name, details
EventParts = tuple[AuditEvent.Verb, str, int, str, dict[str, Any]]


def _event_parts(change: Mapping[str, Any], *, is_undone: bool) -> Iterator[EventParts]:
    before, after, undo_data = (
        decode_json_column(change[name]) or {} for name in ("before", "after", "undo_data")
    )
    # Undoing goes the other way, from the values that the upload wrote to those it replaced.
    old, new = (after, before) if is_undone else (before, after)
    details: dict[str, Any] = {"row": change["row"]} if change["row"] else {}
    if is_undone:
        details["undone"] = True
    about = (change["target_type"], change["target_id"])
    title = change["title"] or str(change["target_id"])
    if change["target_type"] == MEMBERSHIP:
        yield _membership_event(change, old, new, details, is_undone=is_undone)
    elif change["old_credential"]:
        yield from _key_taken_events(change, after, details, is_undone=is_undone)
    elif change["action"] == Upload.Action.MOVE:
        moved = {
            "from": ", ".join(old.get("subscription") or []),
            "to": ", ".join(new.get("subscription") or []),
            "at": undo_data.get("at"),
        }
        others = _old_and_new_values(old, new, omit="subscription")
        details |= moved | ({"changed": others} if others else {})
        yield AuditEvent.Verb.MOVED, *about, title, details
    else:
        details |= {"changed": _old_and_new_values(old, new)}
        yield AuditEvent.Verb.CHANGED, *about, title, details


def _membership_event(
    change: Mapping[str, Any],
    old: dict[str, Any],
    new: dict[str, Any],
    details: dict[str, Any],
    *,
    is_undone: bool,
) -> EventParts:
    role = new.get("role") or change["role"] or ""
    label = dict(Membership.Role.choices).get(role, role)
    title = f"{change['title']}, {label} at {change['customer']}"
    verb = AuditEvent.Verb
    about = (change["target_type"], change["target_id"], title)
    if change["action"] != Upload.Action.CREATE:
        return verb.ROLE_CHANGED, *about, details | {"role": f"{old.get('role')} → {role}"}
    if is_undone:
        return verb.DELETED, *about, details | {"role": role}
    belongs = {"belongs_to_as_well": change["belongs_to"]} if change["belongs_to"] else {}
    return verb.CREATED, *about, details | {"role": role} | belongs


def _key_taken_events(
    change: Mapping[str, Any],
    after: dict[str, Any],
    details: dict[str, Any],
    *,
    is_undone: bool,
) -> Iterator[EventParts]:
    """Yield an event on the credential that had the key, and one on the new one that has it now."""
    title, old_title = change["title"] or "", change["old_credential_name"] or ""
    details = details | ({"hint": change["hint"]} if change["hint"] else {})
    customer = {"customer": after["customer"]} if "customer" in after else {}
    verb = AuditEvent.Verb
    old_owner = (CREDENTIAL, change["old_credential"], old_title)
    new_owner = (CREDENTIAL, change["target_id"], title)
    if is_undone:
        yield verb.CHANGED, *old_owner, details | {"key_is_back_from": title}
        yield verb.DELETED, *new_owner, details | {"key_was_of": old_title}
        return
    ended = change["taken_until"]
    at = {"at": ended.isoformat()} if ended else {}
    name = "taken_over_by" if customer else "used_again_for"
    yield verb.KEY_ENDED, *old_owner, details | at | {name: title} | customer
    yield verb.ISSUED, *new_owner, details | at | {"key_was_of": old_title}


def _old_and_new_values(
    old: dict[str, Any], new: dict[str, Any], *, omit: str = ""
) -> dict[str, list[Any]]:
    """Return [old, new] of each field but `omit`, in the form that all events of changes have."""
    names = sorted({*old, *new} - {omit})
    return {name: [old.get(name), new.get(name)] for name in names}
