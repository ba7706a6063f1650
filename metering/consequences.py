"""Count the calls that an action would move, with the statements that carry it out."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from time import monotonic
from typing import Any, NamedTuple

from django.db import OperationalError, connection
from django.db.transaction import atomic
from psycopg import sql

from metering import failures
from metering.ledger import partitions
from metering.models import Claim, QuarantineReason
from metering.quarantine import reattribution
from metering.quarantine.statements import count_claimed_statement, count_corrections_statement
from revcred.metering_port import CallMovement, ChargedTo, Consequences
from revcred.models import Credential, Subscription
from revcred.postgresql.statement_timeouts import statement_timeout

COUNT_LIMIT_SECONDS = 10.0
QUARANTINE_ROWS_PER_COUNT = 20_000
SINCE_CONDITION = sql.SQL("t.occurred_at >= %(since)s AND ({})")
FIRST_WINDOW_DAYS = 8  # of the ledger; later windows are wider or narrower
QUICK_COUNT_SECONDS = 0.5  # a window counted in less is followed by a wider one

CountRow = tuple[Any, ...]


class ChargedPlace(NamedTuple):
    """A subscription that calls are charged to, or the reason why they are in quarantine."""

    reason: str | None = None
    subscription: int | None = None
    credential: int | None = None


class MovedCalls(NamedTuple):
    """A number of calls that move from one place to another."""

    before: ChargedPlace
    after: ChargedPlace
    calls: int
    first: datetime
    last: datetime


class _CountTookTooLong(Exception):
    """A statement was stopped at its time limit."""


def count_consequences(noted: Sequence[Claim], *, seconds: float | None = None) -> Consequences:
    """Count the calls that these claims will move.

    Runs in the transaction that has changed assignments, which is taken back afterwards. What
    cannot be counted within `seconds`, by default COUNT_LIMIT_SECONDS, is left out: then
    `is_complete` is False.
    """
    deadline = monotonic() + (COUNT_LIMIT_SECONDS if seconds is None else seconds)
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
    """Add what leaves the quarantine to `groups`; return False if time was too short."""
    scope, arguments = _any_condition(
        [(reattribution.quarantine_condition(claim), claim) for claim in noted]
    )
    statement = count_claimed_statement(scope)
    after = reattribution.BEFORE_FIRST_ID
    while True:
        step = {"after": after, "max_rows": QUARANTINE_ROWS_PER_COUNT}
        try:
            rows = _run_until_deadline(statement, deadline, arguments | step)
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
    """Add what is corrected in the ledger to `groups`; return False if time was too short.

    Counts windows of days, the newest first: an incomplete count then has the days that matter.
    """
    reaching = [claim for claim in noted if claim.since]
    days = partitions.partitioned_days() if reaching else []
    if not days:
        return True
    scope, arguments = _any_condition(
        [
            (SINCE_CONDITION.format(reattribution.ledger_condition(claim)), claim)
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
            # Half of the time that is left: a wide window that takes too long is tried narrower.
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


def _any_condition(
    conditions: Sequence[tuple[sql.Composable, Claim]],
) -> tuple[sql.Composable, dict[str, Any]]:
    """Join conditions with OR, and number the names of their arguments."""
    numbered: list[sql.Composable] = []
    arguments = {"claim": None}
    for number, (condition, claim) in enumerate(conditions):
        own = reattribution.claim_arguments(claim)
        # Each claim has its own values under the same names: %(since)s becomes %(since_1)s.
        text = re.sub(r"%\((\w+)\)s", rf"%(\1_{number})s", condition.as_string())
        numbered.append(sql.SQL("({})").format(sql.SQL(text)))
        arguments |= {f"{name}_{number}": value for name, value in own.items()}
    return sql.SQL(" OR ").join(numbered), arguments


def _run_until_deadline(
    statement: str, deadline: float, arguments: dict[str, Any]
) -> list[CountRow]:
    """Return the statement's rows. `deadline` is a moment of `monotonic`.

    Raises:
        _CountTookTooLong: the deadline has come.
    """
    milliseconds = int((deadline - monotonic()) * 1_000)
    if milliseconds <= 0:
        raise _CountTookTooLong
    try:
        with atomic(), connection.cursor() as cursor, statement_timeout(cursor, milliseconds):
            cursor.execute(statement, arguments)
            rows: list[CountRow] = cursor.fetchall()
            return rows
    except OperationalError as error:
        if failures.took_too_long(error):
            raise _CountTookTooLong from error
        raise


def _movements_with_names(groups: Iterable[MovedCalls]) -> tuple[CallMovement, ...]:
    """Return the movements with the names of their places, each once, the largest first."""
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
    return tuple(sorted(movements, key=lambda movement: (-movement.calls, str(movement.before))))


def _utc_midnight(day: date) -> datetime:
    return datetime.combine(day, time(tzinfo=UTC))
