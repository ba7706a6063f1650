"""Limits: counted at once, exact in parallel, and forgotten by time alone."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F

from revcred import limits
from revcred.limits import Limit, LimitReached, count_attempt
from revcred.models import RateCounter

FAILURES = Limit("failures", 3, 300, 3600)
RATE = Limit("rate", 3, 60)


def tried(limit, times=1, whose="ann"):
    """Return how many attempts were let through, and the wait after the last that was not."""
    let_through, wait = 0, None
    for _ in range(times):
        try:
            count_attempt(limit, whose)
            let_through += 1
        except LimitReached as reached:
            wait = reached.wait_seconds
    return let_through, wait


def later(seconds):
    ago = timedelta(seconds=seconds)
    RateCounter.objects.update(expires_at=F("expires_at") - ago, waits_until=F("waits_until") - ago)


@pytest.mark.django_db
def test_pauses_after_failures_grow_up_to_an_hour():
    assert tried(FAILURES, 5) == (3, 300)
    for pause, longer in [(300, 600), (600, 1200), (1200, 2400), (2400, 3600), (3600, 3600)]:
        later(pause - 5)
        assert tried(FAILURES)[0] == 0
        later(5)
        assert tried(FAILURES, 2) == (1, longer)


@pytest.mark.django_db
def test_after_a_long_pause_failures_begin_anew():
    tried(FAILURES, 3)
    later(300 + 3600)

    assert tried(FAILURES, 4) == (3, 300)


@pytest.mark.django_db
def test_failures_add_up_until_there_was_none_for_a_while():
    for _ in range(2):
        tried(FAILURES)
        later(299)
    assert tried(FAILURES, 2) == (1, 300)


@pytest.mark.django_db
def test_a_rate_begins_anew_after_its_time():
    for _ in range(5):
        assert tried(RATE, 2) == (2, None)
        later(60)
    assert tried(RATE, 4) == (3, 60)
    later(60)
    assert tried(RATE, 4) == (3, 60)


@pytest.mark.django_db
def test_one_attempt_may_be_all():
    assert tried(Limit("mail", 1, 3600), 2) == (1, 3600)


@pytest.mark.django_db
def test_counters_are_of_one_limit_and_one_party_and_keep_no_text():
    assert tried(FAILURES, 4) == tried(FAILURES, 4, "ben") == (3, 300)
    assert tried(RATE, 4) == (3, 60)
    assert "ann" not in repr([*RateCounter.objects.values_list()])


@pytest.mark.django_db
def test_a_success_is_forgotten_and_an_attempt_not_made_is_taken_back():
    tried(FAILURES, 2)
    count_attempt(FAILURES, "ann").take_back()
    assert tried(FAILURES, 2) == (1, 300)
    later(300)

    count_attempt(FAILURES, "ann").forget()

    assert tried(FAILURES, 4) == (3, 300)


@pytest.mark.django_db(transaction=True)
def test_of_forty_at_once_exactly_the_limit_gets_through():
    def attempt(_):
        try:
            return tried(FAILURES)[0]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(40))) == 3


@pytest.mark.django_db
def test_only_time_deletes_counters():
    for number in range(400):  # a cache of Django's keeps 300
        tried(RATE, whose=number)
    tried(FAILURES, 3)
    later(60)
    limits.prune_expired_counters()

    assert RateCounter.objects.count() == 1
    assert tried(FAILURES) == (0, 240)
