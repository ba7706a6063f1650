import json
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import Any, Self

from django.db import connection, models
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from revcred.models.users import User

CHAIN_LOCK = 0x5EA1ED  # advisory; one writer at a time, so that the chain has one end


class AuditEventQuerySet(models.QuerySet["AuditEvent"]):
    def about(self, target: models.Model) -> Self:
        return self.filter(target_type=target._meta.label_lower, target_id=target.pk)

    def reveals(self) -> Self:
        return self.filter(verb__in=[AuditEvent.Verb.KEY_REVEALED, AuditEvent.Verb.SECRET_REVEALED])

    def record(
        self,
        verb: "AuditEvent.Verb",
        *,
        target: models.Model,
        by: User | None,
        details: dict[str, Any] | None = None,
        address: str | None = None,
    ) -> "AuditEvent":
        """Add to the end of the chain. `details` name things and moments, never a value."""
        if not connection.in_atomic_block:
            message = "An event is recorded in the transaction of what it records."
            raise TransactionManagementError(message)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CHAIN_LOCK])
        last = self.order_by("-pk").values_list("digest", flat=True).first()
        event = self.model(
            at=timezone.now(),
            actor_id=by.pk if by else None,
            actor=by.email if by else "",
            verb=verb,
            target_type=target._meta.label_lower,
            target_id=target.pk,
            target=str(target)[:300],
            details=details or {},
            address=address,
        )
        event.digest = event.chained_to(bytes(last) if last else b"")
        event.save(force_insert=True)
        return event

    def first_broken(self) -> "AuditEvent | None":
        """The first event that is not what it was when it was written, or None."""
        before = b""
        for event in self.order_by("pk").iterator():
            if bytes(event.digest) != event.chained_to(before):
                return event
            before = bytes(event.digest)
        return None


class AuditEvent(models.Model):
    """Who did what to which thing. Only ever added to: a trigger refuses anything else.

    It refers to things by number and name and not by foreign key, so that it outlives them.
    """

    class Verb(models.TextChoices):
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
        TOKEN_ISSUED = "token_issued", "Token issued"
        TOKEN_REVOKED = "token_revoked", "Token revoked"
        RELEASED = "released"
        PUT_BACK = "put_back", "Put back"
        MOMENTS_CHOSEN = "moments_chosen", "Moments chosen"
        UPLOADED = "uploaded"
        APPLIED = "applied"
        CANCELLED = "cancelled"
        UNDONE = "undone"

    at = models.DateTimeField()
    actor_id = models.BigIntegerField(null=True)
    actor = models.CharField(max_length=254, blank=True)
    verb = models.CharField(max_length=20, choices=Verb)
    target_type = models.CharField(max_length=100)
    target_id = models.BigIntegerField(null=True)
    target = models.CharField(max_length=300)
    details = models.JSONField(default=dict)
    address = models.GenericIPAddressField("from", null=True)
    digest = models.BinaryField(max_length=32)

    objects = AuditEventQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)
        indexes = (models.Index(fields=["target_type", "target_id"], name="auditevent_by_target"),)

    def __str__(self) -> str:
        return f"{self.get_verb_display()}: {self.target}"

    def chained_to(self, before: bytes) -> bytes:
        """SHA-256 over the digest before this one and all this event says."""
        said = [
            _canonical(self.at),
            self.actor_id,
            self.actor,
            self.verb,
            self.target_type,
            self.target_id,
            self.target,
            self.details,
            self.address and ip_address(self.address).packed.hex(),
        ]
        text = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return sha256(before + text.encode()).digest()


def _canonical(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
