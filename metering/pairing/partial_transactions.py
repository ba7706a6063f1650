"""Halves of transactions: kept like deliveries, several in one commit, until they are joined."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection

from metering.bells import pairing_bell
from metering.inbox.calls import (
    Call,
    call_without_keys,
    dedup_key_of_id,
    encode_call,
    text_fields_of_call,
)
from metering.inbox.group_commit import FIND_EARLIER, GroupCommit, WithDuplicateLookup
from metering.inbox.redaction import NOTHING_WITHHELD, WithheldSecrets
from metering.models import Half
from revcred.fingerprints import fingerprint
from revcred.models import Gateway
from revcred.redaction import key_candidates

PartialSide = Half.Side
GENERATED_ID_PATTERN = re.compile("[0-9A-Fa-f-]{8,40}")
FIND_KEYS_FOR_PARTIAL = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(marks)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(marks)s)
UNION SELECT half.fingerprint FROM (
    SELECT (call::json ->> 'fingerprint')::uuid AS fingerprint
    FROM metering_half WHERE identity = %(identity)s
) half WHERE half.fingerprint = ANY(%(marks)s)
"""

# In one order, so that no two that keep the same halves wait for each other.
INSERT_PARTIAL_AND_FIND_EARLIER = f"""
WITH kept AS (
    INSERT INTO metering_half (identity, side, gateway_id, call)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bigint[], %b::text[]) AS half (identity, side)
    ORDER BY identity, side
    ON CONFLICT DO NOTHING
) {FIND_EARLIER}
"""


@dataclass(frozen=True, kw_only=True)
class PartialTransactionRow(WithDuplicateLookup):
    statement: ClassVar = INSERT_PARTIAL_AND_FIND_EARLIER

    side: PartialSide
    gateway_id: int
    call: str

    def row(self) -> Sequence[Any]:
        return self.identity, self.side.value, self.gateway_id, self.call, self.identity


def partial_transaction_row(
    gateway_id: int, call: Call, side: PartialSide, withheld: WithheldSecrets
) -> PartialTransactionRow:
    """Raises django.db.OperationalError when the database is away."""
    # Both halves have to be known by the same, though only one may know what is a key in the id.
    mark = UUID(dedup_key_of_id(gateway_id, call.transaction_id))
    if call.key is None and _may_hold_a_key(call):
        call = call_without_keys(
            call, _find_known_keys(key_candidates(text_fields_of_call(call)), mark)
        )
    *_, said = encode_call(gateway_id, call, withheld)
    return PartialTransactionRow(identity=mark, side=side, gateway_id=gateway_id, call=said)


def _may_hold_a_key(call: Call) -> bool:
    """False for a half that says no more than numbers, under an id as programs make them."""
    texts = text_fields_of_call(call)
    del texts["elements"]
    return set(texts) != {"transaction_id"} or not GENERATED_ID_PATTERN.fullmatch(
        call.transaction_id
    )


def _find_known_keys(parts: Collection[str], mark: UUID) -> list[str]:
    """Those that are known as keys, or are the key that the other half came with."""
    by_fingerprint = {fingerprint(part): part for part in parts}
    with connection.cursor() as cursor:
        cursor.execute(FIND_KEYS_FOR_PARTIAL, {"marks": list(by_fingerprint), "identity": mark})
        return [by_fingerprint[found] for (found,) in cursor]


partial_group_commit = GroupCommit()


def accept_partial(
    gateway: Gateway, call: Call, side: PartialSide, *, withheld: WithheldSecrets = NOTHING_WITHHELD
) -> PartialTransactionRow:
    """Keep what one half of a transaction says, until the other comes or has had its time.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = partial_transaction_row(gateway.pk, call, side, withheld)
    partial_group_commit.keep(entry)
    pairing_bell.ring()
    return entry
