"""The quarantine by what is wrong and whose key it is, however many transactions that are.

Groups are found by jumping from one to the next along the index `quarantined_open`, so that a
million transactions of one group cost as much as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from metering.models import Quarantined, QuarantineReason
from revcred.models import Credential, Gateway

MAX_GROUPS = 1_000  # groups
MAX_COUNTED_PER_GROUP = 10_000  # transactions of a group

FIND_GROUPS = """
WITH RECURSIVE keyed AS (
    SELECT reason, first.* FROM unnest(%(reasons)s::text[]) AS reason, LATERAL (
        SELECT fingerprint, gateway_id, hint FROM metering_quarantined AS waiting
        WHERE waiting.reason = reason.reason AND released_at IS NULL AND fingerprint IS NOT NULL
        ORDER BY fingerprint, gateway_id LIMIT 1
    ) AS first
    UNION ALL
    SELECT keyed.reason, next.* FROM keyed, LATERAL (
        SELECT fingerprint, gateway_id, hint FROM metering_quarantined AS waiting
        WHERE waiting.reason = keyed.reason AND released_at IS NULL
          AND (fingerprint, gateway_id) > (keyed.fingerprint, keyed.gateway_id)
        ORDER BY fingerprint, gateway_id LIMIT 1
    ) AS next
), keyless AS (
    SELECT reason, NULL::uuid AS fingerprint, gateway.id AS gateway_id, '' AS hint
    FROM unnest(%(reasons)s::text[]) AS reason, revcred_gateway AS gateway
    WHERE EXISTS (
        SELECT FROM metering_quarantined AS waiting
        WHERE waiting.reason = reason.reason AND released_at IS NULL
          AND fingerprint IS NULL AND waiting.gateway_id = gateway.id
    )
)
SELECT *, {last_seen} AS last_seen
FROM (TABLE keyless UNION ALL (TABLE keyed LIMIT %(most)s)) AS found
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

WAITING_IN_GROUP = """
SELECT {what} FROM metering_quarantined AS waiting
WHERE waiting.reason = found.reason AND released_at IS NULL AND waiting.fingerprint {is_same}
  AND waiting.gateway_id = found.gateway_id AND waiting.hint = found.hint
"""


def _subquery_of_group(what: str, then: str = "") -> str:
    """A question about one group. PostgreSQL uses no index for "the same or both are null"."""
    keyed = WAITING_IN_GROUP.format(what=what, is_same="= found.fingerprint") + then
    keyless = WAITING_IN_GROUP.format(what=what, is_same="IS NULL") + then
    return f"CASE WHEN found.fingerprint IS NULL THEN ({keyless}) ELSE ({keyed}) END"


def _capped_count_of_group() -> str:
    each = WAITING_IN_GROUP.format(what="1", is_same="{is_same}") + "LIMIT %(counted)s"
    count = f"(SELECT count(*) FROM ({each}) AS counted)"  # all of it is above
    return (
        f"CASE WHEN found.fingerprint IS NULL THEN {count.format(is_same='IS NULL')}"
        f" ELSE {count.format(is_same='= found.fingerprint')} END"
    )


FIND_GROUPS = FIND_GROUPS.format(last_seen=_subquery_of_group("max(occurred_at)"))
MEASURE_GROUPS = MEASURE_GROUPS.format(
    count=_capped_count_of_group(), since=_subquery_of_group("min(occurred_at)")
)


@dataclass(frozen=True, kw_only=True)
class KeyOwner:
    """The credential that a key means, or would mean if it were written plainly."""

    credential: Credential
    but_for: str = ""  # what the key has that the credential's does not
    state: str = ""  # why it was not valid when the last of these calls was made
    since: datetime | None = None
    by: str = ""


@dataclass(frozen=True, kw_only=True)
class QuarantineGroup:
    """What waits for the same reason under the same key at the same gateway."""

    reason: QuarantineReason
    fingerprint: UUID | None
    gateway_id: int
    hint: str = ""
    last_seen: datetime | None = None
    gateway: Gateway | None = None
    count: int = 0
    since: datetime | None = None
    owner: KeyOwner | None = None

    @property
    def slug(self) -> str:
        return f"{self.reason}~{self.gateway_id}~{self.fingerprint or ''}"

    @classmethod
    def from_slug(cls, slug: str) -> Self | None:
        try:
            reason, gateway_id, fingerprint = slug.split("~")
            return cls(
                reason=QuarantineReason(reason),
                gateway_id=int(gateway_id),
                fingerprint=UUID(fingerprint) if fingerprint else None,
            )
        except ValueError:
            return None

    def known(self) -> "QuarantineGroup | None":
        """With its gateway and hint, or None if nothing of it is there any more."""
        one = self.transactions().select_related("gateway").first()
        return replace(self, hint=one.hint, gateway=one.gateway) if one else None

    def transactions(self) -> QuerySet[Quarantined]:
        """Open and released."""
        return Quarantined.objects.filter(
            reason=self.reason, fingerprint=self.fingerprint, gateway=self.gateway_id
        )

    def __str__(self) -> str:
        key = f"…{self.hint}" if self.hint else "a key" if self.fingerprint else "no key"
        return f"{self.reason.label}: {key} at {self.gateway or self.gateway_id}"

    @property
    def is_unknown(self) -> bool:
        """Whether its key means nobody yet, and so may be said to mean somebody."""
        return self.reason is QuarantineReason.UNKNOWN_KEY

    @property
    def is_outside(self) -> bool:
        """Whether an admin may say at which moment its calls count."""
        return self.reason is QuarantineReason.MOMENT_OUTSIDE

    @property
    def counted(self) -> str:
        return (
            f"{self.count:,}"
            if self.count <= MAX_COUNTED_PER_GROUP
            else f"more than {MAX_COUNTED_PER_GROUP:,}"
        )


def find_groups(
    *, reason: QuarantineReason | None = None, gateway: int | None = None
) -> list[QuarantineGroup]:
    """The open groups, the one last seen first."""
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


def measure_groups(found: Sequence[QuarantineGroup]) -> list[QuarantineGroup]:
    """The same groups with how many wait in each, since when, and the gateways they are of."""
    gateways = Gateway.objects.in_bulk({each.gateway_id for each in found})
    arguments: dict[str, Any] = {
        "reasons": [str(each.reason) for each in found],
        "fingerprints": [each.fingerprint for each in found],
        "gateways": [each.gateway_id for each in found],
        "hints": [each.hint for each in found],
        "counted": MAX_COUNTED_PER_GROUP + 1,
    }
    with connection.cursor() as cursor:
        cursor.execute(MEASURE_GROUPS, arguments)
        return [
            replace(each, gateway=gateways.get(each.gateway_id), count=count, since=since)
            for each, (count, since) in zip(found, cursor.fetchall(), strict=True)
        ]
