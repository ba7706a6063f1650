"""Delete rows that are too old or too many, in small transactions. The clock calls it."""

from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from revcred.models import Session

DELETE_BATCH_ROWS = 10_000


def delete_in_batches(rows: QuerySet[Any]) -> int:
    """Delete these rows, and return how many. A single DELETE would be one long transaction."""
    total = 0
    found = rows.values("pk")[:DELETE_BATCH_ROWS]
    while deleted := rows.model._base_manager.filter(pk__in=found).delete()[0]:
        total += deleted
    return total


def delete_beyond(rows: QuerySet[Any], most: int, *, by: str) -> int:
    """Delete all but the latest rows, by the moment or number in the field `by`."""
    latest = rows.order_by(f"-{by}").values_list(by, flat=True)
    first_beyond = latest[most : most + 1].first()
    if first_beyond is None:
        return 0
    return delete_in_batches(rows.filter(**{f"{by}__lte": first_beyond}))


def delete_sessions_over_limit() -> int:
    """Delete the sessions that were not used for the longest time, beyond MAX_SESSIONS."""
    return delete_beyond(Session.objects.all(), settings.MAX_SESSIONS, by="last_seen_at")
