"""How many calls an action moves, counted by the statements that carry it out."""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from django.db import OperationalError, connection
from django.db.backends.utils import CursorWrapper
from django.db.transaction import atomic

from metering import failures
from metering.ledger import partitions
from metering.models import Claim, QuarantineReason
from metering.quarantine import reattribution
from metering.quarantine.statements import count_claimed_statement, count_corrections_statement
from revcred.hooks import CallMovement, ChargedTo, Consequences
from revcred.models import Credential, Subscription

COUNT_LIMIT_SECONDS = 10.0
QUARANTINE_ROWS_PER_COUNT = 20_000  # transactions of the quarantine counted in one statement
FIRST_WINDOW_DAYS = 8  # of the ledger, to begin with
QUICK_COUNT_SECONDS = 0.5  # a window of days that is counted in less is followed by a wider one
NIL = UUID(int=0)

CountRow = tuple[Any, ...]


class ChargedPlace(NamedTuple):
    """Where calls are counted: under a subscription, or for a reason in quarantine."""

    reason: str | None = None
    subscription: int | None = None
    credential: int | None = None


class MovedCalls(NamedTuple):
    """Calls that go from one place to another."""

    before: ChargedPlace
    after: ChargedPlace
    calls: int
    first: datetime
    last: datetime


class _CountTookTooLong(Exception):
    """A statement was stopped at its time limit."""


def count_consequences(*, noted: Sequence[Claim], **_: Any) -> Consequences:
    """What these claims will move; see `revcred.hooks`.

    Runs in the transaction that has changed the links. What cannot be counted within
    COUNT_LIMIT_SECONDS is left out, and the answer says so.
    """
    deadline = monotonic() + COUNT_LIMIT_SECONDS
    groups: list[MovedCalls] = []
    is_complete = _count_in_quarantine(noted, deadline, groups)
    is_complete = _count_in_ledger(noted, deadline, groups) and is_complete
    return Consequences(
        movements=_movements_with_names(groups),
        since=min(filter(None, (claim.since for claim in noted)), default=None),
        is_complete=is_complete,
        others_under_way=Claim.objects.open().exclude(pk__in=[claim.pk for claim in noted]).count(),
    )


def _count_in_quarantine(noted: Sequence[Claim], deadline: float, groups: list[MovedCalls]) -> bool:
    """Add what leaves the quarantine. False if there was no time for all of it."""
    scope, arguments = _any_condition(
        [(reattribution.quarantine_condition(claim), claim) for claim in noted]
    )
    statement = count_claimed_statement(scope)
    after = NIL
    while True:
        try:
            rows = _run_until_deadline(
                statement, deadline, arguments | {"after": after, "most": QUARANTINE_ROWS_PER_COUNT}
            )
        except _CountTookTooLong:
            return False
        looked_at, last, *_ = rows[0]
        groups += [
            MovedCalls(ChargedPlace(reason=reason), ChargedPlace(subscription=to), *figures)
            for _, _, reason, to, *figures in rows
            if reason is not None
        ]
        if looked_at < QUARANTINE_ROWS_PER_COUNT:
            return True
        after = last


