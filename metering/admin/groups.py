"""Groups of the quarantine: transactions that wait for one reason, under one key, at one gateway.

The groups are found by a loose index scan: the query jumps from one group to the next along the
index `quarantined_open`, so that a million transactions of one group cost as much as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from metering.models import Quarantined, QuarantineReason
from revcred.models import AuditEvent, Credential, Gateway, Product, Source, Subscription

MAX_GROUPS = 1_000
# Counting reads every row. The page of groups shall open at once, and says "more than" beyond this.
MAX_COUNTED_PER_GROUP = 10_000  # transactions

OPEN_GROUPS = """
-- in: the index of open transactions; out: one row a reason, fingerprint and gateway.
WITH RECURSIVE keyed AS (
    -- The first group of each reason.
    SELECT reason, first.* FROM unnest(%(reasons)s::text[]) AS reason, LATERAL (
        SELECT fingerprint, gateway_id, hint FROM metering_quarantined AS waiting
        WHERE waiting.reason = reason.reason AND released_at IS NULL AND fingerprint IS NOT NULL
        ORDER BY fingerprint, gateway_id LIMIT 1
    ) AS first
    UNION ALL
    -- The next group after each one: a row comparison that the index answers by itself.
    SELECT keyed.reason, next.* FROM keyed, LATERAL (
        SELECT fingerprint, gateway_id, hint FROM metering_quarantined AS waiting
        WHERE waiting.reason = keyed.reason AND released_at IS NULL
          AND (fingerprint, gateway_id) > (keyed.fingerprint, keyed.gateway_id)
        ORDER BY fingerprint, gateway_id LIMIT 1
    ) AS next
), keyless AS (
    -- in: all reasons and gateways; out: those with open transactions that have no key.
    -- They are few, so that each pair is looked up.
    SELECT reason, NULL::uuid AS fingerprint, gateway.id AS gateway_id, '' AS hint
    FROM unnest(%(reasons)s::text[]) AS reason, revcred_gateway AS gateway
    WHERE EXISTS (
        SELECT FROM metering_quarantined AS waiting
        WHERE waiting.reason = reason.reason AND released_at IS NULL
          AND fingerprint IS NULL AND waiting.gateway_id = gateway.id
    )
)
"""

# The limit ends the recursion, too: PostgreSQL computes no more of it than is read.
FIRST_OPEN_GROUPS = "(TABLE keyless UNION ALL (TABLE keyed LIMIT %(most)s))"

COUNT_GROUPS = f"{OPEN_GROUPS} SELECT count(*) FROM {FIRST_OPEN_GROUPS} AS found"

FIND_GROUPS = """
SELECT *, {last_seen} AS last_seen
FROM {first_groups} AS found
WHERE %(gateway)s::bigint IS NULL OR gateway_id = %(gateway)s
ORDER BY last_seen DESC NULLS LAST
"""

MEASURE_GROUPS = """
SELECT {count}, {since}
FROM unnest(
    %(reasons)s::text[], %(fingerprints)s::uuid[], %(gateways)s::bigint[], %(hints)s::text[]
) WITH ORDINALITY AS found (reason, fingerprint, gateway_id, hint, place)
ORDER BY place
"""

# The hint is compared as well: groups of one fingerprint and different hints would otherwise be
# counted together, and it is in the index.
WAITING_IN_GROUP = """
SELECT {what} FROM metering_quarantined AS waiting
WHERE waiting.reason = found.reason AND released_at IS NULL AND waiting.fingerprint {is_same}
  AND waiting.gateway_id = found.gateway_id AND waiting.hint = found.hint
"""


def _subquery_of_group(what: str) -> str:
    """Return SQL that selects `what` from the open transactions of the group `found`.

    There are two subqueries, since PostgreSQL uses no index for `IS NOT DISTINCT FROM`.
    """
    keyed = WAITING_IN_GROUP.format(what=what, is_same="= found.fingerprint")
    keyless = WAITING_IN_GROUP.format(what=what, is_same="IS NULL")
    return f"CASE WHEN found.fingerprint IS NULL THEN ({keyless}) ELSE ({keyed}) END"


def _capped_count_of_group() -> str:
    """Return SQL that counts a group's open transactions up to the parameter `counted`."""
    row = WAITING_IN_GROUP.format(what="1", is_same="{is_same}") + "LIMIT %(counted)s"
    count = f"(SELECT count(*) FROM ({row}) AS counted)"  # all of it is above
    return (
        f"CASE WHEN found.fingerprint IS NULL THEN {count.format(is_same='IS NULL')}"
        f" ELSE {count.format(is_same='= found.fingerprint')} END"
    )


