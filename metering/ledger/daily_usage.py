"""Usage by day: hours that are over are summed up, so that a long period is read quickly.

Attribution adds to the hours only, and notes days that were over already (StaleUsageDay). Reading
takes the sums of days that are summed up and not noted, and the hours of all others. So the sums
are right at any moment, however late the clock is.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal

from django.db import connection
from django.db.models import Min
from django.db.transaction import atomic
from psycopg import sql

from metering.ledger import gateway_days
from metering.ledger.scope import SCOPE_CONDITION, LedgerScope
from metering.models import SummedUpDays, Usage
from metering.models.usage import NOBODY, OTHERS, UsageParty

# No statement of attribution takes nearly as long. So what it adds to a day without a note is
# committed before the day is summed up.
SUMMING_DELAY = timedelta(hours=1)
MAX_DAYS_PER_STATEMENT = 31
MAX_NOTES_PER_STATEMENT = 10_000

UsageStep = Literal["hour", "day", "month"]

DAILY_COLUMNS = sql.SQL(
    "day, subscription_id, credential_id, customer_id, element, count, quantity"
)

# The sums of the days of `wanted` (subscription_id, start, end). One look-up in the index for each:
# there is no index of hours.
SUM_UP = """
INSERT INTO metering_dailyusage ({columns})
SELECT of_day.* FROM ({wanted}) wanted CROSS JOIN LATERAL (
    SELECT
        (u.hour AT TIME ZONE 'UTC')::date, u.subscription_id, u.credential_id, u.customer_id,
        u.element, sum(u.count), sum(u.quantity)
    FROM metering_usage u
    WHERE u.subscription_id = wanted.subscription_id
        AND u.hour >= wanted.start::timestamp AT TIME ZONE 'UTC'
        AND u.hour < wanted.end::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3, 4, 5 HAVING (sum(u.count), sum(u.quantity)) <> (0, 0)
) of_day
"""
SUM_UP_DAYS = (
    sql.SQL(SUM_UP)
    .format(
        columns=DAILY_COLUMNS,
        wanted=sql.SQL(
            "SELECT id AS subscription_id, %(start)s::date AS start, %(end)s::date AS end"
            " FROM revcred_subscription"
        ),
    )
    .as_string()
)
SUM_UP_STALE_DAYS = (
    sql.SQL(SUM_UP)
    .format(
        columns=DAILY_COLUMNS,
        wanted=sql.SQL(
            "SELECT subscription_id, day AS start, day + 1 AS end"
            " FROM unnest(%(subscriptions)s::bigint[], %(days)s::date[]) d (subscription_id, day)"
        ),
    )
    .as_string()
)
# Take the oldest notes. Days from %(before)s on are not summed up yet: their notes are not needed.
TAKE_NOTES = """
WITH taken AS (
    -- in: the notes; out: the oldest ones, deleted.
    DELETE FROM metering_staleusageday WHERE id IN (
        SELECT id FROM metering_staleusageday ORDER BY id LIMIT %(most)s
    )
    RETURNING subscription_id, day
)
SELECT DISTINCT subscription_id, day FROM taken WHERE day < %(before)s
"""
DELETE_STALE_DAYS = """
DELETE FROM metering_dailyusage d
USING unnest(%(subscriptions)s::bigint[], %(days)s::date[]) stale (subscription_id, day)
WHERE d.subscription_id = stale.subscription_id AND d.day = stale.day
"""

# Usage in a scope, by day: what is summed up, the hours since then, and the hours of stale days.
USED_BY_DAY = sql.SQL("""
used AS (
    -- in: the scope and the period; out: rows of day, subscription, credential, element, quantity.
    SELECT t.day, t.subscription_id, t.credential_id, t.element, t.quantity
    FROM metering_dailyusage t
    WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[]) AND {conditions}
        AND t.day >= %(first)s AND t.day < least(%(end)s, %(summed_up_before)s)
        AND NOT EXISTS (
            SELECT FROM metering_staleusageday s
            WHERE s.subscription_id = t.subscription_id AND s.day = t.day
        )
    UNION ALL
    SELECT
        (t.hour AT TIME ZONE 'UTC')::date, t.subscription_id, t.credential_id, t.element,
        t.quantity
    FROM metering_usage t
    WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[]) AND {conditions}
        AND t.hour >= %(first_hour)s AND t.hour < %(end_hour)s
    UNION ALL
    SELECT s.day, t.subscription_id, t.credential_id, t.element, t.quantity
    FROM (
        SELECT DISTINCT subscription_id, day FROM metering_staleusageday
        WHERE subscription_id = ANY (%(subscriptions)s::bigint[])
            AND day >= %(first)s AND day < least(%(end)s, %(summed_up_before)s)
    ) s
    JOIN metering_usage t ON t.subscription_id = s.subscription_id
        AND t.hour >= s.day::timestamp AT TIME ZONE 'UTC'
        AND t.hour < (s.day + 1)::timestamp AT TIME ZONE 'UTC'
    WHERE {conditions}
)
""")
USED_BY_HOUR = sql.SQL("""
used AS (
    -- in: the scope and the period; out: rows of hour, subscription, credential, element, quantity.
    SELECT t.hour AS day, t.subscription_id, t.credential_id, t.element, t.quantity
    FROM metering_usage t
    WHERE t.subscription_id = ANY (%(subscriptions)s::bigint[]) AND {conditions}
        AND t.hour >= %(period_start)s AND t.hour < %(end_hour)s
)
""")
PARTY_COLUMNS: dict[UsageParty, sql.Identifier] = {
    "credential": sql.Identifier("credential_id"),
    "subscription": sql.Identifier("subscription_id"),
}
STARTS: dict[UsageStep, sql.SQL] = {
    "hour": sql.SQL("day"),
    "day": sql.SQL("day"),
    "month": sql.SQL("date_trunc('month', day::timestamp)::date"),
}

# Days whose sums differ from those of their hours, unless they are noted.
DAILY_DIFFERENCES = """
WITH hourly AS (
    -- in: usage; out: its sums by day.
    SELECT
        (hour AT TIME ZONE 'UTC')::date AS day, subscription_id, credential_id, element,
        sum(count) AS count, sum(quantity) AS quantity
    FROM metering_usage
    WHERE hour < %(summed_up_before)s::timestamp AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3, 4
)
SELECT
    coalesce(d.subscription_id, h.subscription_id), coalesce(d.day, h.day),
    coalesce(d.element, h.element), coalesce(d.credential_id, h.credential_id),
    coalesce(d.count, 0), coalesce(h.count, 0), coalesce(d.quantity, 0), coalesce(h.quantity, 0)
