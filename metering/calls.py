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
    # A digest of what tells it from other calls under its id; None where the id is enough.
    distinguished_by: str | None = None
    # A digest of what makes a repeat the same; None where that is all it says.
    content: str | None = None
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


def entry_of(
    gateway_id: int,
    calls: Sequence[Call],
    *,
    rejected: int = 0,
    passed_over: int = 0,
    ids_from_callers: bool | None = False,
) -> Entry:
    body = _body(gateway_id, calls, ids_from_callers=bool(ids_from_callers))
    return Entry(gateway_id, len(calls), rejected, body, passed_over=passed_over)


@dataclass(frozen=True, kw_only=True)
class RecallingEntry(Recalling, Entry):
    """One call, asking whether it came before."""

    statement: ClassVar = KEEP_AND_RECALL

    def row(self) -> Sequence[Any]:
        return *super().row(), self.identity


def recalling_entry_of(
    gateway_id: int, call: Call, *, ids_from_callers: bool | None = False
) -> RecallingEntry:
    return RecallingEntry(
        identity=UUID(identity_of(gateway_id, call, ids_from_callers=ids_from_callers)),
        gateway_id=gateway_id,
        transactions=1,
        rejected=0,
        body=_body(gateway_id, [call], ids_from_callers=bool(ids_from_callers)),
    )


def identity(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _digest(b"%d\0" % gateway_id + transaction_id.encode())


def identity_of(gateway_id: int, call: Call, *, ids_from_callers: bool | None = False) -> str:
    """Return the identity of a call: by its id, and by more where others may have the same id.

    Where callers may choose ids, a call is also known by its moment, method, path and status: a
    repeat has the same ones, and another call under an id that was used before has not.
    """
    known_by: list[Any] = [call.distinguished_by] if call.distinguished_by else []
    if ids_from_callers:
        moment = None if call.undated else call.occurred_at
        known_by += [moment, call.method or "", call.path or "", call.status or None]
    if not known_by:
        return identity(gateway_id, call.transaction_id)
    # No id contains a NUL, so that this is never the identity of another id.
    return _digest(b"%d\0" % gateway_id + call.transaction_id.encode() + b"\0" + encode(known_by))


def _body(gateway_id: int, calls: Sequence[Call], *, ids_from_callers: bool) -> str:
    """A JSON array of the calls, each led by its ids and the digest of all it says."""
    first = time_ordered_id()
    lines = (
        _line(gateway_id, first + n, call, ids_from_callers=ids_from_callers)
        for n, call in enumerate(calls)
    )
    return f"[{','.join(lines)}]"


def _line(gateway_id: int, made_id: int, call: Call, *, ids_from_callers: bool) -> str:
    said = encode(call)
    digest = call.content or _digest(_content(call, said))
    own = by_id = identity(gateway_id, call.transaction_id)
    if ids_from_callers or call.distinguished_by:
        own = identity_of(gateway_id, call, ids_from_callers=ids_from_callers)
    shared = f'"shared_id":"{by_id}",' if own != by_id else ""
    return (
        f'{{"made_id":"{made_id:032x}","identity":"{own}",{shared}"digest":"{digest}",'
        f"{said[1:].decode()}"
    )


def digest_of(*parts: Any) -> str:
    """Return 32 hexadecimal digits that stand for these parts, which JSON can hold."""
    return _digest(encode(parts))


def _content(call: Call, said: bytes) -> bytes:
    """Return what has to be the same in a repeat: not when it came, nor whether that was late."""
    if call.undated:
        return encode(replace(call, occurred_at=ANY_TIME))
    return encode(replace(call, outside=False)) if call.outside else said


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
