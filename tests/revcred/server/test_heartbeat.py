import pytest
from django.db import OperationalError, connection

from revcred.server import heartbeat
from revcred.server.heartbeat import STARTING, UNAVAILABLE, Heartbeat

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("ring")]


def away(*_):
    raise OperationalError


def test_the_first_beat_finds_out_whether_it_is_ready():
    beating = Heartbeat()
    assert beating.readiness == STARTING

    beating.beat()

    assert beating.readiness == (200, {"status": "ok"})


def test_a_wrong_configuration_is_found_within_some_beats(ring):
    beating = Heartbeat()
    beating.beat()
    ring("second")

    for _ in range(heartbeat.BEATS_PER_CHECK + 1):
        beating.beat()

    assert (beating.readiness[0], beating.readiness[1]["status"]) == (503, "refused")


def test_without_the_database_it_is_not_ready_until_that_is_back():
    beating = Heartbeat()
    with connection.execute_wrapper(away):
        beating.beat()
    assert beating.readiness == UNAVAILABLE

    beating.beat()

    assert beating.readiness == (200, {"status": "ok"})


def test_it_beats_until_it_is_stopped(monkeypatch):
    monkeypatch.setattr(heartbeat, "BEAT_SECONDS", 0.01)
    beating = Heartbeat()
    beating.start()
    while beating.readiness == STARTING:
        pass

    beating.stop()
    beating.join(10)

    assert not beating.is_alive()
