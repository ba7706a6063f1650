from datetime import UTC, datetime, timedelta

import pytest
from django.db import ProgrammingError, connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.models import Claim, Quarantined
from metering.models.functions import first_id_at, moment_of_id
from metering.quarantine import partitions, reattribution
from revcred.hooks import announce_change
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db

WEEK = timedelta(days=7)


def partition_of(row):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tableoid::regclass::text FROM metering_quarantined WHERE id = %s", [row.pk]
        )
        return cursor.fetchone()[0]


def names():
    return {part.name for part in partitions._find_partitions()}


def arrived(ago=timedelta()):
    """A call in quarantine whose id says that it came so long ago."""
    call = factories.a_call("a-key-nobody-knows")
    factories.settled(call)
    moment = timezone.now() - ago
    row = Quarantined.objects.filter(transaction_id=call.transaction_id)
    row.update(id=first_id_at(moment), occurred_at=moment, received_at=moment)
    return row.get()


def test_an_id_says_when_it_was_made():
    moment = datetime(2026, 11, 30, 12, tzinfo=UTC)

    assert moment_of_id(first_id_at(moment)) == moment


def test_weeks_are_partitioned_ahead_once():
    last = max(part.upper_bound for part in partitions._find_partitions())
    assert moment_of_id(last) > timezone.now() + 3 * WEEK

    later = (timezone.now() + 2 * WEEK).date()
    assert partitions.ensure_partitions(later) == 2
    assert partitions.ensure_partitions(later) == 0


def test_what_came_without_a_partition_moves_into_it():
    ahead = arrived(ago=-5 * WEEK)
    assert partition_of(ahead) == "metering_quarantined_default"

    partitions.ensure_partitions((timezone.now() + 3 * WEEK).date())

    monday = ahead.received_at - timedelta(days=ahead.received_at.weekday())
    assert partition_of(ahead) == f"metering_quarantined_{monday:%Y%m%d}"


def test_partitions_past_retention_are_dropped_with_what_is_in_them(settings):
    settings.LEDGER_DAYS = 50
    new, kept = arrived(ago=-2 * WEEK), arrived(ago=timedelta(days=40))
    arrived(ago=timedelta(days=60))
    assert partition_of(kept) == "metering_quarantined_first"

    partitions.drop_old_partitions(timezone.now())
    assert set(Quarantined.objects.all()) == {new, kept}

    with pytest.raises(ProgrammingError, match="still kept"), atomic():
        partitions.drop_old_partitions(timezone.now() + 12 * WEEK)
    assert set(Quarantined.objects.all()) == {new, kept}

    # The database looks at its own clock, and at the names.
    with owner_cursor() as cursor:
        for number, name in enumerate(sorted(names() - {"metering_quarantined_first"})):
            cursor.execute(f"ALTER TABLE {name} RENAME TO metering_quarantined_2020010{number}")
    partitions.drop_old_partitions(timezone.now() + 12 * WEEK)
    assert not Quarantined.objects.exists()
    assert len(names()) == 1
    assert partition_of(arrived()) == "metering_quarantined_default"


def test_a_call_of_a_day_that_the_ledger_dropped_is_not_judged(settings):
    arrived(ago=timedelta(days=401))
    arrived(ago=timedelta(days=20))
    announce_change("a test asks for it", by=None)

    reattribution.work_through_claims()

    assert Claim.objects.get().looked_at == 1
