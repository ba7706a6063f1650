"""Keep what gateways sent and nobody took, with the reason: the latest of each gateway.

It is written after the answer's calls are safe, and only when something was rejected. Should it
fail, the answer stays what it is.
"""

import logging
from collections.abc import Sequence
from typing import Any

from django.db import DatabaseError, InterfaceError, connection

from metering import failures
from metering.inbox.redaction import NOTHING_WITHHELD, CallerKey, WithheldSecrets
from metering.models import Rejection
from revcred.models import Gateway
from revcred.redaction import KnownSecrets, redact_text

logger = logging.getLogger(__name__)

MAX_REJECTIONS_PER_GATEWAY = 1_000
MAX_REJECTIONS_PER_POST = 100

INSERT_REJECTIONS = """
WITH kept AS (
    INSERT INTO metering_rejection
        (gateway_id, door, place, transaction_id, field, code, message)
    SELECT
        %(gateway)s, %(door)s, place, transaction_id, field, code, message
    FROM unnest(
        %(places)s::int[], %(ids)s::text[], %(fields)s::text[], %(codes)s::text[],
        %(messages)s::text[]
    ) AS rejected (place, transaction_id, field, code, message)
), counted AS (
    INSERT INTO metering_tally AS standing (
        hour, gateway_id, accepted, rejected, repeated, conflicting, attributed, quarantined, lag
    )
    SELECT
        date_trunc('hour', clock_timestamp(), 'UTC'), %(gateway)s, 0, %(uncounted)s, 0, 0, 0, 0, 0
    WHERE %(uncounted)s > 0
    ON CONFLICT (hour, gateway_id) DO UPDATE SET rejected = standing.rejected + excluded.rejected
)
-- Another post of the same gateway may be at it already.
DELETE FROM metering_rejection WHERE id IN (
    SELECT id FROM metering_rejection WHERE gateway_id = %(gateway)s AND id <= (
        SELECT id FROM metering_rejection WHERE gateway_id = %(gateway)s
        ORDER BY id DESC OFFSET %(before)s LIMIT 1
    )
    FOR UPDATE SKIP LOCKED
)
"""


class RejectedItem(dict[str, Any]):
    """Why one item was not taken, as its sender is told. Its `key`, if it has one, is not told."""

    key: str | None = None


def record_rejections(
    gateway_id: int,
    door: str,
    rejected: Sequence[dict[str, Any]],
    *,
    withheld: WithheldSecrets = NOTHING_WITHHELD,
    uncounted: int = 0,
) -> None:
    """Keep the first of these rejections, and of the gateway's no more than its latest.

    `uncounted` are those that no delivery tells of, so that they are counted here.
    """
    first = rejected[:MAX_REJECTIONS_PER_POST]
    if not first:
        return
    secrets = [withheld.of(_key_of_rejected(each)) for each in first]
    arguments: dict[str, Any] = {
        "gateway": gateway_id,
        "door": door[:200],
        "places": [each.get("index") for each in first],
        "ids": _redacted_texts(first, "transaction_id", secrets, most=200),
        "fields": _redacted_texts(first, "field", secrets, most=200),
        "codes": [each["code"][:50] for each in first],
        "messages": _redacted_texts(first, "message", secrets, most=500),
        "uncounted": uncounted,
        "before": MAX_REJECTIONS_PER_GATEWAY - len(first),
    }
    try:
        with connection.cursor() as cursor:
            cursor.execute(INSERT_REJECTIONS, arguments)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Rejections are not kept: %s", failures.error_class(error))


def latest_rejection(gateway: Gateway, transaction_id: str) -> Rejection | None:
    """The last time that this id was rejected, as long as that is kept."""
    of_gateway = Rejection.objects.filter(gateway=gateway)
    found = of_gateway.filter(transaction_id=redact_text(transaction_id)[:200])
    return found.order_by("-pk").first()


def _key_of_rejected(rejected: dict[str, Any]) -> CallerKey | None:
    key = getattr(rejected, "key", None)
    return CallerKey(key) if key else None


def _redacted_texts(
    rejected: Sequence[dict[str, Any]],
    name: str,
    secrets: Sequence[KnownSecrets],
    *,
    most: int,
) -> list[str]:
    return [
        redact_text(str(each.get(name) or ""), of_each).replace("\0", "")[:most]
        for each, of_each in zip(rejected, secrets, strict=True)
    ]
