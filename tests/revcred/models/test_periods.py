"""From one moment until, but not including, another."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from revcred.models import Subscription
from tests import factories

HOUR = timedelta(hours=1)
NOON = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)

PERIODS = [
    ((NOON - HOUR, None), True),
    ((NOON - HOUR, NOON + HOUR), True),
    ((NOON, NOON + HOUR), True),
    ((NOON - HOUR, NOON), False),
    ((NOON + HOUR, None), False),
]


@pytest.mark.parametrize(("period", "expected"), PERIODS)
def test_a_period_holds_its_start_and_not_its_end(period, expected):
    active_from, active_until = period

    assert (
        Subscription(active_from=active_from, active_until=active_until).is_active_at(NOON)
        is expected
    )


@pytest.mark.django_db
@pytest.mark.parametrize(("period", "expected"), PERIODS)
def test_the_database_says_the_same(period, expected):
    active_from, active_until = period
    factories.a_subscription(active_from=active_from, active_until=active_until)

    assert Subscription.objects.at(NOON).exists() is expected


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("period", "expected"),
    [
        ((NOON - HOUR, None), True),
        ((NOON - HOUR, NOON), False),
        ((NOON - HOUR, NOON + HOUR), True),
        ((NOON + HOUR, None), True),
    ],
)
def test_what_is_not_over_holds_now_or_will(period, expected):
    active_from, active_until = period
    factories.a_subscription(active_from=active_from, active_until=active_until)

    assert Subscription.objects.not_ended_at(NOON).exists() is expected


@pytest.mark.django_db
@pytest.mark.parametrize("length", [timedelta(), -HOUR])
def test_it_ends_after_it_starts(length):
    with pytest.raises(IntegrityError, match="subscription_ends_after_it_starts"):
        factories.a_subscription(active_from=NOON, active_until=NOON + length)
