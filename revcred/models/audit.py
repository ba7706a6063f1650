"""The audit: a chain of events that is only added to.

Each event's digest covers the one before, so that a changed or missing event breaks the chain.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Self, TypeAlias

from django.db import connection, models
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from revcred.client_address import current_address
from revcred.models.users import User

# Advisory lock: one writer at a time, so that the chain has one end. The last row cannot serve as
# lock, because an empty table has none.
CHAIN_LOCK_NUMBER = 0x5EA1ED
COPIED_COLUMNS = (
    *("at", "actor_id", "actor", "verb", "target_type", "target_id", "target", "address"),
    *("digest", "details"),
)

# Events of the current block of `events_deferred_to_end`, or None outside of one.
_deferred_events: ContextVar["list[AuditEvent] | None"] = ContextVar("waiting events", default=None)


@contextmanager
def events_deferred_to_end() -> Iterator[None]:
    """Write the block's events when it ends, or none of them if it fails.

    Writing an event locks the end of the chain, and every other writer would wait as long as the
    block takes.
    """
    # A block inside another one: the outer block writes the events.
    if _deferred_events.get() is not None:
        yield
        return
    events: list[AuditEvent] = []
    token = _deferred_events.set(events)
    try:
        yield
    finally:
        # Also if the block failed: the next action of this request must not add to it.
        _deferred_events.reset(token)
    if not connection.needs_rollback:
        for event in events:
            event.chain()


def to_audit_json(value: Any) -> Any:
    """Return the value of a field as JSON: a datetime as text, a row by its number and name."""
    if isinstance(value, datetime):
        return _utc_text(value)
    if isinstance(value, models.Model):
        return {"id": value.pk, "name": str(value)[:300]}
    if isinstance(value, models.QuerySet | models.Manager):
        return [to_audit_json(item) for item in value.all()]
    if isinstance(value, list | tuple | set):
        return [to_audit_json(item) for item in value]
    if isinstance(value, dict):
        return {str(name): to_audit_json(each) for name, each in value.items()}
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def audit_difference(old: Any, new: Any) -> list[Any]:
    """Return old and new value of a changed field, as an event keeps them."""
    return [to_audit_json(old), to_audit_json(new)]


class AuditVerb(models.TextChoices):
    """Kinds of events on record. Values are stored: add new ones, and never change old ones."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"
    ISSUED = "issued"
    ALIAS_ADDED = "alias_added", "Alias added"
    KEY_ENDED = "key_ended", "Key ended"
    ROTATED = "rotated"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    REVOKED = "revoked"
    ASSIGNED = "assigned"
    MOVED = "moved"
    UNASSIGNED = "unassigned"
    KEY_REVEALED = "key_revealed", "Key revealed"
    SECRET_REVEALED = "secret_revealed", "Secret revealed"
    INVITED = "invited"
    INVITATION_ACCEPTED = "invitation_accepted", "Invitation accepted"
    SIGNED_IN = "signed_in", "Signed in"
    SIGN_IN_FAILED = "sign_in_failed", "Sign-in failed"
    SIGN_IN_LIMITED = "sign_in_limited", "Sign-in refused, too many attempts"
    SIGNED_OUT = "signed_out", "Signed out"
    SESSION_ENDED = "session_ended", "Session ended"
    SIGNED_OUT_EVERYWHERE = "signed_out_all", "Signed out everywhere"
    RESET_ASKED = "reset_asked", "Link for a new password sent"
    RESET_LIMITED = "reset_limited", "Link refused, too many requests"
    PASSWORD_RESET = "password_reset", "Password set by link"
    PASSWORD_CHANGED = "password_changed", "Password changed"
    ADDRESS_ASKED = "address_asked", "New address asked for"
    ADDRESS_CHANGED = "address_changed", "Address changed"
    ADDRESS_CANCELLED = "address_cancelled", "New address cancelled"
    REVEALS_RESUMED = "reveals_resumed", "New address confirmed by password"
    MANY_REVEALED = "many_revealed", "Many keys revealed"
    ROLE_CHANGED = "role_changed", "Role changed"
    RIGHTS_CHANGED = "rights_changed", "Rights changed"
    MADE_STAFF = "made_staff", "Made staff"
    MADE_SUPERUSER = "made_superuser", "Made superuser"
    DEACTIVATED = "deactivated"
    ACTIVATED = "activated"
    TOKEN_ISSUED = "token_issued", "Token issued"
    TOKEN_REVOKED = "token_revoked", "Token revoked"
    RELEASED = "released"
    PUT_BACK = "put_back", "Put back"
    MOMENTS_CHOSEN = "moments_chosen", "Moments chosen"
    UPLOADED = "uploaded"
    APPLIED = "applied"
    CANCELLED = "cancelled"
    UNDONE = "undone"
    SCRUBBED = "scrubbed"
    FACTOR_ADDED = "factor_added", "Second factor added"
    FACTOR_REMOVED = "factor_removed", "Second factor removed"
    FACTOR_RESET = "factor_reset", "Second factor reset"
    FACTOR_FAILED = "factor_failed", "Second factor failed"
    FACTOR_LIMITED = "factor_limited", "Second factor refused, too many attempts"
    RECOVERY_CODE_USED = "recovery_code_used", "Recovery code used"


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def about(self, target: models.Model) -> Self:
        """Return the events about one thing."""
        return self.filter(target_type=target._meta.label_lower, target_id=target.pk)

    def reveals(self) -> Self:
        """Return the events of revealed keys and secrets."""
        return self.filter(verb__in=[AuditVerb.KEY_REVEALED, AuditVerb.SECRET_REVEALED])

    def record(
        self,
        verb: AuditVerb,
        *,
        target: models.Model,
        by: User | None,
        details: dict[str, Any] | None = None,
        address: str | None = None,
    ) -> "AuditEvent":
        """Add an event to the end of the chain, in the transaction of what it records.

        `details` never hold a key, a secret or a password. `address`: the client's IP
        address; without one it is that of the current request.
        Raises TransactionManagementError outside a transaction.
        """
        if not connection.in_atomic_block:
            message = "An event is recorded in the transaction of what it records."
            raise TransactionManagementError(message)
        event = self.model(
            at=timezone.now(),
            actor_id=by.pk if by else None,
            actor=by.email if by else "",
            verb=verb,
            target_type=target._meta.label_lower,
            target_id=target.pk,
            target=str(target)[:300],
            details=details or {},
            address=address or current_address(),
        )
        waiting = _deferred_events.get()
        if waiting is None:
            event.chain()
        else:
            waiting.append(event)
        return event

    def record_many(self, events: "Sequence[AuditEvent]") -> None:
        """Add many events to the end of the chain with one lock and one COPY.

        Everybody else who records anything waits until the transaction ends: so call it last in
        one.
        """
        if not events:
            return
        if not connection.in_atomic_block:
            message = "Events are recorded in the transaction of what they record."
            raise TransactionManagementError(message)
        before, address = lock_chain_end(), current_address()
        table, columns = AuditEvent._meta.db_table, ", ".join(COPIED_COLUMNS)
        with (
            connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy,
        ):
            for event in events:
                event.address = event.address or address
                event.digest = before = event.chained_to(before)
                # COPY takes no dict, so details are written as text.
                values = (getattr(event, name) for name in COPIED_COLUMNS[:-1])
                copy.write_row([*values, json.dumps(event.details)])

    def first_broken(self) -> "AuditEvent | None":
        """Return the first event that differs from what was written, or None."""
        before = b""
        # In chunks: the audit may have millions of events.
        for event in self.order_by("pk").iterator():
            if bytes(event.digest) != event.chained_to(before):
                return event
            before = bytes(event.digest)
        return None


