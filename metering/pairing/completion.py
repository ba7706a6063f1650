"""Join the halves of transactions, in whatever order and however far apart they come.

Both here: they are one call, taken in like any other. One that has waited long enough is taken in
by itself, judged on what it says. Its other half, should it come after all, completes what stands:
by a correction in the ledger, in place in quarantine.
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
from metering.inbox.calls import Call, call_without_its_key, encode_call, paired_calls_row
from metering.inbox.group_commit import commit_rows
from metering.inbox.redaction import NOTHING_WITHHELD
from metering.locks import CORRECTION_LOCK, PAIRING_LOCK
from metering.models import Claim, Half, Remembered
from metering.pairing.statements import COMPLETE_LATE_PARTIALS, DELETE_PARTIALS

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_PAIRING = 1_000  # transactions looked at in one step
PAIRING_RETRY_DELAY = timedelta(hours=1)
PAIRING_CAUSE = "its other half came"

_decode_stored_call = msgspec.json.Decoder(Call).decode


class ReceivedParts(NamedTuple):
    """What has come of one transaction: one half or both, the request first."""

    identity: UUID
    halves: Sequence[Half]

    @property
    def gateway_id(self) -> int:
        return self.halves[0].gateway_id

    def call(self) -> Call:
        """What the request says, and what only the response does."""
        first, *others = (_decode_stored_call(half.call) for half in self.halves)
        for other in others:
            first = call_without_its_key(first.completed_by(other))
        return first

    def is_ripe(self, now: datetime) -> bool:
        """Whether there is nothing to wait for any more."""
        return (
            len(self.halves) == len(Half.Side)
            or self.halves[0].received_at + _pairing_timeout() <= now
        )


def pair_due_partials() -> int:
    """Look at the transactions whose halves are due, and say how many those were.

    Raises django.db.Error when the database is away.
    """
    with atomic():
        if not _acquire_pairing_lock():
            return 0
        due = Half.objects.filter(next_look_at__lte=Now()).order_by("next_look_at")
        marks = set(due.values_list("identity", flat=True)[:MAX_TRANSACTIONS_PER_PAIRING])
        if marks:
            _pair_or_postpone(marks)
    return len(marks)


def _acquire_pairing_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [PAIRING_LOCK])
        return bool(cursor.fetchone()[0])


def _pair_or_postpone(marks: Collection[UUID]) -> None:
    halves = Half.objects.filter(identity__in=marks).annotate(now=Now())
    known = [
        ReceivedParts(mark, list(both))
        for mark, both in groupby(halves.order_by("identity", "side"), attrgetter("identity"))
    ]
    late = set(Remembered.objects.filter(pk__in=marks).values_list("pk", flat=True))
    now = known[0].halves[0].now  # type: ignore[attr-defined]  # annotated
    _complete_late([each for each in known if each.identity in late])
    _accept_ready([each for each in known if each.identity not in late and each.is_ripe(now)])
    Half.objects.filter(identity__in=marks, next_look_at__lte=now).update(
        next_look_at=F("received_at") + _pairing_timeout()
    )


def _accept_ready(ripe: list[ReceivedParts]) -> None:
    for gateway_id, of_gateway in groupby(
        sorted(ripe, key=attrgetter("gateway_id")), attrgetter("gateway_id")
    ):
        calls = {each.identity: each.call() for each in of_gateway}
        commit_rows([paired_calls_row(gateway_id, calls)])
    _delete_partials(ripe)


def _complete_late(late: list[ReceivedParts]) -> None:
    """Those that cannot be completed together are tried one by one, and what fails alone later."""
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
            for each in late:
                _complete_late([each])
            return
        logger.warning("A half completes nothing yet: %s", failures.error_class(error))
        Half.objects.filter(identity=late[0].identity).update(
            next_look_at=Now() + PAIRING_RETRY_DELAY
        )


def _execute_completion(late: list[ReceivedParts]) -> None:
    said = ",".join(
        f'{{"identity":"{each.identity.hex}",'
        f"{encode_call(each.gateway_id, each.call(), NOTHING_WITHHELD)[3][1:]}"
        for each in late
    )
    arguments: dict[str, Any] = {"calls": f"[{said}]", "claim": _pairing_claim().pk}
    with connection.cursor() as cursor:
        # What a claim corrects is not completed at the same time.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTION_LOCK])
        cursor.execute(COMPLETE_LATE_PARTIALS, arguments)


def _pairing_claim() -> Claim:
    """What histories name as the cause: one for all of them, never open."""
    claim, _ = Claim.objects.get_or_create(cause=PAIRING_CAUSE, defaults={"finished_at": Now()})
    return claim


def _delete_partials(known: list[ReceivedParts]) -> None:
    """These halves and no others: one may have come since they were read."""
    halves = [half for each in known for half in each.halves]
    marks = [half.identity for half in halves], [half.side for half in halves]
    with connection.cursor() as cursor:
        cursor.execute(DELETE_PARTIALS, marks)


def _pairing_timeout() -> timedelta:
    return timedelta(seconds=settings.OTHER_HALF_WAIT)