FROM metering_dailyusage d FULL JOIN hourly h
    ON h.subscription_id = d.subscription_id AND h.day = d.day AND h.element = d.element
    AND coalesce(h.credential_id, 0) = coalesce(d.credential_id, 0)
WHERE (coalesce(d.count, 0), coalesce(d.quantity, 0))
        <> (coalesce(h.count, 0), coalesce(h.quantity, 0))
    AND NOT EXISTS (
        SELECT FROM metering_staleusageday s
        WHERE s.subscription_id = coalesce(d.subscription_id, h.subscription_id)
            AND s.day = coalesce(d.day, h.day)
    )
ORDER BY 2, 1, 3, 4
"""


def summed_up_before() -> date:
    """Return the first day that is not summed up."""
    summed_up = SummedUpDays.objects.first()
    return summed_up.summed_up_before if summed_up else date.min


def sum_up_days(now: datetime) -> int:
    """Sum up the days that ended SUMMING_DELAY ago, and return how many."""
    end = (now - SUMMING_DELAY).astimezone(UTC).date()
    days = 0
    while summed_up := _sum_up_next_days(end):
        days += summed_up
    return days


@atomic
def _sum_up_next_days(end: date) -> int:
    summed_up = SummedUpDays.objects.select_for_update().first()
    if summed_up is None:
        first_hour = Usage.objects.aggregate(first=Min("hour"))["first"]
        first = first_hour.astimezone(UTC).date() if first_hour else end
        # Whoever creates the row first goes on; another clock waits for it, and then finds it.
        summed_up, _ = SummedUpDays.objects.get_or_create(
            pk=1, defaults={"summed_up_before": first}
        )
        summed_up = SummedUpDays.objects.select_for_update().get()
    start = summed_up.summed_up_before
    next_end = min(end, start + timedelta(days=MAX_DAYS_PER_STATEMENT))
    if next_end <= start:
        return 0
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(SUM_UP_DAYS, {"start": start, "end": next_end})
    summed_up.summed_up_before = next_end
    summed_up.save()
    return (next_end - start).days


def sum_up_stale_days() -> int:
    """Sum up again the days that were noted, and return how many."""
    days = 0
    while (summed_up := _sum_up_some_stale_days()) is not None:
        days += summed_up
    return days


@atomic
def _sum_up_some_stale_days() -> int | None:
    """Return the number of days that were summed up, or None if none is noted."""
    # Locked, so that two clocks do not write the same sums.
    summed_up = SummedUpDays.objects.select_for_update().first()
    if summed_up is None:
        return None
    with connection.cursor() as cursor:
        arguments: dict[str, Any] = {
            "most": MAX_NOTES_PER_STATEMENT,
            "before": summed_up.summed_up_before,
        }
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT EXISTS (SELECT FROM metering_staleusageday)")
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(TAKE_NOTES, arguments)
        stale = cursor.fetchall()
        arguments = {"subscriptions": [row[0] for row in stale], "days": [row[1] for row in stale]}
        # A note is seen only together with the hours that it is about.
        cursor.execute(DELETE_STALE_DAYS, arguments)
        cursor.execute(SUM_UP_STALE_DAYS, arguments)
    gateway_days.sum_up_again(stale, before=summed_up.gateways_summed_up_before)
    return len(stale)


@atomic
def daily_differences() -> list[tuple[Any, ...]]:
    """Return the days whose sums differ from their hours: none, unless something is broken."""
    # Locked, so that no day is summed up between the two questions.
    summed_up = SummedUpDays.objects.select_for_update().first()
    before = summed_up.summed_up_before if summed_up else date.min
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute(DAILY_DIFFERENCES, {"summed_up_before": before})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


class ScopedUsage:
    """Usage of a scope in a period of whole days in UTC, `start` until, but not including, `end`.

    `credential`: only this one's. `step`: hours cost more than days, where a period is long.
    """

    def __init__(
        self,
        scope: LedgerScope,
        *,
        start: datetime,
        end: datetime,
        step: UsageStep = "day",
        credential: int | None = None,
    ) -> None:
        first, last = start.astimezone(UTC).date(), end.astimezone(UTC).date()
        before = summed_up_before()
        self._step: UsageStep = step
        self._conditions = [SCOPE_CONDITION]
        self._arguments: dict[str, Any] = scope.arguments | {
            "first": first,
            "end": last,
            "summed_up_before": before,
            "period_start": _midnight(first),
            "first_hour": _midnight(max(first, before)),
            "end_hour": _midnight(last),
        }
        if credential is not None:
            self._conditions.append(sql.SQL("t.credential_id = %(credential)s"))
            self._arguments["credential"] = credential

    def by_element_and_party(self, party: UsageParty) -> dict[str, dict[int, Decimal]]:
        """Return the quantity of each party's id, by element."""
        shares: dict[str, dict[int, Decimal]] = {}
        rows = self._sums(
            "element, coalesce({party}, {nobody})", "GROUP BY 1, 2 ORDER BY 1", party=party
        )
        for element, number, quantity in rows:
            shares.setdefault(element, {})[number] = quantity
        return shares

    def over_time(
        self, party: UsageParty, *, element: str, told_apart: Collection[int]
    ) -> list[tuple[datetime, int, Decimal]]:
        """Return rows of start, party's id, and quantity. Others than `told_apart` are OTHERS."""
        rows = self._sums(
            "{start}, CASE WHEN coalesce({party}, {nobody}) = ANY (%(told_apart)s::bigint[])"
            " THEN coalesce({party}, {nobody}) ELSE {others} END",
            "GROUP BY 1, 2",
            party=party,
            element=element,
            told_apart=list(told_apart),
        )
        return [(_as_moment(start), number, quantity) for start, number, quantity in rows]

    def by_subscription_and_start(self, element: str) -> list[tuple[int, datetime, Decimal]]:
        """Return rows of subscription, start, and quantity."""
        rows = self._sums(
            "{party}, {start}", "GROUP BY 1, 2", party="subscription", element=element
        )
        return [(number, _as_moment(start), quantity) for number, start, quantity in rows]

    def by_element_and_start(self) -> list[tuple[str, datetime, Decimal]]:
        """Return rows of element, start, and quantity."""
        rows = self._sums("element, {start}", "GROUP BY 1, 2 ORDER BY 1", party="subscription")
        return [(element, _as_moment(start), quantity) for element, start, quantity in rows]

    def _sums(
        self, columns: str, grouping: str, *, party: UsageParty, **arguments: Any
    ) -> Sequence[tuple[Any, ...]]:
        conditions = [*self._conditions]
        if "element" in arguments:
            conditions.append(sql.SQL("t.element = %(element)s"))
        used = USED_BY_HOUR if self._step == "hour" else USED_BY_DAY
        statement = sql.SQL("WITH {used} SELECT {columns}, sum(quantity) FROM used {grouping}")
        with connection.cursor() as cursor:
            cursor.execute(
                statement.format(
                    used=used.format(conditions=sql.SQL(" AND ").join(conditions)),
                    columns=sql.SQL(columns).format(
                        party=PARTY_COLUMNS[party],
                        start=STARTS[self._step],
                        nobody=sql.Literal(NOBODY),
                        others=sql.Literal(OTHERS),
                    ),
                    grouping=sql.SQL(grouping),
                ).as_string(),
                self._arguments | arguments,
            )
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _as_moment(start: date | datetime) -> datetime:
    return start if isinstance(start, datetime) else _midnight(start)
