"""Accept partial transactions: a request or a response that waits for its other part."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.db import connection
from msgspec.structs import replace

from metering.bells import pairing_bell
from metering.inbox.calls import (
    Call,
    call_without_found_keys,
    dedup_key_of_id,
    encode_call,
    text_fields_of_call,
)
from metering.inbox.group_commit import (
    FIND_EARLIER,
    GroupCommit,
    WithDuplicateLookup,
    time_ordered_id,
)
from metering.inbox.redaction import NOTHING_WITHHELD, WithheldSecrets, trace_of_key
from metering.models import PartialTransaction
from revcred.fingerprints import fingerprint
from revcred.models import Gateway
from revcred.redaction import KeyCandidates, key_candidates

PartialSide = PartialTransaction.Side
# An id that a program generated, such as a UUID: no caller's key looks like this.
GENERATED_ID_PATTERN = re.compile("[0-9A-Fa-f-]{8,40}")

# Which of these fingerprints belong to a key: an issued one, one in quarantine, or the one that the
# other part came with.
FIND_KEYS_FOR_PARTIAL = """
SELECT fingerprint FROM revcred_externalkey WHERE fingerprint = ANY(%(fingerprints)s)
UNION SELECT fingerprint FROM metering_quarantined WHERE fingerprint = ANY(%(fingerprints)s)
UNION SELECT other_part.fingerprint FROM (
    SELECT (call::json ->> 'fingerprint')::uuid AS fingerprint
    FROM metering_partialtransaction WHERE dedup_key = %(dedup_key)s OR shared_id = %(dedup_key)s
) other_part WHERE other_part.fingerprint = ANY(%(fingerprints)s)
"""

INSERT_PARTIAL_AND_FIND_EARLIER = f"""
WITH kept AS (
    -- in: one array a column; out: nothing, the parts are inserted, of a repeat the first stays.
    -- In one order, so that two that insert the same parts do not wait for each other.
    INSERT INTO metering_partialtransaction
        (dedup_key, side, gateway_id, call, shared_id, content_hash)
    SELECT * FROM unnest(
        %b::uuid[], %b::text[], %b::bigint[], %b::text[], %b::uuid[], %b::uuid[]
    ) AS part (dedup_key, side)
    ORDER BY dedup_key, side
    ON CONFLICT DO NOTHING
) {FIND_EARLIER}
"""


@dataclass(frozen=True, kw_only=True)
class PartialTransactionRow(WithDuplicateLookup):
    """The inbox row of one part, which learns whether the whole call was processed before."""

    statement: ClassVar = INSERT_PARTIAL_AND_FIND_EARLIER

    side: PartialSide
    gateway_id: int
    call: str
    shared_id: UUID | None = None
    content_hash: UUID | None = None

    def values(self) -> Sequence[Any]:
        columns = self.dedup_key, self.side.value, self.gateway_id, self.call
        return *columns, self.shared_id, self.content_hash, self.dedup_key


def partial_transaction_row(
    gateway_id: int,
    call: Call,
    side: PartialSide,
    withheld: WithheldSecrets,
    *,
    ids_from_callers: bool | None = False,
) -> PartialTransactionRow:
    """Return the inbox row of one part, without keys in its texts.

    `ids_from_callers`: ids are chosen by callers of the gateway, so that an id does not tell which
    parts belong together. Then each part has a dedup key of its own, and pairing decides.

    Raises:
        django.db.OperationalError: the database is unavailable.
    """
    # Of the uncut id: only one part may come with the key, and both need the same dedup key.
    dedup_key = UUID(dedup_key_of_id(gateway_id, call.transaction_id))
    if call.key is not None:
        call = replace(call, key_trace=trace_of_key(call.key))
    elif _may_hold_a_key(call):
        candidates = key_candidates(text_fields_of_call(call))
        known = {*_find_known_keys(candidates.parts, dedup_key)}
        call = call_without_found_keys(call, KeyCandidates(known, candidates.unsearched))
    *_, content_hash, text = encode_call(gateway_id, call, withheld)
    if not ids_from_callers:
        return PartialTransactionRow(
            dedup_key=dedup_key, side=side, gateway_id=gateway_id, call=text
        )
    return PartialTransactionRow(
        dedup_key=UUID(int=time_ordered_id()),
        side=side,
        gateway_id=gateway_id,
        call=text,
        shared_id=dedup_key,
        content_hash=UUID(content_hash),
    )


def _may_hold_a_key(call: Call) -> bool:
    """Return False for a part with numbers only and a generated id, which needs no look-up."""
    texts = text_fields_of_call(call)
    del texts["elements"]
    return set(texts) != {"transaction_id"} or not GENERATED_ID_PATTERN.fullmatch(
        call.transaction_id
    )


def _find_known_keys(candidates: Collection[str], dedup_key: UUID) -> list[str]:
    """Return the candidates that are known keys, or the key that the other part came with."""
    by_fingerprint = {fingerprint(text): text for text in candidates}
    arguments: dict[str, Any] = {"fingerprints": list(by_fingerprint), "dedup_key": dedup_key}
    with connection.cursor() as cursor:
        cursor.execute(FIND_KEYS_FOR_PARTIAL, arguments)
        return [by_fingerprint[found] for (found,) in cursor]


partial_group_commit = GroupCommit()


def accept_partial(
    gateway: Gateway, call: Call, side: PartialSide, *, withheld: WithheldSecrets = NOTHING_WITHHELD
) -> PartialTransactionRow:
    """Commit one part of a transaction, to be paired with the other part or accepted alone.

    Raises:
        django.db.OperationalError: the database is unavailable; sending the part again is safe.
    """
    row = partial_transaction_row(
        gateway.pk, call, side, withheld, ids_from_callers=gateway.ids_from_callers
    )
    partial_group_commit.commit(row)
    pairing_bell.ring()
    return row