def _count_in_ledger(noted: Sequence[Claim], deadline: float, groups: list[MovedCalls]) -> bool:
    """Add what is corrected in the ledger, the newest days first."""
    reaching = [claim for claim in noted if claim.since]
    days = partitions.partitioned_days() if reaching else []
    if not days:
        return True
    scope, arguments = _any_condition(
        [
            (f"t.occurred_at >= %(since)s AND ({reattribution.ledger_condition(claim)})", claim)
            for claim in reaching
        ]
    )
    statement = count_corrections_statement(scope)
    start = max(min(claim.since for claim in reaching if claim.since), _utc_midnight(days[0]))
    end, width = _utc_midnight(days[-1]) + timedelta(days=1), FIRST_WINDOW_DAYS
    while start < end:
        begin = max(start, end - timedelta(days=width))
        began = monotonic()
        try:
            # So that a narrower window can be tried where a wide one takes too long.
            until = deadline if width == 1 else began + (deadline - began) / 2
            rows = _run_until_deadline(statement, until, arguments | {"start": begin, "end": end})
        except _CountTookTooLong:
            if width == 1:
                return False
            width = max(1, width // 4)
            continue
        groups += [_moved_calls_of_row(row) for row in rows]
        end = begin
        width = width * 4 if monotonic() - began < QUICK_COUNT_SECONDS else max(1, width // 2)
    return True


def _moved_calls_of_row(row: CountRow) -> MovedCalls:
    before, reason, after, credential_before, credential_after, *figures = row
    return MovedCalls(
        ChargedPlace(subscription=before, credential=credential_before),
        ChargedPlace(reason=reason, subscription=after, credential=credential_after),
        *figures,
    )


def _any_condition(conditions: Sequence[tuple[str, Claim]]) -> tuple[str, dict[str, Any]]:
    """One condition that holds where one of several does, and its arguments by numbered names."""
    texts, arguments = [], {"claim": None}
    for number, (text, claim) in enumerate(conditions):
        own = reattribution.claim_arguments(claim)
        texts.append(re.sub(r"%\((\w+)\)s", rf"%(\1_{number})s", text))
        arguments |= {f"{name}_{number}": value for name, value in own.items()}
    return " OR ".join(f"({text})" for text in texts), arguments


def _run_until_deadline(
    statement: str, deadline: float, arguments: dict[str, Any]
) -> list[CountRow]:
    """The statement's rows. Raises _TookTooLong at the deadline (of `monotonic`)."""
    milliseconds = int((deadline - monotonic()) * 1_000)
    if milliseconds <= 0:
        raise _CountTookTooLong
    try:
        with atomic(), connection.cursor() as cursor, _statement_timeout(cursor, milliseconds):
            cursor.execute(statement, arguments)
            rows: list[CountRow] = cursor.fetchall()
            return rows
    except OperationalError as error:
        if failures.took_too_long(error):
            raise _CountTookTooLong from error
        raise


@contextmanager
def _statement_timeout(cursor: CursorWrapper, milliseconds: int) -> Iterator[None]:
    """Set for the block. Where it fails, the savepoint around it puts the timeout back."""
    cursor.execute("SELECT current_setting('statement_timeout')")
    (before,) = cursor.fetchone()
    change = "SELECT set_config('statement_timeout', %s, true)"
    cursor.execute(change, [f"{milliseconds}ms"])
    yield
    cursor.execute(change, [before])


def _movements_with_names(groups: Iterable[MovedCalls]) -> tuple[CallMovement, ...]:
    """The movements with names, each once, the largest first."""
    summed: dict[tuple[ChargedPlace, ChargedPlace], tuple[int, datetime, datetime]] = {}
    for before, after, calls, first, last in groups:
        known = summed.get((before, after), (0, first, last))
        summed[before, after] = (known[0] + calls, min(known[1], first), max(known[2], last))
    places = {place for pair in summed for place in pair}
    subscriptions = Subscription.objects.select_related("customer").in_bulk(
        {place.subscription for place in places if place.subscription}
    )
    credentials = Credential.objects.in_bulk(
        {place.credential for place in places if place.credential}
    )

    def charged(place: ChargedPlace) -> ChargedTo:
        if place.subscription is None or place.reason is not None:
            return ChargedTo(
                reason=str(QuarantineReason(place.reason).label) if place.reason else ""
            )
        subscription = subscriptions.get(place.subscription)
        credential = credentials.get(place.credential) if place.credential else None
        return ChargedTo(
            subscription_id=place.subscription,
            subscription=str(subscription or f"subscription {place.subscription}"),
            customer=str(subscription.customer) if subscription else "a deleted customer",
            credential=str(credential or ""),
        )

    movements = [
        CallMovement(
            before=charged(before), after=charged(after), calls=calls, first=first, last=last
        )
        for (before, after), (calls, first, last) in summed.items()
    ]
    return tuple(sorted(movements, key=lambda each: (-each.calls, str(each.before))))


def _utc_midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))
