from datetime import UTC, datetime
from uuid import UUID

from django.db import models
from django.db.models import Func


class TimeOrderedId(Func):
    """A version 7 UUID, which begins with the millisecond: an index of them grows at its end."""

    function = "time_ordered_id"
    arity = 0
    output_field = models.UUIDField()


def first_id_at(moment: datetime) -> UUID:
    """Return the smallest of the time-ordered ids that are made in this millisecond."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def moment_of_id(time_ordered_id: UUID) -> datetime:
    """Return the millisecond in which a time-ordered id was made."""
    return datetime.fromtimestamp((time_ordered_id.int >> 80) / 1000, UTC)
