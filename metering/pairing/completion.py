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
from metering.inbox.calls import Call, encoded, entry_of_joined, without_its_key
from metering.inbox.group_commit import write
from metering.inbox.redaction import NOTHING
from metering.locks import CORRECTING, JOINING
from metering.models import Claim, Half, Remembered
from metering.pairing.statements import COMPLETE, FORGET_HALVES

logger = logging.getLogger(__name__)

MOST = 1_000  # transactions looked at in one step
TRY_AGAIN = timedelta(hours=1)
CAUSE = "its other half came"

_decode = msgspec.json.Decoder(Call).decode


class Known(NamedTuple):
    """What has come of one transaction: one half or both, the request first."""

    identity: UUID
    halves: Sequence[Half]

    @property
    def gateway_id(self) -> int:
        return self.halves[0].gateway_id

    def call(self) -> Call:
        """What the request says, and what only the response does."""
        first, *others = (_decode(half.call) for half in self.halves)
        for other in others:
            first = without_its_key(first.completed_by(other))
        return first

    def is_ripe(self, now: datetime) -> bool:
        """Whether there is nothing to wait for any more."""
        return len(self.halves) == len(Half.Side) or self.halves[0].received_at + _wait() <= now


def join() -> int:
    """Look at the transactions whose halves are due, and say how many those were.

    Raises django.db.Error when the database is away.
    """
    with atomic():
        if not _alone():
            return 0
        due = Half.objects.filter(next_look_at__lte=Now()).order_by("next_look_at")
        marks = set(due.values_list("identity", flat=True)[:MOST])
        if marks:
            _look_at(marks)
    return len(marks)


def _alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [JOINING])
        return bool(cursor.fetchone()[0])


def _look_at(marks: Collection[UUID]) -> None:
    halves = Half.objects.filter(identity__in=marks).annotate(now=Now())
    known = [
        Known(mark, list(both))
        for mark, both in groupby(halves.order_by("identity", "side"), attrgetter("identity"))
    ]
    late = set(Remembered.objects.filter(pk__in=marks).values_list("pk", flat=True))
    now = known[0].halves[0].now  # type: ignore[attr-defined]  # annotated
    _complete([each for each in known if each.identity in late])
    _take_in([each for each in known if each.identity not in late and each.is_ripe(now)])
    Half.objects.filter(identity__in=marks, next_look_at__lte=now).update(
        next_look_at=F("received_at") + _wait()
    )


def _take_in(ripe: list[Known]) -> None:
    for gateway_id, of_gateway in groupby(
        sorted(ripe, key=attrgetter("gateway_id")), attrgetter("gateway_id")
    ):
        calls = {each.identity: each.call() for each in of_gateway}
        write([entry_of_joined(gateway_id, calls)])
    _forget(ripe)


def _complete(late: list[Known]) -> None:
    """Those that cannot be completed together are tried one by one, and what fails alone later."""
    if not late:
        return
    try:
        with atomic():
            _execute(late)
            _forget(late)
    except Error as error:
        if failures.is_away(error):
            raise
        if len(late) > 1:
            for each in late:
                _complete([each])
            return
        logger.warning("A half completes nothing yet: %s", failures.name_of(error))
        Half.objects.filter(identity=late[0].identity).update(next_look_at=Now() + TRY_AGAIN)


def _execute(late: list[Known]) -> None:
    said = ",".join(
        f'{{"identity":"{each.identity.hex}",'
        f"{encoded(each.gateway_id, each.call(), NOTHING)[3][1:]}"
        for each in late
    )
    arguments: dict[str, Any] = {"calls": f"[{said}]", "claim": _claim().pk}
    with connection.cursor() as cursor:
        # What a claim corrects is not completed at the same time.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTING])
        cursor.execute(COMPLETE, arguments)


def _claim() -> Claim:
    """What histories name as the cause: one for all of them, never open."""
    claim, _ = Claim.objects.get_or_create(cause=CAUSE, defaults={"finished_at": Now()})
    return claim


def _forget(known: list[Known]) -> None:
    """These halves and no others: one may have come since they were read."""
    halves = [half for each in known for half in each.halves]
    marks = [half.identity for half in halves], [half.side for half in halves]
    with connection.cursor() as cursor:
        cursor.execute(FORGET_HALVES, marks)


def _wait() -> timedelta:
    return timedelta(seconds=settings.OTHER_HALF_WAIT)
