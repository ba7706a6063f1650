"""Owners of the keys in quarantine, so that an admin need not look them up one by one."""

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
from revcred.models.audit import AuditVerb
from revcred.public_ids import public_id_fingerprint, public_id_of

# One row of each group is enough: whether a key is similar to another follows from the key alone.
# The order is that of the index, so that only one row is read.
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
    """Return the groups with their key's owner where that helps to decide what to do.

    It takes five queries, however many groups there are.
    """
    fingerprints = [group.fingerprint for group in groups if group.fingerprint]
    similar = _find_similar(
        [group.fingerprint for group in groups if group.has_unknown_key and group.fingerprint]
    )
    plain_fingerprints = [fingerprint for fingerprint, _ in similar.values()]
    keys = _keys_by_fingerprint([*fingerprints, *plain_fingerprints])
    named = _credentials_by_public_id(fingerprints)
    events = _events_by_credential(
        [*(key.credential for same in keys.values() for key in same), *named.values()]
    )
    return [
        replace(
            group,
            owner=_owner_of_group(group, keys, similar, events)
            or _named_owner(group, named, events),
        )
        for group in groups
    ]


def _named_owner(
    group: QuarantineGroup,
    named: dict[UUID, Credential],
    events: dict[int, list[AuditEvent]],
) -> KeyOwner | None:
    """Return the owner of a group whose gateway names a public id."""
    credential = named.get(group.fingerprint) if group.fingerprint else None
    if credential is None:
        return None
    if group.reason is not QuarantineReason.KEY_NOT_VALID:
        return KeyOwner(credential=credential)
    return _owner_of_invalid_key(
        credential, None, group.last_seen or timezone.now(), events.get(credential.pk, [])
    )


def _owner_of_group(
    group: QuarantineGroup,
    keys: dict[UUID, list[ExternalKey]],
    similar: dict[UUID, tuple[UUID, str]],
    events: dict[int, list[AuditEvent]],
) -> KeyOwner | None:
    if group.fingerprint is None:
        return None
    if group.fingerprint in similar:
        plain_fingerprint, oddities = similar[group.fingerprint]
        key = _latest_key_for_gateway(group, keys.get(plain_fingerprint, []))
        but_for = similar_keys.describe_oddities(oddities)
        return KeyOwner(credential=key.credential, but_for=but_for) if key else None
    key = _latest_key_for_gateway(group, keys.get(group.fingerprint, []))
    if key is None:
        return None
    if group.reason is not QuarantineReason.KEY_NOT_VALID:
        return KeyOwner(credential=key.credential)
    return _owner_of_invalid_key(
        key.credential, key, group.last_seen or timezone.now(), events.get(key.credential_id, [])
    )


def _owner_of_invalid_key(
    credential: Credential, key: ExternalKey | None, at: datetime, events: Sequence[AuditEvent]
) -> KeyOwner:
    """Return the owner with the reason why the key was not valid then, since when and by whom.

    `key`: None if the credential is named by its public id, which never ends.
    """
    state, since = "valid now", None
    verbs: tuple[AuditVerb, ...] = ()
    if credential.revoked_at and credential.revoked_at <= at:
        state, since, verbs = "revoked", credential.revoked_at, (AuditVerb.REVOKED,)
    elif credential.expires_at and credential.expires_at <= at:
        state, since, verbs = (
            "expired",
            credential.expires_at,
            (AuditVerb.CHANGED, AuditVerb.ISSUED),
        )
    elif suspension := next((s for s in credential.suspensions.all() if s.is_active_at(at)), None):
        state, since, verbs = "suspended", suspension.active_from, (AuditVerb.SUSPENDED,)
    elif key and key.active_until and key.active_until <= at:
        state, since, verbs = (
            "key ended",
            key.active_until,
            (AuditVerb.KEY_ENDED, AuditVerb.ROTATED),
        )
    elif key and key.active_from > at:
        state, since, verbs = (
            "valid only from",
            key.active_from,
            (AuditVerb.ISSUED, AuditVerb.ALIAS_ADDED),
        )
    # Nobody's act ends a credential that expires; then it is the one that set the date.
    event = next((event for event in events if event.verb in verbs), None)
    return KeyOwner(credential=credential, state=state, since=since, event=event)


def _latest_key_for_gateway(
    group: QuarantineGroup, keys: Sequence[ExternalKey]
) -> ExternalKey | None:
    """Return the newest key for this gateway or for any, or None. `keys` are newest first."""
    return next((key for key in keys if key.gateway_id in (None, group.gateway_id)), None)


def _find_similar(fingerprints: Sequence[UUID]) -> dict[UUID, tuple[UUID, str]]:
    """Return the fingerprint of the similar plain key, and the differences, by fingerprint."""
    if not fingerprints:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(FIND_SIMILAR_KEYS, [list(fingerprints)])
        return {
            fingerprint: (similar, oddities) for fingerprint, similar, oddities in cursor.fetchall()
        }


def _keys_by_fingerprint(fingerprints: Sequence[UUID]) -> dict[UUID, list[ExternalKey]]:
    """Return the keys of each fingerprint, the newest first, with credential and customer."""
    found: dict[UUID, list[ExternalKey]] = {}
    keys = ExternalKey.objects.filter(fingerprint__in=fingerprints)
    keys = keys.select_related("credential__customer")
    for key in keys.order_by("-active_from", "-pk"):
        found.setdefault(key.fingerprint, []).append(key)
    credentials = [key.credential for same in found.values() for key in same]
    prefetch_related_objects(credentials, "suspensions")
    return found


def _credentials_by_public_id(fingerprints: Sequence[UUID]) -> dict[UUID, Credential]:
    """Return the credentials whose public ids stand among the fingerprints."""
    named = Credential.objects.filter(public_id__in=list(map(public_id_of, fingerprints)))
    return {
        fingerprint: credential
        for credential in named.select_related("customer").prefetch_related("suspensions")
        if (fingerprint := public_id_fingerprint(credential.public_id or ""))
    }


def _events_by_credential(credentials: Iterable[Credential]) -> dict[int, list[AuditEvent]]:
    """Return the audit events of credentials by the credential's id, the newest first."""
    ids = {credential.pk for credential in credentials}
    label = Credential._meta.label_lower
    found: dict[int, list[AuditEvent]] = {}
    for event in AuditEvent.objects.filter(target_type=label, target_id__in=ids):
        found.setdefault(event.target_id or 0, []).append(event)
    return found
