"""The snapshot of valid keys that a gateway may hold, as digests, and what changed in it since."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import connection
from django.db.transaction import atomic

from metering.inventories.key_states import PREFERENCE_OF_KEY, STATE_OF_KEY, WITH_SUSPENDED
from revcred.exported_digests import export_key_id, make_missing_digests
from revcred.models import Gateway

MAX_KEYS_PER_PAGE = 2_500
CURSOR = re.compile(r"1-([0-9a-f]{8})-(\d{1,19})-(\d{1,19})-(\d{1,19})-(\d{1,19})-(\d{1,19})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

READ_CLOCK = """
SELECT
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    (extract(epoch FROM now()) * 1000000)::bigint
"""
# A key is looked at again if a row of it changed, if a moment has passed at which it begins or ends
# to be valid, and if it has no digest yet.
CHANGED_KEYS = """
    SELECT external_key_id FROM revcred_exporteddigest WHERE changed_in >= %(from_transaction)s
    UNION SELECT id FROM revcred_externalkey
    WHERE (active_from > %(from_moment)s AND active_from <= %(now)s)
        OR (active_until > %(from_moment)s AND active_until <= %(now)s)
    UNION SELECT k.id FROM revcred_externalkey k JOIN revcred_credential c ON c.id = k.credential_id
    WHERE (c.expires_at > %(from_moment)s AND c.expires_at <= %(now)s)
        OR (c.revoked_at > %(from_moment)s AND c.revoked_at <= %(now)s)
    UNION SELECT k.id FROM revcred_externalkey k
    JOIN revcred_suspension p ON p.credential_id = k.credential_id
    WHERE (p.active_from > %(from_moment)s AND p.active_from <= %(now)s)
        OR (p.active_until > %(from_moment)s AND p.active_until <= %(now)s)
    UNION SELECT k.id FROM revcred_externalkey k
    JOIN revcred_credential c ON c.id = k.credential_id
    JOIN revcred_customer u ON u.id = c.customer_id
    WHERE u.suspended_at > %(from_moment)s AND u.suspended_at <= %(now)s
    UNION SELECT k.id FROM revcred_externalkey k
    LEFT JOIN revcred_exporteddigest d ON d.external_key_id = k.id AND d.key_id = %(key_id)s
    WHERE k.kind = 'key' AND d.external_key_id IS NULL
"""
LIST_KEYS = """
{suspended}, chosen AS (
    -- in: numbers of keys; out: those of this page, also of keys that were deleted.
    SELECT found.id, own.fingerprint, d.digest
    FROM (
        SELECT id FROM ({chosen}) AS numbers (id)
        WHERE id > %(after)s ORDER BY id LIMIT %(rows)s
    ) AS found
    LEFT JOIN revcred_externalkey own ON own.id = found.id AND own.kind = 'key'
    LEFT JOIN revcred_exporteddigest d
        ON d.external_key_id = found.id AND d.key_id = %(key_id)s
), namesake AS (
    -- in: digests of deleted keys; out: the fingerprint of another key that is the same text.
    SELECT chosen.id, min(k.fingerprint::text)::uuid AS fingerprint
    FROM chosen
    JOIN revcred_exporteddigest d ON d.digest = chosen.digest AND d.key_id = %(key_id)s
    JOIN revcred_externalkey k ON k.id = d.external_key_id
    WHERE chosen.fingerprint IS NULL
    GROUP BY chosen.id
)
-- One text may be a key at one gateway and another at the next, or begin to be one when it has
-- ended as another. So each line tells of the key that counts at this gateway now.
SELECT
    chosen.id, chosen.fingerprint IS NOT NULL AS is_there, chosen.digest, c.public_id,
    CASE WHEN k.id IS NULL THEN 'ended' ELSE {state} END AS state,
    LEAST(k.active_until, c.expires_at, c.revoked_at) AS until