FIND_GROUPS = OPEN_GROUPS + FIND_GROUPS.format(
    last_seen=_subquery_of_group("max(occurred_at)"), first_groups=FIRST_OPEN_GROUPS
)
MEASURE_GROUPS = MEASURE_GROUPS.format(
    count=_capped_count_of_group(), since=_subquery_of_group("min(occurred_at)")
)


@dataclass(frozen=True, kw_only=True)
class KeyOwner:
    """The credential of a key, or of the key that it would be without its odd characters."""

    credential: Credential
    but_for: str = ""  # how the key differs from the credential's, in words
    state: str = ""  # why the key was not valid at the time of the group's last call
    since: datetime | None = None
    event: AuditEvent | None = None  # of the action that ended the validity

    @property
    def by(self) -> str:
        return self.event.actor if self.event else ""


@dataclass(frozen=True, kw_only=True)
class UncountedCalls:
    """Calls of a group whose source a product does not count.

    `source` is None if there is no source of that name, or no path rule fits. `named`: the name of
    the source in the calls, or "".
    """

    named: str
    source: Source | None
    product: Product
    subscription: Subscription
    calls: int


@dataclass(frozen=True, kw_only=True)
class QuarantineGroup:
    """Transactions that wait for one reason, under one key, at one gateway."""

    reason: QuarantineReason
    fingerprint: UUID | None
    gateway_id: int
    hint: str = ""
    last_seen: datetime | None = None
    gateway: Gateway | None = None
    count: int = 0
    since: datetime | None = None
    owner: KeyOwner | None = None
    uncounted: Sequence[UncountedCalls] = ()
    explanation: str = ""  # a sentence, as safe HTML
    reviewed: int = 0  # transactions that were marked as reviewed
    reviewed_at: datetime | None = None  # the latest of them
    reviewed_by: str = ""
    review_note: str = ""

    @property
    def slug(self) -> str:
        """The group as a part of an address. The fingerprint tells nothing of the key."""
        return f"{self.reason}~{self.gateway_id}~{self.fingerprint or ''}"

    @classmethod
    def from_slug(cls, slug: str) -> Self | None:
        """Return the group that an address names, or None if it names none."""
        try:
            reason, gateway_id, fingerprint = slug.split("~")
            return cls(
                reason=QuarantineReason(reason),
                gateway_id=int(gateway_id),
                fingerprint=UUID(fingerprint) if fingerprint else None,
            )
        except ValueError:
            return None

    def with_gateway_and_hint(self) -> "QuarantineGroup | None":
        """Return the group with gateway and hint, or None if it has no transactions any more."""
        any_row = self.transactions().select_related("gateway").first()
        return replace(self, hint=any_row.hint, gateway=any_row.gateway) if any_row else None

    def transactions(self) -> QuerySet[Quarantined]:
        """Return all transactions of the group, the reviewed ones included."""
        return Quarantined.objects.filter(
            reason=self.reason, fingerprint=self.fingerprint, gateway=self.gateway_id
        )

    def __str__(self) -> str:
        key = f"…{self.hint}" if self.hint else "a key" if self.fingerprint else "no key"
        return f"{self.reason.label}: {key} at {self.gateway or self.gateway_id}"

    @property
    def has_unknown_key(self) -> bool:
        """True if no credential has the key, so that it may be added to one as an alias."""
        return self.reason is QuarantineReason.UNKNOWN_KEY

    @property
    def needs_moment(self) -> bool:
        """True if an admin has to choose the moment at which the calls count."""
        return self.reason is QuarantineReason.MOMENT_OUTSIDE

    @property
    def count_in_words(self) -> str:
        """The number of open transactions, exact up to MAX_COUNTED_PER_GROUP."""
        return (
            f"{self.count:,}"
            if self.count <= MAX_COUNTED_PER_GROUP
            else f"more than {MAX_COUNTED_PER_GROUP:,}"
        )


