"""A gateway that fills the threads makes way for the others."""

import pytest

from metering.api.errors import SlowDown
from metering.api.room import Room, room

GREEDY, MODEST = 1, 2


@pytest.fixture(autouse=True)
def small(settings):
    settings.MOST_AT_ONCE = 4


@pytest.fixture
def crowded():
    """Four requests of one gateway, and another that was here a moment ago."""
    crowded = Room()
    with crowded.of(MODEST):
        pass
    with crowded.of(GREEDY), crowded.of(GREEDY), crowded.of(GREEDY), crowded.of(GREEDY):
        yield crowded


def enter(crowded, gateway):
    with crowded.of(gateway):
        pass


def test_whoever_has_most_of_the_room_is_turned_away(crowded):
    with pytest.raises(SlowDown):
        enter(crowded, GREEDY)


def test_the_others_come_in(crowded):
    with crowded.of(MODEST):
        enter(crowded, MODEST)


def test_alone_it_may_have_all_the_room():
    alone = Room()
    with alone.of(GREEDY), alone.of(GREEDY), alone.of(GREEDY), alone.of(GREEDY):
        enter(alone, GREEDY)


def test_who_left_takes_no_room(crowded):
    for _ in range(9):
        enter(crowded, MODEST)

    with crowded.of(MODEST), crowded.of(MODEST), crowded.of(MODEST):
        enter(crowded, MODEST)


def test_one_that_failed_has_left_too():
    some = Room()
    with pytest.raises(ZeroDivisionError), some.of(GREEDY):
        raise ZeroDivisionError

    assert some._inside.total() == 0


@pytest.fixture
def asked(client):
    """The web: the fast door has no threads to be filled."""
    return client


@pytest.mark.django_db
def test_the_door_says_so(post, call, gateway, settings):
    settings.MOST_AT_ONCE = 1
    enter(room, MODEST)

    with room.of(gateway.pk):
        response = post(call())

    assert (response.status_code, response.json()["code"]) == (429, "slow_down")
    assert response.headers["Retry-After"] == "1"
