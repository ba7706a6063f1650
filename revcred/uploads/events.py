"""Events at what a list changed, in the transaction that changes it.

Each thing that was there before has an event with old and new values, and so has every membership
that begins, every role, and both ends of a key that another customer, or another credential, has
from then on. What a list only creates is in its changes, which histories show as well: a hundred
thousand new credentials would keep everybody else from the end of the audit's chain.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from revcred.models import AuditEvent, Membership, Upload, User
from revcred.uploads.staging import decode_json_column

Verb = AuditEvent.Verb

MAX_OTHER_CUSTOMERS_NAMED = 5  # of those that a new member belongs to besides

MEMBERSHIP, CREDENTIAL = "revcred.membership", "revcred.credential"

# in: changes of an upload; out: those that have events, with the names of what they are about
CHANGES_WITH_EVENTS_QUERY = f"""
SELECT
    c.row, c.action, c.target_type, c.target_id, c.before, c.after, c.links,
    coalesce(
        k.name, s.name || CASE WHEN s.name = '' THEN s.external_key ELSE '' END, p.email, o.name,
        member.email
    ) AS title,
    m.role, customer.name AS customer,
    CASE WHEN c.action = 'create' AND m.id IS NOT NULL THEN ARRAY(
        SELECT other.name FROM revcred_membership om
        JOIN revcred_customer other ON other.id = om.customer_id
        WHERE om.subscriber_id = m.subscriber_id AND om.id <> m.id
        ORDER BY other.name LIMIT {MAX_OTHER_CUSTOMERS_NAMED}
    ) END AS belongs_to,
    taken.hint, taken.active_until AS taken_until,
    coalesce(taken.credential_id, (c.links ->> 'used_again_of')::bigint) AS old_credential,
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
LEFT JOIN revcred_externalkey taken ON taken.id = (c.links ->> 'taken')::bigint
LEFT JOIN revcred_credential old
    ON old.id = coalesce(taken.credential_id, (c.links ->> 'used_again_of')::bigint)
WHERE c.target_type = '{MEMBERSHIP}' OR c.action <> 'create' OR c.links ? 'used_again_of'
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
    """Record what the changes of the upload behind that one did."""
    changes = (
        f"(SELECT * FROM revcred_uploadchange WHERE upload_id = {upload.pk:d} AND id > {after:d})"
    )
    told = _build_events(cursor, upload, changes, by=upload.applied_by, is_undone=False)
    AuditEvent.objects.record_many(told)


def events_of_undoing(cursor: CursorWrapper, upload: Upload, changes: str) -> list[AuditEvent]:
    """Return what is to be recorded of changes that are undone next: names are there until then."""
    return _build_events(cursor, upload, changes, by=upload.undone_by, is_undone=True)


def _build_events(
    cursor: CursorWrapper, upload: Upload, changes: str, *, by: User | None, is_undone: bool
) -> list[AuditEvent]:
    cursor.execute(CHANGES_WITH_EVENTS_QUERY.format(changes=changes))
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
        for verb, target_type, number, title, details in _event_parts(change, is_undone)
    ]


EventParts = tuple[Verb, str, int, str, dict[str, Any]]


def _event_parts(change: Mapping[str, Any], is_undone: bool) -> Iterator[EventParts]:  # noqa: FBT001
    before, after, links = (
        decode_json_column(change[each]) or {} for each in ("before", "after", "links")
    )
    old, new = (after, before) if is_undone else (before, after)
    details: dict[str, Any] = {"row": change["row"]} if change["row"] else {}
    if is_undone:
        details["undone"] = True
    about = (change["target_type"], change["target_id"])
    title = change["title"] or str(change["target_id"])
    if change["target_type"] == MEMBERSHIP:
        yield _membership_event(change, old, new, details, is_undone)
    elif change["old_credential"]:
        yield from _key_taken_events(change, after, details, is_undone)
    elif change["action"] == Upload.Action.MOVE:
        moved = {
            "from": ", ".join(old.get("subscription") or []),
            "to": ", ".join(new.get("subscription") or []),
            "at": links.get("at"),
        }
        others = _old_and_new_values(old, new, but="subscription")
        yield Verb.MOVED, *about, title, details | moved | ({"changed": others} if others else {})
    else:
        yield Verb.CHANGED, *about, title, details | {"changed": _old_and_new_values(old, new)}


def _membership_event(
    change: Mapping[str, Any],
    old: dict[str, Any],
    new: dict[str, Any],
    details: dict[str, Any],
    is_undone: bool,  # noqa: FBT001
) -> EventParts:
    role = new.get("role") or change["role"] or ""
    label = dict(Membership.Role.choices).get(role, role)
    title = f"{change['title']}, {label} at {change['customer']}"
    about = (change["target_type"], change["target_id"], title)
    if change["action"] != Upload.Action.CREATE:
        return Verb.ROLE_CHANGED, *about, details | {"role": f"{old.get('role')} → {role}"}
    if is_undone:
        return Verb.DELETED, *about, details | {"role": role}
    belongs = {"belongs_to_as_well": change["belongs_to"]} if change["belongs_to"] else {}
    return Verb.CREATED, *about, details | {"role": role} | belongs


def _key_taken_events(
    change: Mapping[str, Any],
    after: dict[str, Any],
    details: dict[str, Any],
    is_undone: bool,  # noqa: FBT001
) -> Iterator[EventParts]:
    """At the credential that had the key, and at the new one that has it from then on."""
    title, old_title = change["title"] or "", change["old_credential_name"] or ""
    details = details | ({"hint": change["hint"]} if change["hint"] else {})
    customer = {"customer": after["customer"]} if "customer" in after else {}
    had = (CREDENTIAL, change["old_credential"], old_title)
    has = (CREDENTIAL, change["target_id"], title)
    if is_undone:
        yield Verb.CHANGED, *had, details | {"key_is_back_from": title}
        yield Verb.DELETED, *has, details | {"key_was_of": old_title}
        return
    ended = change["taken_until"]
    at = {"at": ended.isoformat()} if ended else {}
    name = "taken_over_by" if customer else "used_again_for"
    yield Verb.KEY_ENDED, *had, details | at | {name: title} | customer
    yield Verb.ISSUED, *has, details | at | {"key_was_of": old_title}


def _old_and_new_values(
    old: dict[str, Any], new: dict[str, Any], *, but: str = ""
) -> dict[str, list[Any]]:
    """Old and new value of each field, as every event of a change has them."""
    names = sorted({*old, *new} - {but})
    return {name: [old.get(name), new.get(name)] for name in names}