def find_groups(
    *, reason: QuarantineReason | None = None, gateway: int | None = None
) -> list[QuarantineGroup]:
    """Return the groups with open transactions, the one with the latest call first."""
    reasons = [reason] if reason else list(QuarantineReason)
    arguments: dict[str, Any] = {
        "reasons": list(map(str, reasons)),
        "gateway": gateway,
        "most": MAX_GROUPS,
    }
    with connection.cursor() as cursor:
        cursor.execute(FIND_GROUPS, arguments)
        return [
            QuarantineGroup(
                reason=QuarantineReason(reason),
                fingerprint=fingerprint,
                gateway_id=gateway_id,
                hint=hint,
                last_seen=last_seen,
            )
            for reason, fingerprint, gateway_id, hint, last_seen in cursor.fetchall()
        ]


def count_groups(most: int) -> int:
    """Return the number of groups with open transactions, at most `most` of those with a key."""
    with connection.cursor() as cursor:
        arguments: dict[str, Any] = {"reasons": QuarantineReason.values, "most": most}
        cursor.execute(COUNT_GROUPS, arguments)
        (count,) = cursor.fetchone()
    return int(count)


def measure_groups(found: Sequence[QuarantineGroup]) -> list[QuarantineGroup]:
    """Return the groups with the number of open transactions, the oldest moment and the gateway."""
    gateways = Gateway.objects.in_bulk({group.gateway_id for group in found})
    arguments: dict[str, Any] = {
        "reasons": [str(group.reason) for group in found],
        "fingerprints": [group.fingerprint for group in found],
        "gateways": [group.gateway_id for group in found],
        "hints": [group.hint for group in found],
        "counted": MAX_COUNTED_PER_GROUP + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(MEASURE_GROUPS, arguments)
        return [
            replace(group, gateway=gateways.get(group.gateway_id), count=count, since=since)
            for group, (count, since) in zip(found, cursor.fetchall(), strict=True)
        ]


def groups_of_key(fingerprint: UUID) -> list[QuarantineGroup]:
    """Return the groups that have transactions with this key, by its fingerprint."""
    rows = Quarantined.objects.filter(fingerprint=fingerprint)
    found = rows.values_list("reason", "gateway", "hint").order_by()[:MAX_COUNTED_PER_GROUP]
    return [
        QuarantineGroup(
            reason=QuarantineReason(reason), fingerprint=fingerprint, gateway_id=gateway, hint=hint
        )
        for reason, gateway, hint in sorted(set(found))
    ]


# Groups of the latest reviewed transactions, the one that was reviewed last first.
FIND_REVIEWED_GROUPS = """
SELECT reason, fingerprint, gateway_id, min(hint), count(*), max(released_at),
    (array_agg(released_by ORDER BY released_at DESC))[1],
    (array_agg(release_note ORDER BY released_at DESC))[1]
FROM (
    SELECT reason, fingerprint, gateway_id, hint, released_at, released_by, release_note
    FROM metering_quarantined WHERE released_at IS NOT NULL
    ORDER BY released_at DESC LIMIT %(most)s
) AS latest
GROUP BY reason, fingerprint, gateway_id ORDER BY max(released_at) DESC
"""
MAX_REVIEWED_READ = 10_000


def find_reviewed_groups() -> list[QuarantineGroup]:
    """Return the groups of the latest MAX_REVIEWED_READ reviewed transactions, latest first."""
    with connection.cursor() as cursor:
        cursor.execute(FIND_REVIEWED_GROUPS, {"most": MAX_REVIEWED_READ})
        rows = cursor.fetchall()
    gateways = Gateway.objects.in_bulk({gateway_id for _, _, gateway_id, *_ in rows})
    return [
        QuarantineGroup(
            reason=QuarantineReason(reason),
            fingerprint=fingerprint,
            gateway_id=gateway_id,
            gateway=gateways.get(gateway_id),
            hint=hint,
            reviewed=reviewed,
            reviewed_at=at,
            reviewed_by=by,
            review_note=note,
        )
        for reason, fingerprint, gateway_id, hint, reviewed, at, by, note in rows
    ]
