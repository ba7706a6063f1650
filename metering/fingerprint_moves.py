"""Moves of fingerprints to another key of fingerprints: in all tables that keep them."""

from datetime import datetime
from uuid import UUID, uuid4

from django.db import connection
from django.db.transaction import atomic

from revcred.hooks import announce_change
from revcred.models import ExternalKey, FingerprintMove, UnmovedFingerprint

# in: the tables that keep fingerprints of one key; out: nothing, each fingerprint is listed once
REMEMBER_UNMOVED = """
INSERT INTO revcred_unmovedfingerprint (fingerprint)
SELECT fingerprint FROM revcred_externalkey
UNION SELECT secret_fingerprint FROM revcred_sealedvalue WHERE secret_fingerprint IS NOT NULL
UNION SELECT digest FROM revcred_usertoken WHERE revoked_at IS NULL
UNION SELECT digest FROM metering_gatewaytoken WHERE revoked_at IS NULL
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint IS NOT NULL
UNION SELECT similar_fingerprint FROM metering_quarantined WHERE similar_fingerprint IS NOT NULL
ON CONFLICT DO NOTHING
"""
# The same for what processes wrote that had not read yet that the exchange has begun. Some of it is
# under the new key already, and stays as it is.
REMEMBER_LATE = """
INSERT INTO revcred_unmovedfingerprint (fingerprint)
SELECT fingerprint FROM revcred_externalkey key
WHERE NOT EXISTS (SELECT FROM revcred_sealedvalue sealed WHERE sealed.external_key_id = key.id)
UNION SELECT digest FROM revcred_usertoken WHERE created_at >= %(since)s
UNION SELECT digest FROM metering_gatewaytoken WHERE created_at >= %(since)s
UNION SELECT fingerprint FROM metering_quarantined
    WHERE quarantined_at >= %(since)s AND fingerprint IS NOT NULL
ON CONFLICT DO NOTHING
"""
MOVED_COLUMNS = (
    ("revcred_externalkey", "fingerprint"),
    ("revcred_usertoken", "digest"),
    ("metering_gatewaytoken", "digest"),
    ("metering_quarantined", "fingerprint"),
    ("metering_inventoriedkey", "fingerprint"),
)
MOVE_COLUMN = """
UPDATE {table} SET {column} = move.new
FROM unnest(%(old)s::uuid[], %(new)s::uuid[]) AS move (old, new) WHERE {column} = move.old
"""
# By row, as secrets have no index: nobody is found by one.
MOVE_SECRETS = """
UPDATE revcred_sealedvalue sealed SET secret_fingerprint = move.new
FROM unnest(%(rows)s::bigint[], %(new)s::uuid[]) AS move (id, new)
WHERE sealed.external_key_id = move.id
"""
FORGET_UNMOVED = """
DELETE FROM revcred_unmovedfingerprint WHERE fingerprint = ANY (%(old)s::uuid[])
"""
# A move is written anew when it is applied: by the newest number, processes know that one was.
FORGET_NOTED = "DELETE FROM revcred_fingerprintmove WHERE old = ANY (%(old)s::uuid[])"
RECORD_MOVES = """
INSERT INTO revcred_fingerprintmove (old, new, is_applied)
SELECT old, new, true FROM unnest(%(old)s::uuid[], %(new)s::uuid[]) AS move (old, new)
"""
# in: the moves, the quarantine; out: the new fingerprints under which calls wait by now
FOLLOW_MOVES = """
WITH followed AS (
    UPDATE metering_quarantined waiting SET fingerprint = move.new
    FROM revcred_fingerprintmove move
    WHERE move.is_applied AND move.old <> move.new AND waiting.fingerprint = move.old
    RETURNING waiting.fingerprint, waiting.occurred_at
)
SELECT fingerprint, min(occurred_at), count(*) FROM followed GROUP BY fingerprint
"""
# Once for all moves, as it has no index: it only suggests which credential is meant.
FOLLOW_SIMILAR = """
UPDATE metering_quarantined waiting SET similar_fingerprint = move.new
FROM revcred_fingerprintmove move
WHERE move.is_applied AND move.old <> move.new AND waiting.similar_fingerprint = move.old
"""
# in: the unmoved fingerprints; out: a line on each that is of a key or a token
LIST_UNMOVED = """
SELECT 'key …' || key.hint || ' of the credential ' || credential.name
FROM revcred_unmovedfingerprint unmoved
JOIN revcred_externalkey key ON key.fingerprint = unmoved.fingerprint
JOIN revcred_credential credential ON credential.id = key.credential_id
UNION ALL
SELECT 'token …' || token.hint || ' of ' || person.email
FROM revcred_unmovedfingerprint unmoved
JOIN revcred_usertoken token ON token.digest = unmoved.fingerprint AND token.revoked_at IS NULL
JOIN revcred_user person ON person.id = token.user_id
UNION ALL
SELECT 'token …' || token.hint || ' of the gateway ' || gateway.name
FROM revcred_unmovedfingerprint unmoved
JOIN metering_gatewaytoken token ON token.digest = unmoved.fingerprint AND token.revoked_at IS NULL
JOIN revcred_gateway gateway ON gateway.id = token.gateway_id
ORDER BY 1
"""


