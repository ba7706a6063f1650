"""Discover sources: what is called and nobody has entered, looked for behind what was settled."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Min
from django.utils import timezone

from metering.attribution.statements import DISCOVER_SOURCES, FORGET_DISCOVERED_SOURCES
from metering.models import Delivery

FIRST_LOOK_BACK = timedelta(hours=1)
LOOK_OVERLAP = timedelta(seconds=10)


class SourceDiscovery:
    """Each look begins where all was settled at the last one."""

    def __init__(self) -> None:
        self._since = timezone.now() - FIRST_LOOK_BACK

    def look(self) -> None:
        settled = _attributed_until() - LOOK_OVERLAP
        with connection.cursor() as cursor:
            cursor.execute(DISCOVER_SOURCES, {"since": first_id_at(self._since)})
            cursor.execute(FORGET_DISCOVERED_SOURCES)
        self._since = settled


def first_id_at(moment: datetime) -> UUID:
    """The least of the time-ordered ids made then."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def _attributed_until() -> datetime:
    oldest: datetime | None = Delivery.objects.aggregate(at=Min("received_at"))["at"]
    return oldest or timezone.now()
