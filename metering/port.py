"""Metering's side of the port to the core: see `revcred.metering_port`."""

from collections.abc import Callable, Iterator, Sequence
from typing import cast

from django.db import connection
from django.db.transaction import on_commit
from psycopg import sql

from metering import consequences, erasure, recent_calls
from metering.bells import claim_bell
from metering.models import Claim
from metering.quarantine.statements import COUNT_WAITING_FOR, FIND_ROWS_WITH_USAGE
from revcred.metering_port import (
    AssignmentChange,
    Consequences,
    Correction,
    RecentCalls,
    RecentCallsQuestion,
    TableOfRows,
    WaitingCalls,
)
from revcred.models.periods import start_of_second
from revcred.personal_texts import PersonTexts

HAS_CALLS = """
SELECT EXISTS (SELECT FROM metering_transaction) OR EXISTS (SELECT FROM metering_quarantined)
"""
MAX_CUSTOMERS_LISTED = 10  # in the preview of an upload


class Metering:
    """What the core tells metering, and asks it."""

    def change_assignments(self, change: AssignmentChange) -> Claim:
        """Open a claim in the transaction of the change itself, so that none is ever forgotten.

        `since` is moved to the beginning of its second, because a moment in whole seconds stands
        for any moment of its second.
        """
        claim = Claim.objects.create(
            cause=change.cause[:200],
            by=change.by.email if change.by else "",
            since=start_of_second(change.since) if change.since else None,
            credential=change.credential,
            subscription=change.subscription,
            product=change.product,
            upload=change.upload,
            with_sources=change.with_sources,
        )
        on_commit(claim_bell.ring)
        return claim

    def count_consequences(
        self, corrections: Sequence[Correction], *, seconds: float | None
    ) -> Consequences:
        # The corrections are those that `change_assignments` returned.
        claims = cast("Sequence[Claim]", corrections)
        return consequences.count_consequences(claims, seconds=seconds)

    def count_recent_calls(self, question: RecentCallsQuestion) -> RecentCalls:
        return recent_calls.count_recent_calls(question)

    def has_calls(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(HAS_CALLS)
            return bool(cursor.fetchone()[0])

    def count_waiting(self, rows: TableOfRows) -> WaitingCalls:
        query = sql.SQL(COUNT_WAITING_FOR).format(rows=sql.Identifier(rows.name)).as_string()
        with connection.cursor() as cursor:
            cursor.execute(query)
            found = cursor.fetchall()
        return WaitingCalls(
            transactions=sum(count for _, count, _ in found),
            since=min((oldest for _, _, oldest in found), default=None),
            customers=tuple(
                (customer, count) for customer, count, _ in found[:MAX_CUSTOMERS_LISTED]
            ),
        )

    def find_rows_with_usage(self, rows: TableOfRows, *, most: int) -> list[int]:
        query = sql.SQL(FIND_ROWS_WITH_USAGE).format(rows=sql.Identifier(rows.name)).as_string()
        with connection.cursor() as cursor:
            cursor.execute(query, {"most": most})
            return [number for (number,) in cursor.fetchall()]

    def find_rows_with_tokens(self, rows: TableOfRows) -> list[int]:
        query = sql.SQL(
            "SELECT n.number FROM {rows} n WHERE EXISTS (SELECT FROM metering_gatewaytoken t"
            " WHERE t.gateway_id = n.gateway_id) ORDER BY 1"
        ).format(rows=sql.Identifier(rows.name))
        with connection.cursor() as cursor:
            cursor.execute(query.as_string())
            return [number for (number,) in cursor.fetchall()]

    def steps_of_erasing(self, texts: PersonTexts) -> Iterator[Callable[[], int]]:
        return erasure.steps_of_erasing(texts)
