"""Halves of transactions: kept like deliveries, several in one commit, until they are joined."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection

from metering.bells import joining_bell
from metering.inbox.calls import Call, encoded, identity, texts_of, without_keys
from metering.inbox.group_commit import RECALL, Recalling, Together
from metering.inbox.redaction import NOTHING, Withheld
from metering.models import Half
from revcred.fingerprints import fingerprint
from revcred.models import Gateway
from revcred.redaction import candidates

Side = Half.Side
MADE_ID = re.compile("[0-9A-Fa-f-]{8,40}")
KEYS_AMONG = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(marks)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(marks)s)
UNION SELECT half.fingerprint FROM (
    SELECT (call::json ->> 'fingerprint')::uuid AS fingerprint
    FROM metering_half WHERE identity = %(identity)s
) half WHERE half.fingerprint = ANY(%(marks)s)
"""

# In one order, so that no two that keep the same halves wait for each other.
KEEP = f"""
WITH kept AS (
    INSERT INTO metering_half (identity, side, gateway_id, call)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bigint[], %b::text[]) AS half (identity, side)
    ORDER BY identity, side
    ON CONFLICT DO NOTHING
) {RECALL}
"""


@dataclass(frozen=True, kw_only=True)
class HalfEntry(Recalling):
    statement: ClassVar = KEEP

    side: Side
    gateway_id: int
    call: str

    def row(self) -> Sequence[Any]:
        return self.identity, self.side.value, self.gateway_id, self.call, self.identity


def entry_of_half(gateway_id: int, call: Call, side: Side, withheld: Withheld) -> HalfEntry:
    """Raises django.db.OperationalError when the database is away."""
    # Both halves have to be known by the same, though only one may know what is a key in the id.
    mark = UUID(identity(gateway_id, call.transaction_id))
    if call.key is None and _may_hold_a_key(call):
        call = without_keys(call, _known_among(candidates(texts_of(call)), mark))
    *_, said = encoded(gateway_id, call, withheld)
    return HalfEntry(identity=mark, side=side, gateway_id=gateway_id, call=said)


def _may_hold_a_key(call: Call) -> bool:
    """False for a half that says no more than numbers, under an id as programs make them."""
    texts = texts_of(call)
    del texts["elements"]
    return set(texts) != {"transaction_id"} or not MADE_ID.fullmatch(call.transaction_id)


def _known_among(parts: Collection[str], mark: UUID) -> list[str]:
    """Those that are known as keys, or are the key that the other half came with."""
    by_fingerprint = {fingerprint(part): part for part in parts}
    with connection.cursor() as cursor:
        cursor.execute(KEYS_AMONG, {"marks": list(by_fingerprint), "identity": mark})
        return [by_fingerprint[found] for (found,) in cursor]


halves_together = Together()


def take_in_half(
    gateway: Gateway, call: Call, side: Side, *, withheld: Withheld = NOTHING
) -> HalfEntry:
    """Keep what one half of a transaction says, until the other comes or has had its time.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = entry_of_half(gateway.pk, call, side, withheld)
    halves_together.keep(entry)
    joining_bell.ring()
    return entry
