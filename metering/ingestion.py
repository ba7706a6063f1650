"""Take in: keep a delivery where nothing can lose it, and ring the bell."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from metering.inbox import Entry, time_ordered_id, together
from metering.models.usage import CALLS
from metering.tasks import bell
from revcred.models import Gateway


class Call(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One metered call as the inbox keeps it. Its key is a fingerprint and a hint already."""

    transaction_id: str
    occurred_at: datetime
    fingerprint: str | None = None
    hint: str | None = None
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
    # It came without a moment, so `occurred_at` is when it arrived, and no part of what it says.
    undated: bool = False


ONE_CALL: dict[str, int | Decimal] = {CALLS: 1}
ANY_TIME = datetime.fromtimestamp(0, UTC)

# Sorted, so that the same content in another order is the same content.
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


def take_in(gateway: Gateway | int, calls: Sequence[Call], *, rejected: int = 0) -> UUID:
    """Keep one POST's calls and answer with the delivery's id, once that is committed.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = entry_of(gateway if isinstance(gateway, int) else gateway.pk, calls, rejected=rejected)
    together.keep(entry)
    bell.ring()
    return entry.id


def entry_of(gateway_id: int, calls: Sequence[Call], *, rejected: int = 0) -> Entry:
    return Entry(gateway_id, len(calls), rejected, _body(gateway_id, calls))


def identity(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _digest(b"%d\0" % gateway_id + transaction_id.encode())


def _body(gateway_id: int, calls: Sequence[Call]) -> str:
    """A JSON array of the calls, each led by its ids and the digest of all it says."""
    first = time_ordered_id()
    return f"[{','.join(_line(gateway_id, first + n, call) for n, call in enumerate(calls))}]"


def _line(gateway_id: int, made_id: int, call: Call) -> str:
    said = _encode(call)
    digest = _digest(_encode(replace(call, occurred_at=ANY_TIME)) if call.undated else said)
    return (
        f'{{"made_id":"{made_id:032x}","identity":"{identity(gateway_id, call.transaction_id)}",'
        f'"digest":"{digest}",{said[1:].decode()}'
    )


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
