"""Calls as the inbox keeps them: in our own terms, and without a key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from metering.inbox import KEEP_AND_RECALL, Entry, Recalling, time_ordered_id
from metering.models.usage import CALLS
from metering.similar_keys import similar
from revcred.external_keys import trimmed
from revcred.fingerprints import fingerprint_hex, hint


class Call(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One metered call as the inbox keeps it. Its key is a fingerprint and a hint already."""

    transaction_id: str
    occurred_at: datetime
    fingerprint: str | None = None
    hint: str | None = None
    # Of a key that is written oddly: see `metering.similar_keys`.
    similar_fingerprint: str | None = None
    oddities: str | None = None
    subscription_named: str | None = None
    source_named: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | UnsetType | None = None
    request_bytes: int | UnsetType | None = None
    response_bytes: int | UnsetType | None = None
    latency_ms: float | UnsetType | None = None
    elements: dict[str, int | Decimal]
    metadata: dict[str, Any] | None = None
    names: dict[str, Any] | None = None
    # It came without a moment, so `occurred_at` is when it arrived, and no part of what it says.
    undated: bool = False
    # Its moment is too old or too far ahead to be counted without an admin's word.
    outside: bool = False

    def completed_by(self, other: "Call") -> "Call":
        """What this one says, and what only the other does."""
        completed = replace(other, **_said(self))
        completed.elements = other.elements | self.elements
        completed.metadata = (other.metadata or {}) | (self.metadata or {}) or None
        if self.undated and not other.undated:
            completed.occurred_at, completed.undated = other.occurred_at, False
            completed.outside = other.outside
        return completed


def marks_of(key: str | None) -> dict[str, Any]:
    """What a call keeps of its key, which goes no further than this.

    Raises:
        KeyTooLong: more than MAX_KEY_CHARACTERS are left of it.
    """
    key = trimmed(key) if key else None
    if not key:
        return {}
    marks = {"fingerprint": fingerprint_hex(key), "hint": hint(key)}
    if found := similar(key):
        marks["similar_fingerprint"], marks["oddities"] = found
    return marks


ONE_CALL: dict[str, int | Decimal] = {CALLS: 1}
NOT_SAID = (None, UNSET)
ANY_TIME = datetime.fromtimestamp(0, UTC)

# Sorted, so that the same content in another order is the same content.
encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def _said(call: Call) -> dict[str, Any]:
    return {name: value for name, value in asdict(call).items() if value not in NOT_SAID}


def entry_of(gateway_id: int, calls: Sequence[Call], *, rejected: int = 0) -> Entry:
    return Entry(gateway_id, len(calls), rejected, _body(gateway_id, calls))


@dataclass(frozen=True, kw_only=True)
class RecallingEntry(Recalling, Entry):
    """One call, asking whether it came before."""

    statement: ClassVar = KEEP_AND_RECALL

    def row(self) -> Sequence[Any]:
        return *super().row(), self.identity


def recalling_entry_of(gateway_id: int, call: Call) -> RecallingEntry:
    return RecallingEntry(
        identity=UUID(identity(gateway_id, call.transaction_id)),
        gateway_id=gateway_id,
        transactions=1,
        rejected=0,
        body=_body(gateway_id, [call]),
    )


def identity(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _digest(b"%d\0" % gateway_id + transaction_id.encode())


def _body(gateway_id: int, calls: Sequence[Call]) -> str:
    """A JSON array of the calls, each led by its ids and the digest of all it says."""
    first = time_ordered_id()
    return f"[{','.join(_line(gateway_id, first + n, call) for n, call in enumerate(calls))}]"


def _line(gateway_id: int, made_id: int, call: Call) -> str:
    said = encode(call)
    content = said
    if call.undated:
        content = encode(replace(call, occurred_at=ANY_TIME))
    elif call.outside:  # what it says is the same when it is sent again inside the window
        content = encode(replace(call, outside=False))
    digest = _digest(content)
    return (
        f'{{"made_id":"{made_id:032x}","identity":"{identity(gateway_id, call.transaction_id)}",'
        f'"digest":"{digest}",{said[1:].decode()}'
    )


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