class AuditEvent(models.Model):
    """A record of who did what to which thing. A trigger lets events only be added.

    An event refers to things by number and name, not by foreign key, so that it outlives them.

    These members of `details` have a fixed shape:

        changed    old and new value of each field, by its name
        rows       of rows kept with it, such as path rules: model, id, name, old and new fields
        undo       what `revcred.actions.undoing` needs to restore what was before
    """

    Verb: TypeAlias = AuditVerb

    at = models.DateTimeField()
    actor_id = models.BigIntegerField(null=True)
    actor = models.CharField(max_length=254, blank=True)
    verb = models.CharField(max_length=20, choices=AuditVerb)
    target_type = models.CharField(max_length=100)
    # NULL for a login that does not exist, as in failed sign-ins.
    target_id = models.BigIntegerField(null=True)
    target = models.CharField(max_length=300)
    details = models.JSONField(default=dict)
    address = models.GenericIPAddressField("from", null=True)
    digest = models.BinaryField(max_length=32)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (
            # For the history of one thing.
            models.Index(fields=["target_type", "target_id"], name="auditevent_by_target"),
            models.Index(
                fields=["actor_id", "at"],
                # Partial, since reveals are few among events: the alert counts them at every
                # reveal.
                condition=models.Q(verb__in=["key_revealed", "secret_revealed"]),
                name="auditevent_reveals_by_actor",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_verb_display()}: {self.target}"

    def chain(self) -> None:
        """Save as the last event of the chain. One writer at a time until the transaction ends."""
        self.digest = self.chained_to(lock_chain_end())
        self.save(force_insert=True)

    def chained_to(self, before: bytes) -> bytes:
        """Return SHA-256 over the digest of the event before and all that this event says."""
        fields = [
            _utc_text(self.at),
            self.actor_id,
            self.actor,
            self.verb,
            self.target_type,
            self.target_id,
            self.target,
            self.details,
            self.address and ip_address(self.address).packed.hex(),
        ]
        # Sorted and without blanks: the digest must not depend on how JSON was written.
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return sha256(before + text.encode()).digest()


def lock_chain_end() -> bytes:
    """Return the last event's digest, and lock the end of the chain until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK_NUMBER])
    events = AuditEvent._base_manager.order_by("-pk")
    last = events.values_list("digest", flat=True).first()
    return bytes(last) if last else b""


def _utc_text(moment: datetime) -> str:
    """Return a datetime as ISO 8601 text in UTC, so that its digest is the same everywhere."""
    return moment.astimezone(UTC).isoformat()
