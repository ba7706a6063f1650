"""Receipts: the state and history of one transaction, for the API, the admin and the storefront."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
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
from django.utils.translation import gettext

from metering.inbox.calls import UNREDACTED_FIELDS, Call, possible_dedup_keys
from metering.ledger.plain_transactions import find_plain_transaction
from metering.models import (
    Claim,
    Conflict,
    Delivery,
    PartialTransaction,
    Quarantined,
    QuarantineReason,
    SeenTransaction,
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


class ReceiptState(models.TextChoices):
    WAITING = "waiting"
    ATTRIBUTED = "attributed"
    QUARANTINED = "quarantined"
    TAKEN_BACK = "taken_back"  # the list that brought it was undone


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """An event in the life of a transaction; `by` is the person who caused it, if any."""

    at: datetime
    what: str
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class ComparedField:
    """A field of two contents of one transaction. A value that is absent is None."""

    name: str
    stands: Any
    sent_later: Any

    @property
    def differs(self) -> bool:
        return bool(self.stands != self.sent_later)


@dataclass(frozen=True, kw_only=True)
class ComparedConflict:
    """A content that was sent later, compared with the one that stands; differences come first."""

    received_at: datetime
    fields: list[ComparedField]


COMPARED_FIELDS = (
    *("method", "path", "status", "request_bytes", "response_bytes", "latency_ms"),
    *("elements", "metadata", "names"),
)


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """Present state of one transaction. Sizes are in bytes, latency in milliseconds."""

    id: UUID | None = None
    gateway: Gateway
    transaction_id: str
    state: ReceiptState
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
    attributed_at: datetime | None = None
    error: str = ""
    history: list[HistoryEntry] = field(default_factory=list)
    conflicts: list[Conflict] = field(default_factory=list)
    is_test: bool = False  # it came with a test token, and was never counted

    @property
    def reason_text(self) -> str:
        return str(QuarantineReason(self.reason).label) if self.reason else ""

    @property
    def compared_conflicts(self) -> list["ComparedConflict"]:
        """The contents that were sent later, each field beside the one that stands."""
        standing = _flat_content(self._content())
        return [
            ComparedConflict(
                received_at=conflict.received_at,
                fields=_compare_fields(standing, _flat_content(conflict.content)),
            )
            for conflict in self.conflicts
        ]

    def _content(self) -> dict[str, Any]:
        """Return what the gateway sent, by the names that a conflict keeps it under."""
        names = {"hint": "key_hint", "subscription_named": "subscription", "source_named": "source"}
        values = {name: getattr(self, name) for name in (*COMPARED_FIELDS, *names)}
        # As PostgreSQL writes it into the content of a conflict.
        values["occurred_at"] = self.occurred_at.isoformat()
        return {names.get(name, name): value for name, value in values.items()}


def _flat_content(content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a content, those of its objects as `elements.calls`."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        elif value not in (None, ""):
            flat[name] = datetime.fromisoformat(value) if name == "occurred_at" else value
    return flat


def _compare_fields(stands: dict[str, Any], later: dict[str, Any]) -> list[ComparedField]:
    compared = [
        ComparedField(name=name, stands=stands.get(name), sent_later=later.get(name))
        for name in stands | later
    ]
    return sorted(compared, key=lambda field: not field.differs)


TransactionRow = Transaction | Quarantined

MAX_RECEIPTS_PER_ID = 100

# Attributes of a TransactionRow that the gateway sent, and those that attribution found.
SENT_FIELDS = (
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
ATTRIBUTION_FIELDS = (
    "external_key",
    "credential",
    "assignment",
    "subscription",
    "customer",
    "product",
    "source",
)


def find_receipt(gateway: Gateway, transaction_id: str) -> Receipt | None:
    """Return the first receipt of what this gateway sent under this id, or None."""
    return next(iter(find_receipts(gateway, transaction_id)), None)


def find_receipts(gateway: Gateway, transaction_id: str) -> list[Receipt]:
    """Return the receipts of all calls that this gateway sent under this id, the oldest first.

    Mostly there is one. Several share an id if callers choose ids, and for the tools of one answer
    of an AI model. At most MAX_RECEIPTS_PER_ID of those are returned.
    """
    keys = possible_dedup_keys(gateway.pk, transaction_id)
    if plain := find_plain_transaction(keys):
        return [_receipt_of_chain([plain], [], None)]
    sharing = SeenTransaction.objects.filter(shared_id__in=keys).order_by(
        "received_at", "transaction"
    )
    remembered = [*SeenTransaction.objects.filter(pk__in=keys), *sharing[:MAX_RECEIPTS_PER_ID]]
    if not remembered:
        waiting = _receipts_from_inbox(gateway, keys)
        return list(islice(waiting, MAX_RECEIPTS_PER_ID)) or _receipts_of_partial(gateway, keys)
    # Both moments, which name the partition: an admin may have counted the call at its arrival.
    rows = (
        _find_row(seen.transaction, occurred_at=[seen.occurred_at, seen.received_at])
        for seen in remembered
    )
    return [receipt_of_row(row) for row in rows if row]


def gateways_that_sent(transaction_id: str) -> list[Gateway]:
    """Return the gateways of which a processed transaction of this id is known: one look-up."""
    gateways = {
        key: gateway
        for gateway in Gateway.objects.all()
        for key in possible_dedup_keys(gateway.pk, transaction_id)
    }
    keys = list(gateways)
    own = SeenTransaction.objects.filter(pk__in=keys).values_list("pk", flat=True)
    shared = SeenTransaction.objects.filter(shared_id__in=keys)
    seen = {*own, *shared.values_list("shared_id", flat=True).distinct()}
    return list(dict.fromkeys(gateways[key] for key in keys if key in seen))


def find_receipts_of_all_gateways(transaction_id: str) -> list[Receipt]:
    """Return the receipts of all gateways that sent this id."""
    gateways = Gateway.objects.all()
    return [receipt for gateway in gateways for receipt in find_receipts(gateway, transaction_id)]


def standing_row(row: TransactionRow) -> TransactionRow:
    """Return the row that counts today in place of this one, or waits in quarantine."""
    return _correction_chain(_original_row(row))[-1]


def receipt_of_row(row: TransactionRow) -> Receipt:
    """Return the receipt of the transaction that a row of the ledger or quarantine belongs to."""
    chain = _correction_chain(_original_row(row))
    # One query for each relation: planning one join of seven tables takes longer.
    prefetch_related_objects(
        [row for row in chain if isinstance(row, Transaction)], *ATTRIBUTION_FIELDS
    )
    prefetch_related_objects(chain, "gateway")
    conflicts = list(Conflict.objects.filter(transaction=chain[0].pk).order_by("pk"))
    return _receipt_of_chain(chain, conflicts, _reversal_of(chain[-1]))


def _receipt_of_chain(
    chain: Sequence[TransactionRow], conflicts: Sequence[Conflict], reversal: Transaction | None
) -> Receipt:
    """Return the receipt of a row and its replacements; `reversal` takes the last one back."""
    standing = chain[-1]
    facts: dict[str, Any] = {name: getattr(standing, name) for name in SENT_FIELDS}
    if isinstance(standing, Transaction):
        facts |= {name: getattr(standing, name) for name in ATTRIBUTION_FIELDS}
        facts |= {
            "state": ReceiptState.ATTRIBUTED,
            "matched_by": standing.matched_by,
            "attributed_at": standing.attributed_at,
            "hint": standing.external_key.hint if standing.external_key else "",
        }
        if reversal:
            facts["state"] = ReceiptState.TAKEN_BACK
    else:
        facts |= {
            "state": ReceiptState.QUARANTINED,
            "reason": standing.reason,
            "hint": standing.hint,
            "error": standing.error,
        }
    return Receipt(
        id=chain[0].pk,
        gateway=standing.gateway,
        history=sorted(_history_of_chain(chain, conflicts, reversal), key=lambda moment: moment.at),
        conflicts=list(conflicts),
        **facts,
    )


def _find_row(pk: UUID, *, occurred_at: list[datetime]) -> TransactionRow | None:
    row = Transaction.objects.filter(pk=pk, occurred_at__in=occurred_at).first()
    return row or Quarantined.objects.filter(pk=pk).first()


def _original_row(row: TransactionRow) -> TransactionRow:
    """Follow corrections back to the row that the first attribution wrote."""
    while row.corrects:
        before = _find_row(row.corrects, occurred_at=[row.occurred_at])
        if before is None:
            break
        row = before
    return row


def _correction_chain(row: TransactionRow) -> list[TransactionRow]:
    """Return the original row and its replacements, in order. The last one counts."""
    chain = [row]
    while successor := _replacing_row(chain[-1]):
        chain.append(successor)
    return chain


def _replacing_row(row: TransactionRow) -> TransactionRow | None:
    # With the moment, which a correction keeps, PostgreSQL looks into one partition only.
    same_moment = {"occurred_at": row.occurred_at, "corrects": row.pk}
    return (
        Transaction.objects.filter(**same_moment, sign=1).first()
        or Quarantined.objects.filter(corrects=row.pk).first()
    )


def _reversal_of(row: TransactionRow) -> Transaction | None:
    """Return the row that takes this one back; of the last of a chain, nothing takes its place."""
    same_moment = {"occurred_at": row.occurred_at, "corrects": row.pk}
    return Transaction.objects.filter(**same_moment, sign=-1).first()


def _history_of_chain(
    chain: Sequence[TransactionRow], conflicts: Sequence[Conflict], reversal: Transaction | None
) -> Iterator[HistoryEntry]:
    yield _reception(chain[0])
    for row in chain:
        yield from _history_of_row(row)
    if reversal:
        what = gettext("Taken back: the list that brought it was undone")
        yield HistoryEntry(at=reversal.attributed_at, what=what)
    yield from map(_conflict_entry, conflicts)


def history_of_standing_row(
    row: TransactionRow, conflicts: Iterable[Conflict]
) -> list[HistoryEntry]:
    """Return the history of a transaction for people of its customer.

    In the words of every receipt, without what belongs to others: rows that were corrected, and
    the causes, notes and authors of changes.
    """
    entries = [_reception(row), *map(_conflict_entry, conflicts)]
    if isinstance(row, Transaction):
        entries += _history_of_attribution(row)
    else:
        entries.append(_quarantine_entry(row))
        if row.released_at:
            entries.append(HistoryEntry(at=row.released_at, what=gettext("Released")))
    return sorted(entries, key=lambda entry: entry.at)


def _reception(row: TransactionRow) -> HistoryEntry:
    return HistoryEntry(
        at=row.received_at, what=gettext("Received from %(gateway)s") % {"gateway": row.gateway}
    )


def _conflict_entry(conflict: Conflict) -> HistoryEntry:
    return HistoryEntry(
        at=conflict.received_at, what=gettext("Sent again with another content; not counted")
    )


def _quarantine_entry(row: Quarantined) -> HistoryEntry:
    return HistoryEntry(
        at=row.quarantined_at,
        what=gettext("Quarantined: %(reason)s") % {"reason": gettext(row.get_reason_display())},
    )


def _history_of_row(row: TransactionRow) -> Iterator[HistoryEntry]:
    if isinstance(row, Quarantined):
        yield _quarantine_entry(row)
        if row.released_at:
            what = f"Reviewed: {row.release_note}" if row.release_note else "Reviewed"
            yield HistoryEntry(at=row.released_at, what=what, by=row.released_by)
        return
    *before, attribution = _history_of_attribution(row)
    yield from before
    claim = Claim.objects.filter(pk=row.claim_id).first() if row.claim_id else None
    if claim:
        what = f"{attribution.what}, because {claim.cause}"
        attribution = replace(attribution, what=what, by=claim.by)
    yield attribution


def _history_of_attribution(row: Transaction) -> Iterator[HistoryEntry]:
    """Yield when an attributed transaction was quarantined, if it was, and when attributed."""
    if row.quarantined_at and row.quarantine_reason:
        reason = QuarantineReason(row.quarantine_reason).label
        yield HistoryEntry(
            at=row.quarantined_at,
            what=gettext("Quarantined: %(reason)s") % {"reason": gettext(reason)},
        )
    what = (
        gettext("Corrected: now %(subscription)s")
        if row.corrects
        else gettext("Attributed to %(subscription)s")
    )
    yield HistoryEntry(at=row.attributed_at, what=what % {"subscription": row.subscription})


class _InboxCall(Call):
    """A call of a delivery in the inbox, with its dedup keys."""

    dedup_key: UUID
    shared_id: UUID | None = None


def _receipts_from_inbox(gateway: Gateway, keys: Collection[UUID]) -> Iterator[Receipt]:
    """Yield receipts of calls that wait in the inbox under these dedup keys."""
    # Bodies are searched as text: decoding them all as JSON would take much longer, and the inbox
    # is short.
    contains_key = [Q(body__contains=key.hex) for key in keys]
    deliveries = Delivery.objects.filter(reduce(or_, contains_key), gateway=gateway)
    for delivery in deliveries.order_by("received_at").iterator():
        for call in msgspec.json.decode(delivery.body, type=list[_InboxCall]):
            if call.dedup_key in keys or call.shared_id in keys:
                yield _receipt_of_call(call, delivery, gateway)


def _receipts_of_partial(gateway: Gateway, keys: Collection[UUID]) -> list[Receipt]:
    """Return the receipt of a partial transaction that waits for its other part, or nothing."""
    waiting = PartialTransaction.objects.filter(state=PartialTransaction.State.WAITING)
    partial = waiting.filter(Q(dedup_key__in=keys) | Q(shared_id__in=keys)).first()
    if partial is None:
        return []
    receipt = _receipt_of_call(msgspec.json.decode(partial.call, type=Call), partial, gateway)
    other = next(side for side in PartialTransaction.Side if side != partial.side)
    receipt.history.append(HistoryEntry(at=partial.received_at, what=f"Waits for its {other}"))
    return [receipt]


def _receipt_of_call(
    call: Call, waiting: Delivery | PartialTransaction, gateway: Gateway
) -> Receipt:
    received = HistoryEntry(at=waiting.received_at, what=f"Received from {gateway}")
    return Receipt(
        gateway=gateway,
        state=ReceiptState.WAITING,
        received_at=waiting.received_at,
        error=waiting.last_error if isinstance(waiting, Delivery) else "",
        history=[received],
        **receipt_fields_of_call(call),
    )


def receipt_fields_of_call(call: Call) -> dict[str, Any]:
    """Return the fields of a stored call that belong to its receipt."""
    fields = msgspec.structs.asdict(call)
    # Fingerprints and dedup keys are no part of a receipt.
    for name in (*UNREDACTED_FIELDS - {"hint", "occurred_at"}, "dedup_key", "shared_id"):
        fields.pop(name, None)
    return {name: value for name, value in fields.items() if value is not None}
