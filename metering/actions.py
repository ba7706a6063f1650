"""What people do with gateways' tokens, what waits in the inbox, and sources discovered."""

from collections.abc import Iterable

from django.db.models.functions import Least, Now
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from metering.bells import inbox_bell
from metering.models import Delivery, DiscoveredSource, GatewayToken
from revcred.actions.subscriptions import announce_paths_changed
from revcred.models import AuditEvent, Gateway, Source, User

Verb = AuditEvent.Verb


@atomic
def issue_gateway_token(
    *, gateway: Gateway, name: str, scopes: Iterable[str], by: User | None
) -> tuple[GatewayToken, str]:
    """A new token of the gateway, and the only sight of it there will be."""
    kept, token = GatewayToken.issue(gateway, name=name, scopes=list(scopes))
    details = {"token": str(kept), "name": name, "scopes": list(kept.scopes)}
    AuditEvent.objects.record(Verb.TOKEN_ISSUED, target=gateway, by=by, details=details)
    return kept, token


@atomic
def revoke_gateway_token(*, token: GatewayToken, by: User | None) -> None:
    """Refused from now on. Revoking a revoked token changes nothing."""
    if token.revoked_at:
        return
    token.revoke(at=timezone.now())
    details = {"token": str(token), "name": token.name}
    AuditEvent.objects.record(Verb.TOKEN_REVOKED, target=token.gateway, by=by, details=details)


@atomic
def create_discovered_source(*, discovered: DiscoveredSource, name: str, by: User | None) -> Source:
    """Make a source of what was discovered. If it has become one, that one."""
    source, is_new = Source.objects.get_or_create(
        external_key=discovered.name, defaults={"name": name}
    )
    if is_new:
        if discovered.kind == DiscoveredSource.Kind.PATH:
            source.path_rules.create(text=discovered.name)
            announce_paths_changed(source=source, by=by)
        AuditEvent.objects.record(Verb.CREATED, target=source, by=by)
    discovered.delete()
    return source


@atomic
def retry_delivery_now(*, delivery: Delivery) -> None:
    """Settle it now rather than after the pause that its failures have earned it, as the first."""
    tried_once = Least("attempts", 1)
    Delivery.objects.filter(pk=delivery.pk).update(next_try_at=Now(), attempts=tried_once)
    on_commit(inbox_bell.ring)
