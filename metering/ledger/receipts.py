"""What became of one transaction: the same for the API, the admin and the storefront."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import reduce
from itertools import islice
from operator import or_
from typing import Any
from uuid import UUID

import msgspec
from django.db import models
from django.db.models import Q, prefetch_related_objects

from metering.inbox.calls import MARKS, Call, identities
from metering.models import (
    Claim,
    Conflict,
    Delivery,
    Half,
    Quarantined,
    Reason,
    Remembered,
    Transaction,
)
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Product,
    Source,
    Subscription,
)


class State(models.TextChoices):
    WAITING = "waiting"
    ATTRIBUTED = "attributed"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened to the transaction, and who caused it if somebody did."""

    at: datetime
    what: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """All that is known of one transaction, as it stands now. Sizes in bytes, latency in ms."""

    id: UUID | None = None
    gateway: Gateway
    transaction_id: str
    state: State
    reason: str = ""
    matched_by: str = ""
    external_key: ExternalKey | None = None
    credential: Credential | None = None
    assignment: Assignment | None = None
    subscription: Subscription | None = None
    customer: Customer | None = None
    product: Product | None = None
    source: Source | None = None
    hint: str = ""
    subscription_named: str = ""
    source_named: str = ""
    method: str = ""
    path: str = ""
    status: int | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    latency_ms: float | None = None
    elements: dict[str, int | Decimal] = field(default_factory=dict)
    metadata: dict[str, Any] | None = None
    names: dict[str, Any] | None = None
    occurred_at: datetime
    received_at: datetime
    settled_at: datetime | None = None
    error: str = ""
    history: list[Moment] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)

    @property
    def reason_text(self) -> str:
        return str(Reason(self.reason).label) if self.reason else ""


Row = Transaction | Quarantined

MAX_RECEIPTS_OF_AN_ID = 100

SAID = (
    "transaction_id",
    "subscription_named",
    "source_named",
    "method",
    "path",
    "status",
    "request_bytes",
    "response_bytes",
    "latency_ms",
    "elements",
    "metadata",
    "names",
    "occurred_at",
    "received_at",
)
FOUND = (
    "external_key",
    "credential",
    "assignment",
    "subscription",
    "customer",
    "product",
    "source",
)


def find(gateway: Gateway, transaction_id: str) -> Receipt | None:
    """The first receipt of what this gateway sent under this id, or None if it never did."""
    return next(iter(find_each(gateway, transaction_id)), None)


def find_each(gateway: Gateway, transaction_id: str) -> list[Receipt]:
    """Return the receipts of all calls that this gateway sent under this id, the oldest first.

    Mostly one. Tools of one model's answer share its id, and callers may choose the same id twice.
    """
    keys = identities(gateway.pk, transaction_id)
    sharing = Remembered.objects.filter(shared_id__in=keys).order_by("received_at", "transaction")
    remembered = [*Remembered.objects.filter(pk__in=keys), *sharing[:MAX_RECEIPTS_OF_AN_ID]]
    if not remembered:
        waiting = _waiting(gateway, keys)
        return list(islice(waiting, MAX_RECEIPTS_OF_AN_ID)) or _half(gateway, keys)
    # An admin may have counted a call at its arrival.
    rows = (
        _row(each.transaction, occurred_at=[each.occurred_at, each.received_at])
        for each in remembered
    )
    return [receipt_of(row) for row in rows if row]


def find_all(transaction_id: str) -> list[Receipt]:
    """The receipts under this id of whichever gateways sent it."""
    gateways = Gateway.objects.all()
    return [receipt for gateway in gateways for receipt in find_each(gateway, transaction_id)]


def receipt_of(row: Row) -> Receipt:
    """The receipt of the transaction that this row of ledger or quarantine is about."""
    chain = _chain(_first(row))
    # One after the other: to plan a join of them all takes longer.
    prefetch_related_objects([row for row in chain if isinstance(row, Transaction)], *FOUND)
    prefetch_related_objects(chain, "gateway")
    standing = chain[-1]
    conflicts = list(Conflict.objects.filter(transaction=chain[0].pk).order_by("pk"))
    facts: dict[str, Any] = {name: getattr(standing, name) for name in SAID}
    if isinstance(standing, Transaction):
        facts |= {name: getattr(standing, name) for name in FOUND}
        facts |= {
            "state": State.ATTRIBUTED,
            "matched_by": standing.matched_by,
            "settled_at": standing.attributed_at,
            "hint": standing.external_key.hint if standing.external_key else "",
        }
    else:
        facts |= {
            "state": State.QUARANTINED,
            "reason": standing.reason,
            "settled_at": standing.quarantined_at,
            "hint": standing.hint,
            "error": standing.error,
        }
    return Receipt(
        id=chain[0].pk,
        gateway=standing.gateway,
        history=sorted(_history(chain, conflicts), key=lambda moment: moment.at),
        conflicts=conflicts,
        **facts,
    )


