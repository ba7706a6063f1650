"""Pair partial transactions, in whatever order and however far apart their parts come.

When both parts are here, they are one call and go to the inbox like any other. A part that has
waited for the pairing timeout goes there alone. If its other part comes later, it completes the
stored transaction: by a correction in the ledger, in place in quarantine.

Where callers may choose ids, an id does not tell which parts belong together, and an id that was
used before makes nothing a repeat: see `_pair_parts_of_shared_ids`.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error, connection
from django.db.models import F
from django.db.models.functions import Now
from django.db.transaction import atomic

from metering import failures
from metering.inbox.calls import (
    Call,
    call_without_found_keys,
    call_without_its_key,
    encode_call,
    paired_calls_row,
    text_fields_of_call,
)
from metering.inbox.group_commit import commit_rows
from metering.inbox.redaction import NOTHING_WITHHELD, KeyTrace
from metering.locks import CORRECTION_LOCK, PAIRING_LOCK
from metering.models import Claim, PartialTransaction, SeenTransaction
from metering.pairing.statements import COMPLETE_LATE_PARTIALS, DELETE_PARTIALS, RETAIN_PARTS
from metering.scrubbing import scrub_stored_rows, stored_rows_of

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_PAIRING = 1_000
PAIRING_RETRY_DELAY = timedelta(hours=1)
REPEATED_PART_PERIOD = timedelta(minutes=1)  # the same part is a repeat of one before
# Stored in the claim that all completions share. Another text would make another claim.
PAIRING_CAUSE = "its other part came"

_decode_stored_call = msgspec.json.Decoder(Call).decode


class ReceivedParts(NamedTuple):
    """Parts of one transaction that have come: one or both, the request first."""

    dedup_key: UUID
    parts: Sequence[PartialTransaction]

    @property
    def gateway_id(self) -> int:
        return self.parts[0].gateway_id

    def call(self) -> Call:
        """Return the call of the parts; where both have a field, the request counts."""
        call, *others = (_decode_stored_call(part.call) for part in self.parts)
        for other in others:
            call = call.completed_by(other)
        return call_without_its_key(call)

    def key_trace(self) -> KeyTrace | None:
        """Return the trace of the key that a part came with."""
        traces = (_decode_stored_call(part.call).key_trace for part in self.parts)
        return next((KeyTrace(*trace) for trace in traces if trace), None)

    def is_ready(self, now: datetime) -> bool:
        """Return True if both parts are here, or one has waited for the pairing timeout."""
        return (
            len(self.parts) == len(PartialTransaction.Side)
            or self.parts[0].received_at + _pairing_timeout() <= now
        )


def pair_due_partials() -> int:
    """Pair or postpone what is due, and return the number of transactions looked at.

    Raises:
        django.db.Error: the database is unavailable.
    """
    with atomic():
        # Another process is pairing: it looks at the same parts.
        if not _acquire_pairing_lock():
            return 0
        due = PartialTransaction.objects.filter(next_look_at__lte=Now()).order_by("next_look_at")
        found = list(due.values_list("dedup_key", "shared_id")[:MAX_TRANSACTIONS_PER_PAIRING])
        dedup_keys = {dedup_key for dedup_key, shared_id in found if shared_id is None}
        shared_ids = {shared_id for _, shared_id in found if shared_id is not None}
        if dedup_keys:
            _pair_or_postpone(dedup_keys)
        if shared_ids:
            _pair_parts_of_shared_ids(shared_ids)
    return len(dedup_keys) + len(shared_ids)


def _acquire_pairing_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [PAIRING_LOCK])
        return bool(cursor.fetchone()[0])


def _pair_or_postpone(dedup_keys: Collection[UUID]) -> None:
    partials = PartialTransaction.objects.filter(dedup_key__in=dedup_keys).annotate(now=Now())
    transactions = [
        ReceivedParts(dedup_key, list(parts))
        for dedup_key, parts in groupby(
            partials.order_by("dedup_key", "side"), attrgetter("dedup_key")
        )
    ]
    processed = set(SeenTransaction.objects.filter(pk__in=dedup_keys).values_list("pk", flat=True))
    now = transactions[0].parts[0].now  # type: ignore[attr-defined]  # annotated
    late = [received for received in transactions if received.dedup_key in processed]
    _complete_late(late, _delete_partials)
    _accept_ready(
        [
            received
            for received in transactions
            if received.dedup_key not in processed and received.is_ready(now)
        ]
    )
    # These and no others: a part that has come since they were read is looked at next.
    read = [part.pk for received in transactions for part in received.parts]
    PartialTransaction.objects.filter(pk__in=read, next_look_at__lte=now).update(
        next_look_at=F("received_at") + _pairing_timeout()
    )


def _accept_ready(ready: list[ReceivedParts]) -> None:
    """Move calls to the inbox, in the surrounding transaction."""
    _commit_to_inbox(ready)
    _delete_partials(ready)


def _commit_to_inbox(ready: list[ReceivedParts]) -> None:
    """Write the calls into the inbox, one delivery for each gateway."""
    for gateway_id, of_gateway in groupby(
        sorted(ready, key=attrgetter("gateway_id")), attrgetter("gateway_id")
    ):
        transactions = list(of_gateway)
        calls = {received.dedup_key: received.call() for received in transactions}
        shared_ids = {
            received.dedup_key: part.shared_id
            for received in transactions
            for part in received.parts
            if part.shared_id is not None
        }
        commit_rows([paired_calls_row(gateway_id, calls, shared_ids)])


# --- Parts whose ids callers may choose -----------------------------------------------------------


class LatePart(NamedTuple):
    """A part that came after its other part had been accepted alone."""

    accepted: PartialTransaction
    part: PartialTransaction


@dataclass
class PairingDecisions:
    """Decisions on parts. Those that are not in any list go on waiting."""

    pairs: list[ReceivedParts] = field(default_factory=list)
    alone: list[ReceivedParts] = field(default_factory=list)
    late: list[LatePart] = field(default_factory=list)
    expired: list[PartialTransaction] = field(default_factory=list)


def _pair_parts_of_shared_ids(shared_ids: Collection[UUID]) -> None:
    """Decide which parts belong together if a caller may have chosen their ids.

    Each part is paired with the oldest waiting part of the other side that has the same id and no
    different key. If none waits, it completes a part of the other side that was accepted alone. A
    part that has waited for the pairing timeout is accepted alone. Calls that had the id before
    never make a part a repeat.

    A part like one shortly before may be a repeat. It is another call only if it finds a part that
    is left over in the end; if not, it is deleted.
    """
    partials = PartialTransaction.objects.filter(shared_id__in=shared_ids).annotate(now=Now())
    parts = list(partials.order_by("shared_id", "received_at", "dedup_key"))
    now = parts[0].now
    alone = [part.dedup_key for part in parts if part.state == PartialTransaction.State.ALONE]
    # One that was accepted alone and is not attributed yet cannot be completed yet.
    completable = set(SeenTransaction.objects.filter(pk__in=alone).values_list("pk", flat=True))
    decisions = PairingDecisions()
    for _, of_id in groupby(parts, attrgetter("shared_id")):
        _decide_on_parts(list(of_id), now, completable, decisions)
    _commit_to_inbox([*decisions.pairs, *decisions.alone])
    _retain_parts(decisions.pairs, PartialTransaction.State.PAIRED)
    _retain_parts(decisions.alone, PartialTransaction.State.ALONE)
    _complete_late(
        [ReceivedParts(late.accepted.dedup_key, [late.part]) for late in decisions.late],
        _retain_paired,
    )
    _delete_partials([ReceivedParts(part.dedup_key, [part]) for part in decisions.expired])
    # These and no others: a part that has come since they were read is looked at next.
    due = PartialTransaction.objects.filter(
        dedup_key__in=[part.dedup_key for part in parts], next_look_at__lte=now
    )
    due.filter(state=PartialTransaction.State.WAITING).update(
        next_look_at=F("received_at") + _pairing_timeout()
    )
    due.exclude(state=PartialTransaction.State.WAITING).update(
        next_look_at=F("received_at") + _retention_of_parts()
    )


def _decide_on_parts(
    parts: Sequence[PartialTransaction],
    now: datetime,
    completable: Collection[UUID],
    decisions: PairingDecisions,
) -> None:
    """Add the decisions on the parts of one id, which come oldest first.

    `completable`: parts that were accepted alone and are attributed by now.
    """
    keys = {part.dedup_key: _decode_stored_call(part.call).fingerprint for part in parts}
    repeats = _find_repeated_parts(parts)
    waiting = [part for part in parts if part.state == PartialTransaction.State.WAITING]
    repeated = [part for part in waiting if part.dedup_key in repeats]
    waiting = [part for part in waiting if part.dedup_key not in repeats]
    # Of a copy, because pairing takes parts out of the list.
    _pair_parts(list(waiting), waiting, keys, decisions)
    alone = [part for part in parts if part.dedup_key in completable]
    for part in list(waiting):
        if accepted := _find_other_part(part, alone, keys):
            decisions.late.append(LatePart(accepted, part))
            alone.remove(accepted)
            waiting.remove(part)
    timed_out = [
        part for part in (*waiting, *repeated) if part.received_at + _pairing_timeout() <= now
    ]
    # Possible repeats come last: they get what nothing else is left for.
    left = [*waiting, *repeated]
    _pair_parts(timed_out, left, keys, decisions)
    for part in timed_out:
        if part in left and part in repeated:
            decisions.expired.append(part)
        elif part in left:
            decisions.alone.append(ReceivedParts(part.dedup_key, [part]))
    # A late part that cannot be completed now is tried again, and needs the accepted one then.
    needed = {late.accepted.dedup_key for late in decisions.late}
    decisions.expired += [
        part
        for part in parts
        if part.state != PartialTransaction.State.WAITING
        and part.dedup_key not in needed
        and part.received_at + _retention_of_parts() <= now
    ]


def _pair_parts(
    parts: Sequence[PartialTransaction],
    available: list[PartialTransaction],
    keys: Mapping[UUID, str | None],
    decisions: PairingDecisions,
) -> None:
    """Pair each of the parts with the first that may be its other part.

    Both are taken out of `available`.
    """
    for part in parts:
        other = _find_other_part(part, available, keys) if part in available else None
        if other is None:
            continue
        available.remove(part)
        available.remove(other)
        # The request comes first: where both have a field, the request counts.
        both = [part, other] if part.side == PartialTransaction.Side.REQUEST else [other, part]
        decisions.pairs.append(ReceivedParts(both[0].dedup_key, both))


def _find_other_part(
    part: PartialTransaction,
    candidates: Collection[PartialTransaction],
    keys: Mapping[UUID, str | None],
) -> PartialTransaction | None:
    """Return the first candidate of the other side that has no different key."""
    key = keys[part.dedup_key]
    for other in candidates:
        if other.side != part.side and (key is None or keys[other.dedup_key] in (None, key)):
            return other
    return None


def _find_repeated_parts(parts: Sequence[PartialTransaction]) -> set[UUID]:
    """Return parts with the content of one shortly before, as when a POST is sent again."""
    repeated = set()
    first: dict[tuple[str, UUID | None], datetime] = {}
    for part in parts:
        content = (part.side, part.content_hash)
        if content in first and part.received_at - first[content] <= REPEATED_PART_PERIOD:
            repeated.add(part.dedup_key)
        else:
            first[content] = part.received_at
    return repeated


def _retain_paired(transactions: Sequence[ReceivedParts]) -> None:
    _retain_parts(transactions, PartialTransaction.State.PAIRED)


def _retain_parts(transactions: Sequence[ReceivedParts], state: PartialTransaction.State) -> None:
    """Keep parts for a while after their acceptance, for repeats and late parts."""
    # The part that gave the transaction its dedup key may have been accepted earlier.
    dedup_keys = {received.dedup_key for received in transactions} | {
        part.dedup_key for received in transactions for part in received.parts
    }
    if dedup_keys:
        retained: list[Any] = [list(dedup_keys), state.value, _retention_of_parts()]
        with connection.cursor() as cursor:
            cursor.execute(RETAIN_PARTS, retained)


def _retention_of_parts() -> timedelta:
    return 2 * _pairing_timeout()


# --- Late parts -----------------------------------------------------------------------------------


def _complete_late(
    late: list[ReceivedParts], on_completed: Callable[[list[ReceivedParts]], None]
) -> None:
    """Complete stored transactions together, or one by one if that fails.

    `on_completed` is called with those that were completed, in the same transaction. One that
    fails alone is postponed for PAIRING_RETRY_DELAY.
    """
    if not late:
        return
    try:
        with atomic():
            _execute_completion(late)
            on_completed(late)
    except Error as error:
        if failures.is_unavailable(error):
            raise
        if len(late) > 1:
            for received in late:
                _complete_late([received], on_completed)
            return
        logger.warning(
            "A transaction could not be completed and is tried again later: %s",
            failures.error_class(error),
        )
        # Under a shared id the accepted part has the dedup key, and the late one another.
        PartialTransaction.objects.filter(
            dedup_key__in=[late[0].dedup_key, late[0].parts[0].dedup_key]
        ).update(next_look_at=Now() + PAIRING_RETRY_DELAY)


def _execute_completion(late: list[ReceivedParts]) -> None:
    texts = (
        encode_call(received.gateway_id, _remove_keys_of_both(received), NOTHING_WITHHELD)[3]
        for received in late
    )
    calls = ",".join(
        f'{{"dedup_key":"{received.dedup_key.hex}",{text[1:]}'
        for received, text in zip(late, texts, strict=True)
    )
    arguments: dict[str, Any] = {"calls": f"[{calls}]", "claim": _pairing_claim().pk}
    with connection.cursor() as cursor:
        # A claim that corrects the same row at the same time would write a second reversal.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTION_LOCK])
        cursor.execute(COMPLETE_LATE_PARTIALS, arguments)


def _remove_keys_of_both(received: ReceivedParts) -> Call:
    """Remove the late part's key from the stored rows, and return the late call without theirs.

    When each part was stored, the other part's key was unknown.
    """
    call = received.call()
    stored = stored_rows_of(received.dedup_key)
    if trace := received.key_trace():
        scrub_stored_rows(stored, trace)
    for fingerprint, hint in stored.keys:
        trace = KeyTrace(fingerprint.hex, hint)
        call = call_without_found_keys(call, trace.found_in(text_fields_of_call(call)))
    return call


def _pairing_claim() -> Claim:
    """Return the finished claim that histories name as the cause of every completion."""
    claim, _ = Claim.objects.get_or_create(cause=PAIRING_CAUSE, defaults={"finished_at": Now()})
    return claim


def _delete_partials(transactions: list[ReceivedParts]) -> None:
    """Delete exactly the parts that were read: the other part may have come since."""
    partials = [part for received in transactions for part in received.parts]
    columns = [part.dedup_key for part in partials], [part.side for part in partials]
    with connection.cursor() as cursor:
        cursor.execute(DELETE_PARTIALS, columns)


def _pairing_timeout() -> timedelta:
    return timedelta(seconds=settings.PAIRING_TIMEOUT_SECONDS)
