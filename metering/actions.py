"""Actions on gateways' tokens and formats, deliveries in the inbox, and discovered sources."""

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError
from django.db.models import Max
from django.db.models.functions import Least, Now
from django.db.transaction import atomic, on_commit
from django.utils import timezone

from metering.api.line_formats.built_in import BUILT_IN_BY_NAME
from metering.api.line_formats.definition import FormatDefinition, definition_as_data
from metering.bells import inbox_bell
from metering.models import Delivery, DiscoveredSource, GatewayToken, LineFormat
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


class NameOfBuiltInFormat(ValueError):
    """A built-in format has this name."""

    def __init__(self) -> None:
        super().__init__("A built-in format has this name. Choose another one.")


class SavedMeanwhile(Exception):
    """Somebody else saved a version of the format at the same moment."""

    def __init__(self) -> None:
        super().__init__("Somebody else saved this format just now. Look at it, and save again.")


@atomic
def save_line_format(
    *,
    name: str,
    definition: FormatDefinition,
    by: User | None,
    gateway: Gateway | None = None,
) -> LineFormat:
    """Save a version of an own format, and return it. An unchanged definition makes none.

    Every gateway that has the format reads its lines by it within seconds; `gateway` has it from
    now on.

    Raises:
        NameOfBuiltInFormat: a built-in format has the name.
        SavedMeanwhile: a version was saved at the same moment.
    """
    if name in BUILT_IN_BY_NAME:
        raise NameOfBuiltInFormat
    saved = LineFormat.objects.filter(name=name).order_by("-version").first()
    data = definition_as_data(definition)
    if saved is None or saved.definition != data:
        saved = _add_version(name, data, by)
    if gateway is not None and gateway.line_format != name:
        changed = {"format of its lines": {"old": gateway.line_format or None, "new": name}}
        gateway.line_format = name
        gateway.save(update_fields=["line_format"])
        details = {"changed": changed}
        AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=gateway, by=by, details=details)
    return saved


def _add_version(name: str, data: dict[str, Any], by: User | None) -> LineFormat:
    of_name = LineFormat.objects.filter(name=name)
    latest = of_name.aggregate(latest=Max("version", default=0))["latest"]
    try:
        with atomic():
            saved = LineFormat.objects.create(
                name=name, version=latest + 1, definition=data, saved_by=by.email if by else ""
            )
    except IntegrityError as error:
        raise SavedMeanwhile from error
    verb = AuditEvent.Verb.CHANGED if latest else AuditEvent.Verb.CREATED
    gateways = list(Gateway.objects.filter(line_format=name).values_list("name", flat=True))
    details = {"version": saved.version, "gateways": gateways}
    AuditEvent.objects.record(verb, target=saved, by=by, details=details)
    return saved


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
