"""Halves of transactions: kept like deliveries, several in one commit, until they are joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from metering.calls import Call, encoded
from metering.inbox import RECALL, Recalling, Together
from metering.models import Half
from metering.redaction import Withheld

Side = Half.Side

# In one order, so that no two that keep the same halves wait for each other.
KEEP = f"""
WITH kept AS (
    INSERT INTO metering_half (identity, side, gateway_id, call)
    SELECT * FROM unnest(%b::uuid[], %b::text[], %b::bigint[], %b::text[]) AS half (identity, side)
    ORDER BY identity, side
    ON CONFLICT DO NOTHING
) {RECALL}
"""  # noqa: S608 - composed of constants


@dataclass(frozen=True, kw_only=True)
class HalfEntry(Recalling):
    statement: ClassVar = KEEP

    side: Side
    gateway_id: int
    call: str

    def row(self) -> Sequence[Any]:
        return self.identity, self.side.value, self.gateway_id, self.call, self.identity


def entry_of_half(gateway_id: int, call: Call, side: Side, withheld: Withheld) -> HalfEntry:
    identity, _, _, said = encoded(gateway_id, call, withheld)
    return HalfEntry(identity=UUID(identity), side=side, gateway_id=gateway_id, call=said)


halves_together = Together()
