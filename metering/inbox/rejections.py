"""Record rejected items with the reason: the latest of each gateway.

They are written after the accepted calls of the same POST are committed. If that fails, the
answer to the gateway stays the same.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from django.db import DatabaseError, InterfaceError, connection
from msgspec import Meta

from metering import failures
from metering.inbox.redaction import NOTHING_WITHHELD, CallerKey, WithheldSecrets
from metering.inbox.rejected_items import item_without_keys
from metering.models import Rejection
from revcred.models import Gateway
from revcred.redaction import KnownSecrets, redact_text

logger = logging.getLogger(__name__)

MAX_REJECTIONS_PER_GATEWAY = 1_000
MAX_REJECTIONS_PER_POST = 100

INSERT_REJECTIONS = """
WITH kept AS (
    -- in: one array a column; out: nothing, the rejections are inserted.
    INSERT INTO metering_rejection
        (gateway_id, door, place, transaction_id, field, code, message, item)
    SELECT
        %(gateway)s, %(door)s, place, transaction_id, field, code, message, item
    FROM unnest(
        %(places)s::int[], %(ids)s::text[], %(fields)s::text[], %(codes)s::text[],
        %(messages)s::text[], %(items)s::text[]
    ) AS rejected (place, transaction_id, field, code, message, item)
), counted AS (
    -- in: the number of rejections that no delivery counts; out: nothing, it is added up.
    INSERT INTO metering_intakestats AS standing (
        hour, gateway_id, accepted, rejected, repeated, conflicting, attributed, quarantined, lag
    )
    SELECT
        date_trunc('hour', clock_timestamp(), 'UTC'), %(gateway)s, 0, %(uncounted)s, 0, 0, 0, 0, 0
    WHERE %(uncounted)s > 0
    ON CONFLICT (hour, gateway_id) DO UPDATE SET rejected = standing.rejected + excluded.rejected
)
-- Delete all but the latest. SKIP LOCKED: another POST of this gateway may be deleting them, too.
DELETE FROM metering_rejection WHERE id IN (
    SELECT id FROM metering_rejection WHERE gateway_id = %(gateway)s AND id <= (
        SELECT id FROM metering_rejection WHERE gateway_id = %(gateway)s
        ORDER BY id DESC OFFSET %(before)s LIMIT 1
    )
    FOR UPDATE SKIP LOCKED
)
"""


class ItemRejection(msgspec.Struct, kw_only=True):
    """One rejected item as its sender is told."""

    index: Annotated[int | None, Meta(description="Position in the body, from 0.")]
    transaction_id: str | None
    field: str | None
    code: str
    message: str


@dataclass
class RejectedItem:
    """One rejected item, and its key if it has one, which is cut out of what is stored.

    `text`: the item by itself as it was sent, so that it can be tried again.
    """

    told: ItemRejection
    key: str | None = None
    text: str | None = None


def record_rejections(
    gateway_id: int,
    door: str,
    rejected: Sequence[RejectedItem],
    *,
    withheld: WithheldSecrets = NOTHING_WITHHELD,
    uncounted: int = 0,
) -> None:
    """Record the first MAX_REJECTIONS_PER_POST of these, and delete the gateway's oldest.

    `uncounted`: how many of them no delivery counts, since nothing of the POST was accepted.
    """
    first = rejected[:MAX_REJECTIONS_PER_POST]
    if not first:
        return
    secrets = [withheld.secrets_for(CallerKey(item.key) if item.key else None) for item in first]
    arguments: dict[str, Any] = {
        "gateway": gateway_id,
        "door": door[:200],
        "places": [item.told.index for item in first],
        "ids": _redacted([item.told.transaction_id for item in first], secrets, 200),
        "fields": _redacted([item.told.field for item in first], secrets, 200),
        "codes": [item.told.code[:50] for item in first],
        "messages": _redacted([item.told.message for item in first], secrets, 500),
        "items": [_kept_item(item, its) for item, its in zip(first, secrets, strict=True)],
        "uncounted": uncounted,
        "before": MAX_REJECTIONS_PER_GATEWAY - len(first),
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(INSERT_REJECTIONS, arguments)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Rejections could not be recorded: %s", failures.error_class(error))


def latest_rejection(gateway: Gateway, transaction_id: str) -> Rejection | None:
    """Return the latest recorded rejection of this id, or None."""
    of_gateway = Rejection.objects.filter(gateway=gateway)
    found = of_gateway.filter(transaction_id=redact_text(transaction_id)[:200])
    return found.order_by("-pk").first()


def redacted_rejection(item: RejectedItem, withheld: WithheldSecrets) -> ItemRejection:
    """Return the rejection without secrets, and as short as its columns."""
    secrets = [withheld.secrets_for(CallerKey(item.key) if item.key else None)]
    told = item.told
    return ItemRejection(
        index=told.index,
        transaction_id=_redacted([told.transaction_id], secrets, 200)[0] or None,
        field=_redacted([told.field], secrets, 200)[0] or None,
        code=told.code[:50],
        message=_redacted([told.message], secrets, 500)[0],
    )


def _kept_item(item: RejectedItem, secrets: KnownSecrets) -> str | None:
    if item.text is None:
        return None
    return item_without_keys(
        item.text, key=item.key, transaction_id=item.told.transaction_id, secrets=secrets
    )


def _redacted(
    texts: Sequence[str | None], secrets: Sequence[KnownSecrets], max_characters: int
) -> list[str]:
    # PostgreSQL has no text with a NUL. Cut last: half a secret would not be recognised.
    return [
        redact_text(text or "", its_secrets).replace("\0", "")[:max_characters]
        for text, its_secrets in zip(texts, secrets, strict=True)
    ]
