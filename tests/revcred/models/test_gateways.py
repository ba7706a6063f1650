from datetime import UTC, datetime, timedelta

import pytest

from revcred.models import Gateway
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accepted_days", "days"),
    [
        ([], 31),
        ([None, 7], 31),
        ([7, 60], 60),
        # No further than ledger and memory reach, whatever a gateway was once allowed.
        ([1_000], 89),
    ],
)
def test_the_oldest_accepted_moment_is_that_of_the_gateway_that_reaches_back_furthest(
    settings, accepted_days, days
):
    settings.OLDEST_TRANSACTION_DAYS = 31
    settings.LEDGER_DAYS, settings.SEEN_TRANSACTION_DAYS = 90, 400
    for each in accepted_days:
        factories.a_gateway(accepted_days=each)

    assert Gateway.objects.oldest_accepted_moment(NOW) == NOW - timedelta(days=days)
