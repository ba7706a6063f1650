"""Whose the keys of groups in quarantine are: what an admin would otherwise have to look up."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import prefetch_related_objects
from django.utils import timezone

from metering import similar_keys
from metering.admin.groups import KeyOwner, QuarantineGroup
from metering.models import QuarantineReason
from revcred.models import AuditEvent, Credential, ExternalKey

Verb = AuditEvent.Verb

FIND_SIMILAR_KEYS = """
SELECT found.fingerprint, first.similar_fingerprint, first.oddities
FROM unnest(%s::uuid[]) AS found (fingerprint), LATERAL (
    SELECT similar_fingerprint, oddities FROM metering_quarantined AS waiting
    WHERE waiting.reason = 'unknown_key' AND released_at IS NULL
        AND waiting.fingerprint = found.fingerprint
    ORDER BY waiting.fingerprint, waiting.gateway_id LIMIT 1
) AS first
WHERE first.similar_fingerprint IS NOT NULL
"""


def with_owners(groups: Sequence[QuarantineGroup]) -> list[QuarantineGroup]:
    """The groups, each with its key's owner where that helps to decide what to do."""
    marks = [each.fingerprint for each in groups if each.fingerprint]
    similar = _find_similar(
        [each.fingerprint for each in groups if each.is_unknown and each.fingerprint]
    )
    keys = _keys_by_fingerprint([*marks, *(mark for mark, _ in similar.values())])
    events = _events_by_credential(key.credential for of_mark in keys.values() for key in of_mark)
    return [replace(each, owner=_owner_of_group(each, keys, similar, events)) for each in groups]


def _owner_of_group(
    group: QuarantineGroup,
    keys: dict[UUID, list[ExternalKey]],
    similar: dict[UUID, tuple[UUID, str]],
    events: dict[int, list[AuditEvent]],
) -> KeyOwner | None:
    if group.fingerprint is None:
        return None
    if group.fingerprint in similar:
        mark, oddities = similar[group.fingerprint]
        key = _latest_key_for_gateway(group, keys.get(mark, []))
        but_for = similar_keys.describe_oddities(oddities)
        return KeyOwner(credential=key.credential, but_for=but_for) if key else None
    key = _latest_key_for_gateway(group, keys.get(group.fingerprint, []))
    if key is None:
        return None
    if group.reason is not QuarantineReason.KEY_NOT_VALID:
        return KeyOwner(credential=key.credential)
    return _owner_of_invalid_key(
        key, group.last_seen or timezone.now(), events.get(key.credential_id, [])
    )


def _owner_of_invalid_key(key: ExternalKey, at: datetime, events: Sequence[AuditEvent]) -> KeyOwner:
    """Why it was not valid at that moment, since when, and who saw to that."""
    credential = key.credential
    state, since = "valid by now", None
    verbs: tuple[Verb, ...] = ()
    if credential.revoked_at and credential.revoked_at <= at:
        state, since, verbs = "revoked", credential.revoked_at, (Verb.REVOKED,)
    elif credential.expires_at and credential.expires_at <= at:
        state, since, verbs = "expired", credential.expires_at, (Verb.CHANGED, Verb.ISSUED)
    elif suspension := next((s for s in credential.suspensions.all() if s.is_active_at(at)), None):
        state, since, verbs = "suspended", suspension.active_from, (Verb.SUSPENDED,)
    elif key.active_until and key.active_until <= at:
        state, since, verbs = "key ended", key.active_until, (Verb.KEY_ENDED, Verb.ROTATED)
    elif key.active_from > at:
        state, since, verbs = "valid only from", key.active_from, (Verb.ISSUED, Verb.ALIAS_ADDED)
    by = next((each.actor for each in events if each.verb in verbs), "")
    return KeyOwner(credential=credential, state=state, since=since, by=by)


def _latest_key_for_gateway(
    group: QuarantineGroup, keys: Sequence[ExternalKey]
) -> ExternalKey | None:
    """Of those for this gateway or for any, the one that counted last."""
    return next((key for key in keys if key.gateway_id in (None, group.gateway_id)), None)


def _find_similar(marks: Sequence[UUID]) -> dict[UUID, tuple[UUID, str]]:
    if not marks:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(FIND_SIMILAR_KEYS, [list(marks)])
        return {mark: (similar, oddities) for mark, similar, oddities in cursor.fetchall()}


def _keys_by_fingerprint(marks: Sequence[UUID]) -> dict[UUID, list[ExternalKey]]:
    found: dict[UUID, list[ExternalKey]] = {}
    keys = ExternalKey.objects.filter(fingerprint__in=marks).select_related("credential__customer")
    for key in keys.order_by("-active_from", "-pk"):
        found.setdefault(key.fingerprint, []).append(key)
    of_all = [key.credential for of_mark in found.values() for key in of_mark]
    prefetch_related_objects(of_all, "suspensions")
    return found


def _events_by_credential(credentials: Iterable[Credential]) -> dict[int, list[AuditEvent]]:
    """What was done to each, the newest first."""
    numbers = {credential.pk for credential in credentials}
    label = Credential._meta.label_lower
    found: dict[int, list[AuditEvent]] = {}
    for event in AuditEvent.objects.filter(target_type=label, target_id__in=numbers):
        found.setdefault(event.target_id or 0, []).append(event)
    return found