def _row(pk: UUID, *, occurred_at: list[datetime]) -> Row | None:
    row = Transaction.objects.filter(pk=pk, occurred_at__in=occurred_at).first()
    return row or Quarantined.objects.filter(pk=pk).first()


def _first(row: Row) -> Row:
    """The row that the first settlement wrote, from which corrections lead on."""
    while row.corrects:
        before = _row(row.corrects, occurred_at=[row.occurred_at])
        if before is None:
            break
        row = before
    return row


def _chain(row: Row) -> list[Row]:
    """The first row, and each that took the place of the one before."""
    chain = [row]
    while successor := _successor(chain[-1]):
        chain.append(successor)
    return chain


def _successor(row: Row) -> Row | None:
    of_same_day = {"occurred_at": row.occurred_at, "corrects": row.pk}
    return (
        Transaction.objects.filter(**of_same_day, sign=1).first()
        or Quarantined.objects.filter(corrects=row.pk).first()
    )


def _history(chain: list[Row], conflicts: list[Conflict]) -> Iterator[Moment]:
    first = chain[0]
    yield Moment(at=first.received_at, what=f"Received from {first.gateway}")
    for row in chain:
        yield from _settled(row)
    for conflict in conflicts:
        yield Moment(at=conflict.received_at, what="Sent again with another content; not counted")


def _settled(row: Row) -> Iterator[Moment]:
    if isinstance(row, Quarantined):
        yield Moment(at=row.quarantined_at, what=f"Quarantined: {row.get_reason_display()}")
        if row.released_at:
            what = f"Released: {row.release_note}" if row.release_note else "Released"
            yield Moment(at=row.released_at, what=what, by=row.released_by)
        return
    if row.quarantined_at and row.quarantine_reason:
        reason = Reason(row.quarantine_reason).label
        yield Moment(at=row.quarantined_at, what=f"Quarantined: {reason}")
    what = (
        f"Corrected: now {row.subscription}"
        if row.corrects
        else f"Attributed to {row.subscription}"
    )
    claim = Claim.objects.filter(pk=row.claim_id).first() if row.claim_id else None
    if claim:
        what += f", because {claim.cause}"
    yield Moment(at=row.attributed_at, what=what, by=claim.by if claim else "")


class _Line(Call):
    """A call as it stands in the inbox."""

    identity: UUID
    shared_id: UUID | None = None


def _waiting(gateway: Gateway, keys: Collection[UUID]) -> Iterator[Receipt]:
    """From the inbox, where its identity stands as text, which PostgreSQL finds fast."""
    held = [Q(body__contains=key.hex) for key in keys]
    holding = Delivery.objects.filter(reduce(or_, held), gateway=gateway).order_by("received_at")
    for delivery in holding.iterator():
        for line in msgspec.json.decode(delivery.body, type=list[_Line]):
            if line.identity in keys or line.shared_id in keys:
                yield _receipt_of_call(line, delivery, gateway)


def _half(gateway: Gateway, keys: Collection[UUID]) -> list[Receipt]:
    """Of what waits for its other half."""
    half = Half.objects.filter(identity__in=keys).first()
    if half is None:
        return []
    receipt = _receipt_of_call(msgspec.json.decode(half.call, type=Call), half, gateway)
    other = next(side for side in Half.Side if side != half.side)
    receipt.history.append(Moment(at=half.received_at, what=f"Waits for its {other}"))
    return [receipt]


def _receipt_of_call(call: Call, kept: Delivery | Half, gateway: Gateway) -> Receipt:
    received = Moment(at=kept.received_at, what=f"Received from {gateway}")
    said = msgspec.structs.asdict(call)
    for name in (*MARKS - {"hint", "occurred_at"}, "identity", "shared_id"):
        said.pop(name, None)
    return Receipt(
        gateway=gateway,
        state=State.WAITING,
        received_at=kept.received_at,
        error=kept.last_error if isinstance(kept, Delivery) else "",
        history=[received],
        **{name: value for name, value in said.items() if value is not None},
    )
