"""Discover sources: list what calls name or what their paths begin with, but no admin entered."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import Min
from django.utils import timezone

from metering.attribution.statements import DISCOVER_SOURCES, FORGET_DISCOVERED_SOURCES
from metering.models import Delivery
from metering.models.functions import first_id_at

FIRST_LOOK_BACK = timedelta(hours=1)
LOOK_OVERLAP = timedelta(seconds=10)


class SourceDiscovery:
    """A repeated look at new transactions, each from the moment up to which the last one looked."""

    def __init__(self) -> None:
        self._since = timezone.now() - FIRST_LOOK_BACK

    def look(self) -> None:
        """Add the sources found in transactions since the last look, and forget those entered."""
        # Taken before the query: a delivery processed meanwhile is looked at again, never skipped.
        next_since = _attributed_until() - LOOK_OVERLAP
        with connection.cursor() as cursor:
            cursor.execute(DISCOVER_SOURCES, {"since": first_id_at(self._since)})
            cursor.execute(
                FORGET_DISCOVERED_SOURCES,
                {
                    "before": timezone.now() - timedelta(days=settings.DISCOVERED_SOURCE_DAYS),
                    "most": settings.MAX_DISCOVERED_SOURCES,
                },
            )
        self._since = next_since


def _attributed_until() -> datetime:
    """Return the arrival of the oldest delivery still in the inbox, or the present moment."""
    oldest: datetime | None = Delivery.objects.aggregate(at=Min("received_at"))["at"]
    return oldest or timezone.now()
