"""Pair partial transactions, in whatever order and however far apart their parts come.

When both parts are here, they are one call and go to the inbox like any other. A part that has
waited for the pairing timeout goes there alone. If its other part comes later, it completes the
stored transaction: by a correction in the ledger, in place in quarantine.
"""

import logging
from collections.abc import Collection, Sequence
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
from metering.models import Claim, Half, Remembered
from metering.pairing.statements import COMPLETE_LATE_PARTIALS, DELETE_PARTIALS
from metering.scrubbing import scrub_stored_rows, stored_rows_of

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_PAIRING = 1_000
PAIRING_RETRY_DELAY = timedelta(hours=1)
# Stored in the claim that all completions share. Another text would make another claim.
PAIRING_CAUSE = "its other half came"

_decode_stored_call = msgspec.json.Decoder(Call).decode


class ReceivedParts(NamedTuple):
    """Parts of one transaction that have come: one or both, the request first."""

    dedup_key: UUID
    parts: Sequence[Half]

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
            len(self.parts) == len(Half.Side)
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
        due = Half.objects.filter(next_look_at__lte=Now()).order_by("next_look_at")
        dedup_keys = set(due.values_list("identity", flat=True)[:MAX_TRANSACTIONS_PER_PAIRING])
        if dedup_keys:
            _pair_or_postpone(dedup_keys)
    return len(dedup_keys)


def _acquire_pairing_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [PAIRING_LOCK])
        return bool(cursor.fetchone()[0])


def _pair_or_postpone(dedup_keys: Collection[UUID]) -> None:
    partials = Half.objects.filter(identity__in=dedup_keys).annotate(now=Now())
    transactions = [
        ReceivedParts(dedup_key, list(parts))
        for dedup_key, parts in groupby(
            partials.order_by("identity", "side"), attrgetter("identity")
        )
    ]
    processed = set(Remembered.objects.filter(pk__in=dedup_keys).values_list("pk", flat=True))
    now = transactions[0].parts[0].now  # type: ignore[attr-defined]  # annotated
    _complete_late([received for received in transactions if received.dedup_key in processed])
    _accept_ready(
        [
            received
            for received in transactions
            if received.dedup_key not in processed and received.is_ready(now)
        ]
    )
    # These and no others: a part that has come since they were read is looked at next.
    read = [part.pk for received in transactions for part in received.parts]
    Half.objects.filter(pk__in=read, next_look_at__lte=now).update(
        next_look_at=F("received_at") + _pairing_timeout()
    )


def _accept_ready(ready: list[ReceivedParts]) -> None:
    """Move calls to the inbox, one delivery for each gateway, in the surrounding transaction."""
    for gateway_id, of_gateway in groupby(
        sorted(ready, key=attrgetter("gateway_id")), attrgetter("gateway_id")
    ):
        calls = {received.dedup_key: received.call() for received in of_gateway}
        commit_rows([paired_calls_row(gateway_id, calls)])
    _delete_partials(ready)


def _complete_late(late: list[ReceivedParts]) -> None:
    """Complete stored transactions together, or one by one if that fails.

    One that fails alone is postponed for PAIRING_RETRY_DELAY.
    """
    if not late:
        return
    try:
        with atomic():
            _execute_completion(late)
            _delete_partials(late)
    except Error as error:
        if failures.is_unavailable(error):
            raise
        if len(late) > 1:
            for received in late:
                _complete_late([received])
            return
        logger.warning(
            "A transaction could not be completed and is tried again later: %s",
            failures.error_class(error),
        )
        Half.objects.filter(identity=late[0].dedup_key).update(
            next_look_at=Now() + PAIRING_RETRY_DELAY
        )


def _execute_completion(late: list[ReceivedParts]) -> None:
    texts = (
        encode_call(received.gateway_id, _call_without_stored_key(received), NOTHING_WITHHELD)[3]
        for received in late
    )
    calls = ",".join(
        f'{{"identity":"{received.dedup_key.hex}",{text[1:]}'
        for received, text in zip(late, texts, strict=True)
    )
    arguments: dict[str, Any] = {"calls": f"[{calls}]", "claim": _pairing_claim().pk}
    with connection.cursor() as cursor:
        # A claim that corrects the same row at the same time would write a second reversal.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTION_LOCK])
        cursor.execute(COMPLETE_LATE_PARTIALS, arguments)


def _call_without_stored_key(received: ReceivedParts) -> Call:
    """Return the late call without the key of the stored one, which loses the key of the late one.

    The stored transaction had no other part to be searched with when it was stored.
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
    columns = [part.identity for part in partials], [part.side for part in partials]
    with connection.cursor() as cursor:
        cursor.execute(DELETE_PARTIALS, columns)


def _pairing_timeout() -> timedelta:
    return timedelta(seconds=settings.PAIRING_TIMEOUT_SECONDS)
