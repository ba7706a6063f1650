"""Calls as customers list them: counted or not, the latest first, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import OperationalError, connection
from django.db.models import Q, QuerySet
from django.db.transaction import atomic
from psycopg import sql

from metering import failures
from metering.inbox.calls import possible_dedup_keys
from metering.ledger.receipts import MAX_RECEIPTS_PER_ID
from metering.ledger.scope import SCOPE_CONDITION, LedgerScope
from metering.models import Quarantined, SeenTransaction
from metering.models.transactions import QuarantinedQuerySet
from revcred.models import Assignment, Gateway
from revcred.postgresql.statement_timeouts import statement_timeout

SEARCH_LIMIT_MILLISECONDS = 3_000
# A gateway's clock may be ahead: a call may arrive before the moment it says.
MAX_CLOCK_LEAD = timedelta(days=1)


class SearchTookTooLong(Exception):
    """Too few calls among too many match the filter to find them in time."""


@dataclass(frozen=True, kw_only=True)
class CallPosition:
    """A place in the list of calls: they are ordered by moment, and then by id."""

    occurred_at: datetime
    id: UUID


@dataclass(frozen=True, kw_only=True)
class SentCalls:
    """What was sent under one id: the rows it first became, and all moments that it may have now.

    Corrections have ids of their own. They keep the moment, unless an admin chose the arrival.
    """

    transaction_id: str
    rows: Sequence[UUID]
    moments: Sequence[datetime]


@dataclass(frozen=True, kw_only=True)
class CallFilter:
    """The calls to list: of moments from `start` until, but not including, `end`.

    `counted`: None lists both kinds. `subscription`: calls that are not counted belong to each one
    that their credential was ever charged to. `statuses`: first and last status. `key`: only calls
    with a key of this fingerprint.
    """

    start: datetime
    end: datetime
    counted: bool | None = None
    credential: int | None = None
    subscription: int | None = None
    gateway: int | None = None
    statuses: tuple[int, int] | None = None
    sent: SentCalls | None = None
    key: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class ListedCall:
    """A call in a list. `reason`: why it is not counted, empty if it is."""

    id: UUID
    occurred_at: datetime
    gateway_id: int
    transaction_id: str
    method: str
    path: str
    status: int | None
    credential_id: int | None
    subscription_id: int | None = None
    elements: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def position(self) -> CallPosition:
        return CallPosition(occurred_at=self.occurred_at, id=self.id)


# One look-up in the index for each subscription, which stops after a page.
LIST_COUNTED = """
SELECT {columns} FROM unnest(%(subscriptions)s::bigint[]) wanted (id) CROSS JOIN LATERAL (
    SELECT {columns} FROM metering_transaction t
    WHERE t.subscription_id = wanted.id AND t.sign = 1 AND {conditions}
        -- Corrected calls were taken back: they are listed where they were written anew.
        AND NOT EXISTS (
            SELECT FROM metering_transaction c
            WHERE c.corrects = t.id AND c.occurred_at = t.occurred_at
        )
    ORDER BY t.occurred_at DESC, t.id DESC LIMIT %(rows)s
) t
ORDER BY t.occurred_at DESC, t.id DESC LIMIT %(rows)s
"""
LISTED_COLUMNS = (
    "id",
    "occurred_at",
    "gateway_id",
    "transaction_id",
    "method",
    "path",
    "status",
    "credential_id",
    "subscription_id",
    "elements",
)
LISTED_UNCOUNTED_COLUMNS = tuple(
    name for name in (*LISTED_COLUMNS, "reason") if name != "subscription_id"
)


def list_calls(
    scope: LedgerScope,
    uncounted: QuarantinedQuerySet,
    wanted: CallFilter,
    *,
    after: CallPosition | None,
    rows: int,
) -> list[ListedCall]:
    """Return the next calls after a position, the latest first, at most `rows`.

    `uncounted`: the calls in quarantine that may be listed. Raises SearchTookTooLong.
    """
    calls: list[ListedCall] = []
    try:
        with (
            atomic(),
            connection.cursor() as cursor,
            statement_timeout(cursor, SEARCH_LIMIT_MILLISECONDS),
        ):
            if wanted.counted is not False:
                calls += _list_counted(scope, wanted, after, rows)
            if wanted.counted is not True:
                calls += _list_uncounted(uncounted, wanted, after, rows)
    except OperationalError as error:
        if failures.took_too_long(error):
            raise SearchTookTooLong from error
        raise
    return sorted(calls, key=lambda call: (call.occurred_at, call.id), reverse=True)[:rows]


def find_sent_calls(transaction_id: str) -> SentCalls:
    """Return what gateways sent under this id, which may be anybody's."""
    gateways = Gateway.objects.values_list("pk", flat=True)
    keys = [key for pk in gateways for key in possible_dedup_keys(pk, transaction_id)]
    # Two queries, each with an index: an OR of both columns would read the whole table.
    seen = [
        *SeenTransaction.objects.filter(pk__in=keys),
        *SeenTransaction.objects.filter(shared_id__in=keys)[:MAX_RECEIPTS_PER_ID],
    ]
    return SentCalls(
        transaction_id=transaction_id,
        rows=[each.transaction for each in seen],
        moments=[moment for each in seen for moment in (each.occurred_at, each.received_at)],
    )


