"""Actions on gateways' tokens, deliveries in the inbox, and discovered sources."""

from collections.abc import Iterable

from django.db.models.functions import Least, Now
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from metering.bells import inbox_bell
from metering.models import Delivery, DiscoveredSource, GatewayToken
from revcred.actions.subscriptions import announce_paths_changed
from revcred.models import AuditEvent, Gateway, Source, User


@atomic
def issue_gateway_token(
    *,
    gateway: Gateway,
    name: str,
    scopes: Iterable[str],
    by: User | None,
    is_test: bool = False,
) -> tuple[GatewayToken, str]:
    """Issue a token, and return its record and its plain text, which is stored nowhere.

    `is_test`: calls posted with it are judged and shown for a week, and never counted.
    """
    record, plaintext = GatewayToken.issue(gateway, name=name, scopes=list(scopes), is_test=is_test)
    details = {"token": str(record), "name": name, "scopes": list(record.scopes)}
    verb = AuditEvent.Verb.TOKEN_ISSUED
    AuditEvent.objects.record(verb, target=gateway, by=by, details=details)
    return record, plaintext


@atomic
def revoke_gateway_token(*, token: GatewayToken, by: User | None) -> None:
    """Revoke a token, so that doors reject it from now on. Once revoked, nothing changes."""
    if token.revoked_at:
        return
    token.revoke(at=timezone.now())
    details = {"token": str(token), "name": token.name}
    verb = AuditEvent.Verb.TOKEN_REVOKED
    AuditEvent.objects.record(verb, target=token.gateway, by=by, details=details)


@atomic
def create_discovered_source(*, discovered: DiscoveredSource, name: str, by: User | None) -> Source:
    """Create a source from what was discovered, or return the one that has its name by now."""
    source, is_new = Source.objects.get_or_create(
        external_key=discovered.name, defaults={"name": name}
    )
    if is_new:
        if discovered.kind == DiscoveredSource.Kind.PATH:
            source.path_rules.create(text=discovered.name)
            announce_paths_changed(source=source, by=by)
        AuditEvent.objects.record(AuditEvent.Verb.CREATED, target=source, by=by)
    discovered.delete()
    return source


@atomic
def retry_delivery_now(*, delivery: Delivery) -> None:
    """Retry a failed delivery now, without the pause that grows with its attempts."""
    # At most one earlier attempt: those with more come last in the queue.
    attempts = Least("attempts", 1)
    Delivery.objects.filter(pk=delivery.pk).update(next_try_at=Now(), attempts=attempts)
    on_commit(inbox_bell.ring)
