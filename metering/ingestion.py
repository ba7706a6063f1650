"""Take in: keep a delivery where nothing can lose it, and ring the bell."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from secrets import randbits
from time import time_ns
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection

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
    status: int | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    latency_ms: float | None = None
    elements: dict[str, int | Decimal]
    metadata: dict[str, Any] | None = None


MOST_AT_ONCE = 1 << 16  # transactions in one delivery: how many ids in a row are kept free
ONE_CALL: dict[str, int | Decimal] = {CALLS: 1}

# Sorted, so that the same content in another order is the same content.
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode

INSERT = """
INSERT INTO metering_delivery (gateway_id, transactions, rejected, body)
VALUES (%s, %s, %s, %s) RETURNING id
"""


def take_in(gateway: Gateway | int, calls: Sequence[Call], *, rejected: int = 0) -> UUID:
    """Keep one POST's calls and answer with the delivery's id, once that is committed.

    Raises django.db.OperationalError when the database is away: then nothing was kept.
    """
    gateway_id = gateway if isinstance(gateway, int) else gateway.pk
    body = _body(gateway_id, calls)
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [gateway_id, len(calls), rejected, body])
        (delivery,) = cursor.fetchone()
    bell.ring()
    return delivery  # type: ignore[no-any-return]


def identity(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _digest(b"%d\0" % gateway_id + transaction_id.encode())


def _body(gateway_id: int, calls: Sequence[Call]) -> str:
    """A JSON array of the calls, each led by its ids and the digest of all it says."""
    first, gateway = _time_ordered_id(), b"%d\0" % gateway_id
    lines = []
    for place, call in enumerate(calls):
        said = _encode(call)
        line = '{"made_id":"%032x","identity":"%s","digest":"%s",%s' % (
            first + place,
            _digest(gateway + call.transaction_id.encode()),
            _digest(said),
            said[1:].decode(),
        )
        lines.append(line)
    return "[" + ",".join(lines) + "]"


def _time_ordered_id() -> int:
    """A version 7 UUID that is followed by a POST's worth of free ones."""
    random = randbits(74) & ~(MOST_AT_ONCE - 1)
    high, low = divmod(random, 1 << 62)
    return (time_ns() // 1_000_000) << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
