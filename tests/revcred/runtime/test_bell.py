import threading

from revcred.celery import app
from revcred.runtime import bell
from revcred.runtime.bell import Bell

TASK = "tests.of_this_bell_alone"  # bells of other tests may ring late


class Broker:
    """Takes tasks of TASK, or fails as often as it is told to."""

    def __init__(self, failures=0):
        self.failures, self.tasks, self.arrived = failures, [], threading.Event()

    def send_task(self, name, **_):
        if name != TASK:
            return
        if self.failures:
            self.failures -= 1
            raise ConnectionError("secret-of-the-broker")
        self.tasks.append(name)
        self.arrived.set()


def test_rings_that_come_together_are_one(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(app, "send_task", broker.send_task)
    ringing = Bell(TASK)

    for _ in range(20):
        ringing.ring()

    assert broker.arrived.wait(10)
    assert broker.tasks == [TASK]


def test_a_broker_that_is_away_is_logged_and_the_bell_rings_again_later(monkeypatch, caplog):
    broker = Broker(failures=1)
    monkeypatch.setattr(app, "send_task", broker.send_task)
    monkeypatch.setattr(bell, "BROKER_PAUSE_SECONDS", 0)
    ringing = Bell(TASK)

    ringing.ring()
    while broker.failures:
        pass
    ringing.ring()

    assert broker.arrived.wait(10)
    assert (
        "Workers were not told of new work, the clock will find it: ConnectionError" in caplog.text
    )
    assert "secret-of-the-broker" not in caplog.text
