"""Drift: where the keys that a gateway lets in differ from those that are valid in the register.

Both are compared as sets, by one statement, so that it is quick with a hundred thousand keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import Any
from uuid import UUID

from cachetools import TTLCache, cached
from django.db import connection, models
from django.utils import timezone

from metering.inventories.key_states import (
    KEY_STATES,
    PREFERENCE_OF_KEY,
    STATE_OF_KEY,
    WITH_SUSPENDED,
)
from metering.models import KeyInventory
from revcred.models import Credential, Gateway

# The page of a gateway shows the counts, and is opened often.
COUNTS_CACHE_SECONDS = 60.0
MAX_COUNTED_INVENTORIES = 100


class DriftKind(models.TextChoices):
    """A difference between a gateway and the register, the worst first."""

    WORKS_THERE = "works-there", "Not valid here, works there"
    UNKNOWN_HERE = "unknown-here", "There, not here"
    MISSING_THERE = "missing-there", "Here, not there"
    SHARED = "shared", "The same key at other gateways"


LIST_OF_STATES = f"ARRAY[{', '.join(map(repr, KEY_STATES))}]"
JUDGED_ENTRIES = f"""
{WITH_SUSPENDED}, entry AS (
    -- in: all entries; out: those of this inventory.
    SELECT id, kind, fingerprint, hint, label, is_enabled, created_at
    FROM metering_inventoriedkey WHERE inventory_id = %(inventory)s
), digest AS (
    -- in: the exported digests; out: the same as inventories know them (`fingerprint_of_digest`).
    SELECT
        external_key_id,
        substr(encode(sha256(encode(digest, 'hex')::bytea), 'hex'), 1, 32)::uuid AS fingerprint
    FROM revcred_exporteddigest
    WHERE EXISTS (SELECT FROM entry WHERE entry.kind = 'digest')
), holder AS (
    -- in: the entries; out: one row an entry and key or public id that it may stand for here.
    SELECT entry.id, k.credential_id, k.gateway_id, k.active_from, k.active_until
    FROM entry JOIN revcred_externalkey k ON k.fingerprint = entry.fingerprint
    WHERE entry.kind <> 'digest' AND (k.gateway_id IS NULL OR k.gateway_id = %(gateway)s)
    UNION ALL
    SELECT entry.id, k.credential_id, k.gateway_id, k.active_from, k.active_until
    FROM entry JOIN digest ON digest.fingerprint = entry.fingerprint
    JOIN revcred_externalkey known ON known.id = digest.external_key_id
    JOIN revcred_externalkey k ON k.fingerprint = known.fingerprint
    WHERE entry.kind = 'digest' AND (k.gateway_id IS NULL OR k.gateway_id = %(gateway)s)
    UNION ALL
    SELECT entry.id, c.id, NULL, 'epoch', NULL FROM entry
    JOIN revcred_credential c ON c.public_id = 'cred_' || replace(entry.fingerprint::text, '-', '')
    WHERE entry.kind = 'alias'
), best AS (
    -- in: what the entries may stand for; out: one row an entry, with what the gateway prefers.
    -- All of it is one array of numbers, since the least one is found without sorting.
    SELECT k.id, min({PREFERENCE_OF_KEY} || ARRAY[
        array_position({LIST_OF_STATES}, {STATE_OF_KEY}), k.credential_id
    ]) AS numbers
    FROM holder k JOIN revcred_credential c ON c.id = k.credential_id
    LEFT JOIN suspended ON suspended.credential_id = c.id
    GROUP BY k.id
), judged AS (
    -- in: what the gateway prefers; out: known entries with their states. A key that is an alias
    -- here is known: its calls are attributed.
    SELECT id, numbers[4] AS credential_id, ({LIST_OF_STATES})[numbers[3]] AS state FROM best
), works_there AS (
    -- in: known entries; out: those that the gateway lets in although they are not valid here.
    SELECT entry.*, judged.credential_id, judged.state
    FROM entry JOIN judged ON judged.id = entry.id
    WHERE entry.is_enabled AND judged.state <> 'active'
), unknown_here AS (
    -- in: the entries; out: those that the gateway lets in and that are nobody's here.
    SELECT entry.*, NULL::bigint AS credential_id, '' AS state
    FROM entry LEFT JOIN judged ON judged.id = entry.id
    WHERE entry.is_enabled AND judged.id IS NULL
), missing_there AS (
    -- in: keys that are valid now; out: those whose key the gateway does not let in, nor an id.
    SELECT
        k.id, k.kind, k.fingerprint, k.hint, '' AS label, true AS is_enabled, k.created_at,
        k.credential_id, 'active' AS state
    FROM revcred_externalkey k
    JOIN revcred_credential c ON c.id = k.credential_id
    LEFT JOIN suspended ON suspended.credential_id = c.id
    WHERE k.kind = 'key' AND {STATE_OF_KEY} = 'active'
        AND (k.gateway_id IS NULL OR k.gateway_id = %(gateway)s)
        -- A key that counts only there hides one for any gateway.
        AND (k.gateway_id IS NOT NULL OR NOT EXISTS (
            SELECT FROM revcred_externalkey own
            WHERE own.fingerprint = k.fingerprint AND own.gateway_id = %(gateway)s
                AND own.active_from <= %(now)s
                AND (own.active_until IS NULL OR own.active_until > %(now)s)
        ))
        AND NOT EXISTS (
            SELECT FROM entry WHERE entry.fingerprint = k.fingerprint AND entry.is_enabled
        )
        AND NOT EXISTS (
            SELECT FROM digest JOIN entry ON entry.fingerprint = digest.fingerprint
            WHERE digest.external_key_id = k.id AND entry.kind = 'digest' AND entry.is_enabled
        )
        AND NOT EXISTS (
            SELECT FROM judged JOIN entry ON entry.id = judged.id
            WHERE judged.credential_id = k.credential_id
                AND entry.kind = 'alias' AND entry.is_enabled
        )
), other_inventory AS (
    -- in: the inventories; out: the latest of each other gateway.
    SELECT DISTINCT ON (gateway_id) id, gateway_id FROM metering_keyinventory
    WHERE ended_at IS NOT NULL AND gateway_id <> %(gateway)s
    ORDER BY gateway_id, ended_at DESC
), shared AS (
    -- in: the entries; out: keys that another gateway lets in, too.
    SELECT entry.*, judged.credential_id, judged.state
    FROM entry LEFT JOIN judged ON judged.id = entry.id
    WHERE entry.is_enabled AND entry.kind = 'key' AND entry.fingerprint IN (
        SELECT other.fingerprint FROM metering_inventoriedkey other
        JOIN other_inventory ON other_inventory.id = other.inventory_id
        WHERE other.kind = 'key' AND other.is_enabled
    )
)
"""
COUNT_DRIFT = f"""
{JUDGED_ENTRIES}
SELECT
    (SELECT count(*) FROM works_there), (SELECT count(*) FROM unknown_here),
    (SELECT count(*) FROM missing_there), (SELECT count(*) FROM shared)