FROM chosen LEFT JOIN namesake ON namesake.id = chosen.id
LEFT JOIN LATERAL (
    SELECT k.id, k.kind, k.credential_id, k.active_from, k.active_until
    FROM revcred_externalkey k
    WHERE k.fingerprint = coalesce(chosen.fingerprint, namesake.fingerprint)
        AND (k.gateway_id IS NULL OR k.gateway_id = %(gateway)s)
    ORDER BY {preference} LIMIT 1
) AS k ON k.kind = 'key'
LEFT JOIN revcred_credential c ON c.id = k.credential_id
LEFT JOIN suspended ON suspended.credential_id = c.id
ORDER BY chosen.id
"""
RULES = {"suspended": WITH_SUSPENDED, "state": STATE_OF_KEY, "preference": PREFERENCE_OF_KEY}
LIST_ALL = LIST_KEYS.format(chosen="SELECT id FROM revcred_externalkey WHERE kind = 'key'", **RULES)
LIST_CHANGED = LIST_KEYS.format(chosen=CHANGED_KEYS, **RULES)
# A complete list has only these: what is not there is not valid, and never will be.
LISTED_STATES = frozenset({"active", "suspended", "later"})


@dataclass(frozen=True, kw_only=True)
class SnapshotCursor:
    """How far a gateway has read: all up to `from_*`, and keys up to `after` of what follows.

    Transactions tell what changed, since the moment of a change says nothing of its commit.
    """

    key_id: str
    from_transaction: int = 0
    from_moment: int = 0  # microseconds since 1970
    to_transaction: int
    to_moment: int
    after: int = 0

    @property
    def is_complete(self) -> bool:
        """True if it reads all keys, and not only those that changed."""
        return not self.from_transaction

    @classmethod
    def from_text(cls, text: str) -> Self | None:
        found = CURSOR.fullmatch(text)
        if not found:
            return None
        numbers = [int(number) for number in found.groups()[1:]]
        if max(numbers) >= 2**63:
            return None
        names = ("from_transaction", "from_moment", "to_transaction", "to_moment", "after")
        return cls(key_id=found[1], **dict(zip(names, numbers, strict=True)))

    def __str__(self) -> str:
        numbers = (self.from_transaction, self.from_moment, self.to_transaction, self.to_moment)
        return "-".join(map(str, ("1", self.key_id, *numbers, self.after)))

    def after_all(self) -> "SnapshotCursor":
        """Return the cursor of what changes after all that this one reads."""
        return replace(
            self,
            from_transaction=self.to_transaction,
            from_moment=self.to_moment,
            to_transaction=0,
            to_moment=0,
            after=0,
        )


@dataclass(frozen=True, kw_only=True)
class ExportedKey:
    """A key as a gateway may hold it. `credential`: the public id, "" once the key was deleted."""

    digest: str
    credential: str
    state: str
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class SnapshotPage:
    """Some keys, and where to go on.

    `is_last`: nothing else is known now. `is_complete`: it is a page of all keys, not of changes.
    """

    keys: Sequence[ExportedKey]
    cursor: SnapshotCursor
    is_last: bool
    is_complete: bool


@atomic
def read_snapshot(gateway: Gateway, cursor: SnapshotCursor | None) -> SnapshotPage:
    """Return the next keys after a cursor, or the first of all.

    A cursor of another EXPORT_KEY, or of a database that was restored since, begins anew.
    """
    with connection.cursor() as database:
        database.execute(READ_CLOCK)
        transaction, moment = database.fetchone()
    key_id = export_key_id()
    known = max(cursor.from_transaction, cursor.to_transaction) if cursor else 0
    if cursor is None or cursor.key_id != key_id or known > transaction:
        cursor = SnapshotCursor(key_id=key_id, to_transaction=transaction, to_moment=moment)
    elif not cursor.after:
        cursor = replace(cursor, to_transaction=transaction, to_moment=moment)
    rows = _read_page(gateway, cursor)
    missing = [
        row.id
        for row in rows
        if row.digest is None and row.is_there and _is_listed(row.state, cursor)
    ]
    if missing:
        make_missing_digests(missing)
        rows = _read_page(gateway, cursor)
    keys = [
        ExportedKey(
            digest=bytes(row.digest).hex(),
            credential=row.public_id or "",
            state=row.state,
            until=row.until,
        )
        for row in rows
        if row.digest is not None and _is_listed(row.state, cursor)
    ]
    if len(rows) == MAX_KEYS_PER_PAGE:
        following, is_last = replace(cursor, after=rows[-1].id), False
    else:
        following, is_last = cursor.after_all(), True
    return SnapshotPage(
        keys=keys, cursor=following, is_last=is_last, is_complete=cursor.is_complete
    )


def _is_listed(state: str, cursor: SnapshotCursor) -> bool:
    return not cursor.is_complete or state in LISTED_STATES


class LookedAtKey(NamedTuple):
    """A row of the statements above."""

    id: int
    is_there: bool  # and no alias
    digest: memoryview | None
    public_id: str | None
    state: str
    until: datetime | None


def _read_page(gateway: Gateway, cursor: SnapshotCursor) -> list[LookedAtKey]:
    statement = LIST_ALL if cursor.is_complete else LIST_CHANGED
    arguments: dict[str, Any] = {
        "gateway": gateway.pk,
        "key_id": cursor.key_id,
        "from_transaction": cursor.from_transaction,
        "from_moment": EPOCH + timedelta(microseconds=cursor.from_moment),
        "now": EPOCH + timedelta(microseconds=cursor.to_moment),
        "after": cursor.after,
        "rows": MAX_KEYS_PER_PAGE,
    }
    with connection.cursor() as database:
        database.execute(statement, arguments)
        return [LookedAtKey(*row) for row in database.fetchall()]