def _list_counted(
    scope: LedgerScope, wanted: CallFilter, after: CallPosition | None, rows: int
) -> list[ListedCall]:
    if wanted.subscription is not None:
        scope = scope.of_subscription(wanted.subscription)
    if wanted.credential is not None:
        # No others have calls of it: without this, each subscription's calls would be read.
        charged = set(
            Assignment.objects.filter(credential=wanted.credential).values_list(
                "subscription", flat=True
            )
        )
        scope = replace(scope, subscriptions=[s for s in scope.subscriptions if s in charged])
    conditions = [
        SCOPE_CONDITION,
        sql.SQL("t.occurred_at >= %(start)s AND t.occurred_at < %(end)s"),
    ]
    arguments: dict[str, Any] = {"start": wanted.start, "end": wanted.end, "rows": rows}
    if after is not None:
        # The first half names the partitions, the second the place in the index.
        conditions.append(
            sql.SQL(
                "t.occurred_at <= %(after_at)s"
                " AND (t.occurred_at, t.id) < (%(after_at)s, %(after_id)s)"
            )
        )
        arguments |= {"after_at": after.occurred_at, "after_id": after.id}
    if wanted.credential is not None:
        conditions.append(sql.SQL("t.credential_id = %(credential)s"))
        arguments["credential"] = wanted.credential
    if wanted.gateway is not None:
        conditions.append(sql.SQL("t.gateway_id = %(gateway)s"))
        arguments["gateway"] = wanted.gateway
    if wanted.statuses is not None:
        conditions.append(sql.SQL("t.status BETWEEN %(lowest)s AND %(highest)s"))
        arguments["lowest"], arguments["highest"] = wanted.statuses
    if wanted.sent is not None:
        conditions.append(
            sql.SQL(
                "t.occurred_at = ANY (%(moments)s::timestamptz[])"
                " AND (t.id = ANY (%(sent_rows)s::uuid[]) OR t.transaction_id = %(sent_id)s)"
            )
        )
        arguments |= {
            "moments": list(wanted.sent.moments),
            "sent_rows": list(wanted.sent.rows),
            "sent_id": wanted.sent.transaction_id,
        }
    if wanted.key is not None:
        conditions.append(
            sql.SQL(
                "t.external_key_id IN (SELECT id FROM revcred_externalkey"
                " WHERE fingerprint = %(key)s)"
            )
        )
        arguments["key"] = wanted.key
    statement = sql.SQL(LIST_COUNTED).format(
        columns=sql.SQL(", ").join(sql.Identifier("t", name) for name in LISTED_COLUMNS),
        conditions=sql.SQL(" AND ").join(conditions),
    )
    with connection.cursor() as cursor:
        cursor.execute(statement.as_string(), arguments | scope.arguments)
        found = cursor.fetchall()
    *_, elements = LISTED_COLUMNS
    decode = _ELEMENTS.from_db_value
    listed = [dict(zip(LISTED_COLUMNS, row, strict=True)) for row in found]
    return [
        ListedCall(**row | {elements: decode(row[elements], None, connection)}) for row in listed
    ]


_ELEMENTS: Any = Quarantined._meta.get_field("elements")


def _list_uncounted(
    uncounted: QuarantinedQuerySet, wanted: CallFilter, after: CallPosition | None, rows: int
) -> list[ListedCall]:
    found: QuerySet[Quarantined] = filter_uncounted(uncounted, wanted)
    if after is not None:
        found = found.filter(
            Q(occurred_at__lt=after.occurred_at) | Q(occurred_at=after.occurred_at, pk__lt=after.id)
        )
    latest = found.order_by("-occurred_at", "-pk").values(*LISTED_UNCOUNTED_COLUMNS)[:rows]
    return [ListedCall(**row) for row in latest]


def filter_uncounted(uncounted: QuarantinedQuerySet, wanted: CallFilter) -> QuarantinedQuerySet:
    """Return the calls in quarantine that the filter wants."""
    found = uncounted.arrived_since(wanted.start - MAX_CLOCK_LEAD).filter(
        occurred_at__gte=wanted.start, occurred_at__lt=wanted.end
    )
    if wanted.subscription is not None:
        charged = Assignment.objects.filter(subscription=wanted.subscription)
        found = found.made_with(charged.values("credential"))
    if wanted.credential is not None:
        found = found.made_with([wanted.credential])
    if wanted.gateway is not None:
        found = found.filter(gateway=wanted.gateway)
    if wanted.statuses is not None:
        found = found.filter(status__range=wanted.statuses)
    if wanted.sent is not None:
        found = found.filter(
            Q(pk__in=wanted.sent.rows) | Q(transaction_id=wanted.sent.transaction_id),
            occurred_at__in=wanted.sent.moments,
        )
    if wanted.key is not None:
        found = found.filter(fingerprint=wanted.key)
    return found
