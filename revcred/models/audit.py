"""The audit: a chain of events that is only added to.

Each event's digest covers the one before, so that a changed or missing event breaks the chain. It
is keyed: whoever can write into the database, and has no settings, cannot make a chain anew.

What an event says of people stands beside the chain, which covers only a digest of it. So it can be
erased, and the rest of the event still proves itself.
"""

import hmac
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Self, TypeAlias

from django.conf import settings
from django.db import connection, models
from django.db.transaction import TransactionManagementError
from django.utils import timezone
from django.utils.functional import Promise

from revcred.client_address import current_address
from revcred.models.users import User
from revcred.request_id import current_request_id
from revcred.texts import gettext_lazy, kept_language

# Advisory lock: one writer at a time, so that the chain has one end. The last row cannot serve as
# lock, because an empty table has none.
REQUEST_ID_DETAIL = "request_id"
CHAIN_LOCK_NUMBER = 0x5EA1ED
COPIED_COLUMNS = (
    *("at", "actor_id", "actor", "verb", "target_type", "target_id", "target", "address"),
    *("salt", "personal_digest", "digest", "details"),
)
SALT_BYTES = 16
# An earlier version, whose digests have no key, may go on beside this one for so long.
MAX_UPGRADE_TIME = timedelta(hours=1)

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

    CREATED = "created", gettext_lazy("Created")
    CHANGED = "changed", gettext_lazy("Changed")
    DELETED = "deleted", gettext_lazy("Deleted")
    ISSUED = "issued", gettext_lazy("Issued")
    ALIAS_ADDED = "alias_added", gettext_lazy("Alias added")
    KEY_ENDED = "key_ended", gettext_lazy("Key ended")
    KEY_EXTENDED = "key_extended", gettext_lazy("Key extended")
    ROTATED = "rotated", gettext_lazy("Rotated")
    SUSPENDED = "suspended", gettext_lazy("Suspended")
    RESUMED = "resumed", gettext_lazy("Resumed")
    REVOKED = "revoked", gettext_lazy("Revoked")
    ASSIGNED = "assigned", gettext_lazy("Assigned")
    MOVED = "moved", gettext_lazy("Moved")
    UNASSIGNED = "unassigned", gettext_lazy("Unassigned")
    KEY_REVEALED = "key_revealed", gettext_lazy("Key revealed")
    SECRET_REVEALED = "secret_revealed", gettext_lazy("Secret revealed")
    INVITED = "invited", gettext_lazy("Invited")
    INVITATION_ACCEPTED = "invitation_accepted", gettext_lazy("Invitation accepted")
    SIGNED_IN = "signed_in", gettext_lazy("Signed in")
    SIGN_IN_FAILED = "sign_in_failed", gettext_lazy("Sign-in failed")
    SIGN_IN_LIMITED = "sign_in_limited", gettext_lazy("Sign-in refused, too many attempts")
    SIGNED_OUT = "signed_out", gettext_lazy("Signed out")
    SESSION_ENDED = "session_ended", gettext_lazy("Session ended")
    SIGNED_OUT_EVERYWHERE = "signed_out_all", gettext_lazy("Signed out everywhere")
    RESET_ASKED = "reset_asked", gettext_lazy("Link for a new password sent")
    RESET_LIMITED = "reset_limited", gettext_lazy("Link refused, too many requests")
    CODE_ASKED = "code_asked", gettext_lazy("Sign-in code sent")
    CODE_LIMITED = "code_limited", gettext_lazy("Sign-in code refused, too many requests")
    COMPANY_SET = "company_set", gettext_lazy("Company sign-in set")
    COMPANY_ENDED = "company_ended", gettext_lazy("Company sign-in ended")
    COMPANY_CONNECTED = "company_connected", gettext_lazy("Connected with the company sign-in")
    PASSWORD_RESET = "password_reset", gettext_lazy("Password set by link")
    PASSWORD_CHANGED = "password_changed", gettext_lazy("Password changed")
    ADDRESS_ASKED = "address_asked", gettext_lazy("New address asked for")
    ADDRESS_CHANGED = "address_changed", gettext_lazy("Address changed")
    ADDRESS_CANCELLED = "address_cancelled", gettext_lazy("New address cancelled")
    REVEALS_RESUMED = "reveals_resumed", gettext_lazy("New address confirmed by password")
    MANY_REVEALED = "many_revealed", gettext_lazy("Many keys revealed")
    ROLE_CHANGED = "role_changed", gettext_lazy("Role changed")
    RIGHTS_CHANGED = "rights_changed", gettext_lazy("Rights changed")
    MADE_STAFF = "made_staff", gettext_lazy("Made staff")
    MADE_SUPERUSER = "made_superuser", gettext_lazy("Made superuser")
    DEACTIVATED = "deactivated", gettext_lazy("Deactivated")
    ACTIVATED = "activated", gettext_lazy("Activated")
    TOKEN_ISSUED = "token_issued", gettext_lazy("Token issued")
    TOKEN_REVOKED = "token_revoked", gettext_lazy("Token revoked")
    RELEASED = "released", gettext_lazy("Marked as reviewed")
    PUT_BACK = "put_back", gettext_lazy("Put back")
    MOMENTS_CHOSEN = "moments_chosen", gettext_lazy("Moments chosen")
    UPLOADED = "uploaded", gettext_lazy("Uploaded")
    APPLIED = "applied", gettext_lazy("Applied")
    CANCELLED = "cancelled", gettext_lazy("Cancelled")
    UNDONE = "undone", gettext_lazy("Undone")
    SCRUBBED = "scrubbed", gettext_lazy("Scrubbed")
    SWITCHED_OFF = "switched_off", gettext_lazy("Path rule switched off")
    FACTOR_ADDED = "factor_added", gettext_lazy("Second factor added")
    FACTOR_REMOVED = "factor_removed", gettext_lazy("Second factor removed")
    FACTOR_RESET = "factor_reset", gettext_lazy("Second factor reset")
    FACTOR_FAILED = "factor_failed", gettext_lazy("Second factor failed")
    FACTOR_LIMITED = "factor_limited", gettext_lazy("Second factor refused, too many attempts")
    RECOVERY_CODE_USED = "recovery_code_used", gettext_lazy("Recovery code used")
    BACKED_UP = "backed_up", gettext_lazy("Backed up")
    EXPORTED = "exported", gettext_lazy("Exported")
    ERASED = "erased", gettext_lazy("Erased")
    REQUESTED = "requested", gettext_lazy("Credential requested")
    APPROVED = "approved", gettext_lazy("Request approved")
    REQUEST_REJECTED = "request_rejected", gettext_lazy("Request rejected")
    LEAK_CONTAINED = "leak_contained", gettext_lazy("Leak contained")
    LOOK_BEGAN = "look_began", gettext_lazy("Began to look as the subscriber")
    LOOK_ENDED = "look_ended", gettext_lazy("Stopped looking as the subscriber")


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def about(self, target: models.Model) -> Self:
        """Return the events about one thing."""
        return self.filter(target_type=target._meta.label_lower, target_id=target.pk)

    def saying(self, pattern: str) -> Self:
        """Return the events in whose texts the regular expression finds something."""
        return self.filter(
            models.Q(actor__iregex=pattern)
            | models.Q(target__iregex=pattern)
            | models.Q(details__iregex=pattern)
        )

    def with_digest_before(self) -> Self:
        """Add the digest of the event before each, as `digest_before`."""
        before = self.model._base_manager.filter(pk__lt=models.OuterRef("pk")).order_by("-pk")
        return self.annotate(digest_before=models.Subquery(before.values("digest")[:1]))

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
        with kept_language():
            event = self.model(
                at=timezone.now(),
                actor_id=by.pk if by else None,
                actor=by.email if by else "",
                verb=verb,
                target_type=target._meta.label_lower,
                target_id=target.pk,
                target=str(target)[:300],
                details=_with_request_id(_as_texts(details or {})),
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
                event.details = _with_request_id(event.details)
                before = event.chain_after(before)
                # COPY takes no dict, so details are written as text.
                values = (getattr(event, name) for name in COPIED_COLUMNS[:-1])
                copy.write_row([*values, json.dumps(event.details)])

    def first_broken(self) -> "AuditEvent | None":
        """Return the first event that differs from what was written, or None."""
        before = b""
        first_keyed: datetime | None = None
        last_keyed: datetime | None = None
        # In chunks: the audit may have millions of events.
        for event in self.order_by("pk").iterator():
            if event.personal_digest is not None:
                first_keyed, last_keyed = first_keyed or event.at, event.at
            # Anybody could add to the chain without a key, so an earlier version may do it no more.
            elif first_keyed and last_keyed and last_keyed - first_keyed > MAX_UPGRADE_TIME:
                return event
            if not event.is_as_written(before):
                return event
            before = bytes(event.digest)
        return None

    def head(self) -> "AuditHead":
        """Return the number of events and the last digest. Noted elsewhere, it is an anchor."""
        last = self.order_by("-pk").values_list("digest", flat=True).first()
        return AuditHead(self.count(), bytes(last or b"").hex())

    def has_head(self, noted: "AuditHead") -> bool:
        """Return True if the chain had this head when it had so many events."""
        if noted.events < 1:
            return False
        digests = self.order_by("pk").values_list("digest", flat=True)
        found = digests[noted.events - 1 : noted.events].first()
        return found is not None and bytes(found).hex() == noted.digest


@dataclass(frozen=True)
class AuditHead:
    """The end of the chain: how many events there are, and the last one's digest."""

    events: int
    digest: str

    def __str__(self) -> str:
        return f"{self.events}:{self.digest}"


class AuditEvent(models.Model):
    """A record of who did what to which thing. A trigger lets events only be added.

    An event refers to things by number and name, not by foreign key, so that it outlives them.

    These members of `details` have a fixed shape:

        changed    old and new value of each field, by its name
        request_id the request, or the worker's task, that did it; log lines carry it, too
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
    address = models.GenericIPAddressField(gettext_lazy("from"), null=True)
    # Of events before 0121 both are NULL, and the digest covers all fields without a key.
    salt = models.BinaryField(max_length=32, null=True, editable=False)
    personal_digest = models.BinaryField(max_length=32, null=True, editable=False)
    # Of events in which people were erased.
    seal = models.BinaryField(max_length=32, null=True, editable=False)
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
            # For the filters of the list, each in the order that it then has.
            models.Index(fields=["at", "id"], name="auditevent_by_moment"),
            models.Index(fields=["verb", "at", "id"], name="auditevent_by_verb"),
            models.Index(fields=["actor", "at", "id"], name="auditevent_by_actor"),
            models.Index(fields=["target", "at", "id"], name="auditevent_by_name"),
        )

    def __str__(self) -> str:
        return f"{self.get_verb_display()}: {self.target}"

    def chain(self) -> None:
        """Save as the last event of the chain. One writer at a time until the transaction ends."""
        self.chain_after(lock_chain_end())
        self.save(force_insert=True)

    def chain_after(self, before: bytes) -> bytes:
        """Set and return the digest as the event after the one with the digest `before`."""
        # Without the salt, which is erased with them, nobody can try out names that were erased.
        self.salt, self.seal = secrets.token_bytes(SALT_BYTES), None
        self.personal_digest = self._digest_of_people()
        digest = self.chained_to(before)
        self.digest = digest
        return digest

    def chained_to(self, before: bytes) -> bytes:
        """Return the digest over the digest of the event before and all that this event says."""
        if self.personal_digest is None:
            # As an earlier version did it.
            fields = [_utc_text(self.at), self.actor_id, self.actor, self.verb, self.target_type]
            fields += [self.target_id, self.target, self.details, self._packed_address()]
            return sha256(before + _canonical_json(fields)).digest()
        fields = [_utc_text(self.at), self.actor_id, self.verb, self.target_type, self.target_id]
        fields += [bytes(self.personal_digest).hex()]
        return _keyed_digest(before + _canonical_json(fields))

    def erase_people(
        self, before: bytes, *, actor: str, target: str, details: Any, address: str | None
    ) -> None:
        """Replace what the event says of people, for good; `before` is the digest before its own.

        The chain stays whole. What stands there afterwards is sealed with the audit's key, unless
        somebody had changed the event: then it stays one at which the chain is broken.
        """
        was_as_written = self.is_as_written(before)
        self.actor, self.target, self.details, self.address = actor, target, details, address
        self.salt, self.seal = None, self.seal_after(before) if was_as_written else b""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT erase_people_in_event(%s, %s, %s, %s::jsonb, %s, %s)",
                [self.pk, actor, target, json.dumps(details), address, self.seal],
            )

    def is_as_written(self, before: bytes) -> bool:
        """Return True if this is what was written after the event with the digest `before`."""
        if self.seal is not None and bytes(self.seal) != self.seal_after(before):
            return False
        if self.personal_digest is None:
            # What the digest of an earlier version covers is gone, and the seal covers the rest.
            return self.seal is not None or bytes(self.digest) == self.chained_to(before)
        return bytes(self.digest) == self.chained_to(before) and (
            self.seal is not None or bytes(self.personal_digest) == self._digest_of_people()
        )

    def seal_after(self, before: bytes) -> bytes:
        """Return the keyed digest of all that an event says in which people were erased."""
        fields = [_utc_text(self.at), self.actor_id, self.verb, self.target_type, self.target_id]
        fields += ["erased", *self._personal_fields()]
        return _keyed_digest(before + bytes(self.digest) + _canonical_json(fields))

    def _digest_of_people(self) -> bytes:
        return _keyed_digest(bytes(self.salt or b"") + _canonical_json(self._personal_fields()))

    def _personal_fields(self) -> list[Any]:
        return [self.actor, self.target, self.details, self._packed_address()]

    def _packed_address(self) -> str | None:
        return self.address and ip_address(self.address).packed.hex()


@cache
def _audit_key() -> bytes:
    """Return the chain's key, which is in the settings and not in the database.

    It is derived from AUDIT_KEY, which never changes: events could not be verified under another.
    """
    return hmac.digest(settings.AUDIT_KEY.encode(), b"revcred audit chain", "sha256")


def _keyed_digest(content: bytes) -> bytes:
    return hmac.digest(_audit_key(), content, "sha256")


def _canonical_json(fields: list[Any]) -> bytes:
    # Sorted and without blanks: the digest must not depend on how JSON was written.
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()


def lock_chain_end() -> bytes:
    """Return the last event's digest, and lock the end of the chain until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK_NUMBER])
    events = AuditEvent._base_manager.order_by("-pk")
    last = events.values_list("digest", flat=True).first()
    return bytes(last) if last else b""


def _as_texts(value: Any) -> Any:
    """Return details with texts for what is translated later, such as the label of a choice."""
    if isinstance(value, dict):
        return {name: _as_texts(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_as_texts(member) for member in value]
    return str(value) if isinstance(value, Promise) else value


def _with_request_id(details: dict[str, Any]) -> dict[str, Any]:
    request_id = current_request_id()
    return {**details, REQUEST_ID_DETAIL: request_id} if request_id else details


def _utc_text(moment: datetime) -> str:
    """Return a datetime as ISO 8601 text in UTC, so that its digest is the same everywhere."""
    return moment.astimezone(UTC).isoformat()