"""
LIST_DRIFT = """
{judged}
SELECT found.kind, found.fingerprint, found.hint, found.label, found.created_at,
    found.credential_id, found.state, ARRAY(
        SELECT DISTINCT other_inventory.gateway_id FROM metering_inventoriedkey other
        JOIN other_inventory ON other_inventory.id = other.inventory_id
        WHERE other.fingerprint = found.fingerprint AND other.kind = 'key' AND other.is_enabled
    )
FROM {kind} AS found ORDER BY found.id DESC LIMIT %(rows)s OFFSET %(offset)s
"""
# By kind, so that nothing but these names is ever put into the statement.
LISTS = {
    kind: LIST_DRIFT.format(judged=JUDGED_ENTRIES, kind=kind.value.replace("-", "_"))
    for kind in DriftKind
}


@dataclass(frozen=True, kw_only=True)
class DriftedKey:
    """A key at which gateway and register differ.

    `credential`: whose it is here, if anybody's. `gateways`: others that let it in.
    """

    kind: str
    fingerprint: UUID
    hint: str
    label: str
    created_at: datetime | None
    credential: Credential | None
    state: str
    gateways: Sequence[Gateway] = field(default=())


def count_drift(inventory: KeyInventory, *, at: datetime | None = None) -> dict[DriftKind, int]:
    """Return the number of differences of each kind."""
    with connection.cursor() as cursor:
        cursor.execute(COUNT_DRIFT, _arguments(inventory, at))
        return dict(zip(DriftKind, cursor.fetchone(), strict=True))


@cached(
    TTLCache(MAX_COUNTED_INVENTORIES, COUNTS_CACHE_SECONDS),
    key=lambda inventory: inventory.pk,
    lock=Lock(),
)
def count_drift_lately(inventory: KeyInventory) -> dict[DriftKind, int]:
    """Return the number of differences of each kind, as it was within the last minute."""
    return count_drift(inventory)


def list_drift(
    inventory: KeyInventory,
    kind: DriftKind,
    *,
    rows: int,
    offset: int = 0,
    at: datetime | None = None,
) -> list[DriftedKey]:
    """Return differences of a kind, the latest of the inventory first."""
    with connection.cursor() as cursor:
        arguments = _arguments(inventory, at) | {"rows": rows, "offset": offset}
        cursor.execute(LISTS[kind], arguments)
        found = cursor.fetchall()
    credentials = Credential.objects.select_related("customer").in_bulk({row[5] for row in found})
    gateways = Gateway.objects.in_bulk({number for row in found for number in row[7]})
    return [
        DriftedKey(
            kind=key_kind,
            fingerprint=fingerprint,
            hint=hint,
            label=label,
            created_at=created_at,
            credential=credentials.get(credential),
            state=KEY_STATES.get(state, ""),
            gateways=[gateways[number] for number in others if number in gateways],
        )
        for key_kind, fingerprint, hint, label, created_at, credential, state, others in found
    ]


def _arguments(inventory: KeyInventory, at: datetime | None = None) -> dict[str, Any]:
    return {
        "inventory": inventory.pk,
        "gateway": inventory.gateway_id,
        "now": at or timezone.now(),
    }