def remember_unmoved() -> None:
    """List all present fingerprints as unmoved."""
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER_UNMOVED)


def remember_late(since: datetime) -> None:
    """List what was written after `since`, by processes that knew of the old key only."""
    with connection.cursor() as cursor:
        cursor.execute(REMEMBER_LATE, {"since": since})
    # A move of nothing: by its number, processes know that they have to read the list again.
    nothing = uuid4()
    FingerprintMove.objects.create(old=nothing, new=nothing, is_applied=True)


def forget_moves() -> None:
    """Delete what was noted of an exchange that is over: guesses could be tested on it."""
    FingerprintMove.objects.all().delete()
    UnmovedFingerprint.objects.all().delete()


def apply_moves(moves: dict[UUID, UUID]) -> None:
    """Replace old fingerprints by new ones everywhere, inside the caller's transaction."""
    arguments = {"old": list(moves.keys()), "new": list(moves.values())}
    with connection.cursor() as cursor:
        for table, column in MOVED_COLUMNS:
            cursor.execute(MOVE_COLUMN.format(table=table, column=column), arguments)
        for statement in (FORGET_UNMOVED, FORGET_NOTED, RECORD_MOVES):
            cursor.execute(statement, arguments)


def move_secrets(moves: dict[int, tuple[UUID, UUID]]) -> None:
    """Set the fingerprints of sealed secrets: old and new, by the number of the external key."""
    arguments: dict[str, list[int] | list[UUID]] = {
        "rows": list(moves),
        "old": [old for old, _ in moves.values()],
        "new": [new for _, new in moves.values()],
    }
    with connection.cursor() as cursor:
        cursor.execute(MOVE_SECRETS, arguments)
        cursor.execute(FORGET_UNMOVED, arguments)


@atomic
def follow_moves() -> int:
    """Match calls again that came under a fingerprint that was moved; return how many wait."""
    with connection.cursor() as cursor:
        cursor.execute(FOLLOW_SIMILAR)
        cursor.execute(FOLLOW_MOVES)
        followed = {fingerprint: (since, count) for fingerprint, since, count in cursor}
    for key in ExternalKey.objects.filter(fingerprint__in=followed).select_related("credential"):
        announce_change(
            f"a key of “{key.credential}” has another fingerprint",
            credential=key.credential,
            since=followed[key.fingerprint][0],
            by=None,
        )
    return sum(count for _, count in followed.values())


def list_unmoved_fingerprints() -> list[str]:
    """Return a line for each key and token that is still known by an old fingerprint."""
    with connection.cursor() as cursor:
        cursor.execute(LIST_UNMOVED)
        return [line for (line,) in cursor]
