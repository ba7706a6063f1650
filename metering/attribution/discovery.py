"""Discover sources: what is called and nobody has entered, looked for behind what was settled."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Min
from django.utils import timezone

from metering.attribution.statements import DISCOVER, FORGET_DISCOVERED
from metering.models import Delivery

AT_FIRST = timedelta(hours=1)
MARGIN = timedelta(seconds=10)


class Discovery:
    """Each look begins where all was settled at the last one."""

    def __init__(self) -> None:
        self._since = timezone.now() - AT_FIRST

    def look(self) -> None:
        settled = _settled_until() - MARGIN
        with connection.cursor() as cursor:
            cursor.execute(DISCOVER, {"since": first_id_at(self._since)})
            cursor.execute(FORGET_DISCOVERED)
        self._since = settled


def first_id_at(moment: datetime) -> UUID:
    """The least of the time-ordered ids made then."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _settled_until() -> datetime:
    oldest: datetime | None = Delivery.objects.aggregate(at=Min("received_at"))["at"]
    return oldest or timezone.now()
