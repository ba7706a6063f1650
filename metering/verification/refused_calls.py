"""Receipts of refused calls: the first of each credential are kept, and all are counted."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.inbox.group_commit import time_ordered_id
from metering.models import RefusedCall, RefusedCount
from metering.models.functions import first_id_at
from revcred.retention import delete_in_batches

RECEIPT_RETENTION = timedelta(days=30)
COUNT_RETENTION = timedelta(days=400)
MAX_RECEIPTS_PER_CREDENTIAL = 1_000
MAX_RECEIPTS_OF_UNKNOWN_KEYS = 10_000  # of a gateway
MAX_PATH_CHARACTERS, MAX_METHOD_CHARACTERS = 500, 20


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a gateway was told not to let through, or would have been."""

    id: UUID
    at: datetime
    gateway: int
    credential: int | None
    code: str
    method: str
    path: str
    observed: bool


def new_receipt_id() -> UUID:
    return UUID(int=time_ordered_id())


# in: receipts as arrays; out: those for which there is room, of each credential or, without one, of
# each gateway.
INSERT_RECEIPTS = """
WITH refused AS (
    SELECT *, row_number() OVER (
        PARTITION BY credential_id, CASE WHEN credential_id IS NULL THEN gateway_id END ORDER BY id
    ) AS n
    FROM unnest(
        %(id)s::uuid[], %(at)s::timestamptz[], %(gateway)s::bigint[], %(credential)s::bigint[],
        %(code)s::text[], %(method)s::text[], %(path)s::text[], %(observed)s::boolean[]
    ) AS r (id, at, gateway_id, credential_id, code, method, path, observed)
), kept AS (
    -- in: these receipts; out: how many are kept already of each credential or gateway.
    SELECT g.credential_id, g.gateway_id, CASE
        WHEN g.credential_id IS NULL THEN (
            SELECT count(*) FROM (
                SELECT FROM metering_refusedcall k
                WHERE k.gateway_id = g.gateway_id AND k.credential_id IS NULL
                LIMIT %(most_unknown)s
            ) first
        )
        ELSE (
            SELECT count(*) FROM (
                SELECT FROM metering_refusedcall k
                WHERE k.credential_id = g.credential_id LIMIT %(most)s
            ) first
        )
    END AS receipts
    FROM (
        SELECT DISTINCT credential_id, CASE WHEN credential_id IS NULL THEN gateway_id END
            AS gateway_id
        FROM refused
    ) g
)
INSERT INTO metering_refusedcall (id, at, gateway_id, credential_id, code, method, path, observed)
SELECT r.id, r.at, r.gateway_id, r.credential_id, r.code, r.method, r.path, r.observed
FROM refused r
JOIN kept k ON k.credential_id IS NOT DISTINCT FROM r.credential_id
    AND (r.credential_id IS NOT NULL OR k.gateway_id = r.gateway_id)
WHERE r.n + k.receipts
    <= CASE WHEN r.credential_id IS NULL THEN %(most_unknown)s ELSE %(most)s END
ON CONFLICT DO NOTHING
"""
ADD_COUNTS = """
INSERT INTO metering_refusedcount
    (hour, gateway_id, credential_id, code, observed, calls, first_at, last_at)
SELECT date_trunc('hour', r.first_at, 'UTC'), r.gateway_id, r.credential_id, r.code, r.observed,
    r.calls, r.first_at, r.last_at
FROM unnest(
    %(gateway)s::bigint[], %(credential)s::bigint[], %(code)s::text[], %(observed)s::boolean[],
    %(calls)s::bigint[], %(first)s::timestamptz[], %(last)s::timestamptz[]
) AS r (gateway_id, credential_id, code, observed, calls, first_at, last_at)
JOIN revcred_gateway g ON g.id = r.gateway_id
ORDER BY 2, 3, 4
ON CONFLICT (gateway_id, hour, credential_id, code, observed) DO UPDATE SET
    calls = metering_refusedcount.calls + excluded.calls,
    first_at = least(metering_refusedcount.first_at, excluded.first_at),
    last_at = greatest(metering_refusedcount.last_at, excluded.last_at)
"""

CountKey = tuple[int, int | None, str, bool, datetime]  # the last: the hour


class RefusedCallGroup:
    """Refused calls that are to be written together. All are counted, the first ones kept whole."""

    def __init__(self, max_receipts: int = 2_000) -> None:
        self._max_receipts = max_receipts
        self.receipts: list[Refused] = []
        self.counts: Counter[CountKey] = Counter()
        self.periods: dict[CountKey, tuple[datetime, datetime]] = {}

    def add(self, refused: Refused) -> None:
        hour = refused.at.replace(minute=0, second=0, microsecond=0)
        key = (refused.gateway, refused.credential, refused.code, refused.observed, hour)
        self.counts[key] += 1
        first, last = self.periods.get(key, (refused.at, refused.at))
        self.periods[key] = min(first, refused.at), max(last, refused.at)
        if len(self.receipts) < self._max_receipts:
            self.receipts.append(refused)

    def add_all(self, other: "RefusedCallGroup") -> None:
        """Add what another batch holds."""
        for key, calls in other.counts.items():
            self.counts[key] += calls
            others_first, others_last = other.periods[key]
            first, last = self.periods.get(key, (others_first, others_last))
            self.periods[key] = min(first, others_first), max(last, others_last)
        room = self._max_receipts - len(self.receipts)
        self.receipts += other.receipts[:room]

    def write(self) -> None:
        """Write receipts and counts in one transaction. Raises django.db.DatabaseError."""
        if not self.counts:
            return
        receipts, keys = self.receipts, list(self.counts)
        with atomic(), connection.cursor() as cursor:
            cursor.execute(
                INSERT_RECEIPTS,
                {
                    "id": [each.id for each in receipts],
                    "at": [each.at for each in receipts],
                    "gateway": [each.gateway for each in receipts],
                    "credential": [each.credential for each in receipts],
                    "code": [each.code for each in receipts],
                    "method": [_storable(each.method, MAX_METHOD_CHARACTERS) for each in receipts],
                    "path": [_storable(each.path, MAX_PATH_CHARACTERS) for each in receipts],
                    "observed": [each.observed for each in receipts],
                    "most": MAX_RECEIPTS_PER_CREDENTIAL,
                    "most_unknown": MAX_RECEIPTS_OF_UNKNOWN_KEYS,
                },
            )
            cursor.execute(
                ADD_COUNTS,
                {
                    "gateway": [key[0] for key in keys],
                    "credential": [key[1] for key in keys],
                    "code": [key[2] for key in keys],
                    "observed": [key[3] for key in keys],
                    "calls": [self.counts[key] for key in keys],
                    "first": [self.periods[key][0] for key in keys],
                    "last": [self.periods[key][1] for key in keys],
                },
            )


def _storable(text: str, most: int) -> str:
    """Return the beginning of a text without what PostgreSQL cannot store."""
    return text[:most].replace("\0", "").encode(errors="replace").decode()


def record_refused(calls: Sequence[Refused]) -> None:
    """Write receipts at once, where there is nothing to gather them in."""
    group = RefusedCallGroup(max_receipts=len(calls))
    for refused in calls:
        group.add(refused)
    group.write()


def delete_old_receipts() -> None:
    """Delete receipts past their retention."""
    before = first_id_at(timezone.now() - RECEIPT_RETENTION)
    delete_in_batches(RefusedCall.objects.filter(id__lt=before))


def delete_old_counts() -> None:
    """Delete counts of more than a year ago."""
    before = timezone.now() - COUNT_RETENTION
    delete_in_batches(RefusedCount.objects.filter(hour__lt=before))
