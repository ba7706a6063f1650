import threading

from revcred.celery import app
from revcred.runtime import bell
from revcred.runtime.bell import Bell


class Broker:
    """Takes tasks, or fails as often as it is told to."""

    def __init__(self, failures=0):
        self.failures, self.tasks, self.arrived = failures, [], threading.Event()

    def send_task(self, name, **_):
        if self.failures:
            self.failures -= 1
            raise ConnectionError("secret-of-the-broker")
        self.tasks.append(name)
        self.arrived.set()


def test_rings_that_come_together_are_one(monkeypatch):
    broker = Broker()
    monkeypatch.setattr(app, "send_task", broker.send_task)
    ringing = Bell("metering.process_inbox")

    for _ in range(20):
        ringing.ring()

    assert broker.arrived.wait(10)
    assert broker.tasks == ["metering.process_inbox"]


def test_a_broker_that_is_away_is_logged_and_the_bell_rings_again_later(monkeypatch, caplog):
    broker = Broker(failures=1)
    monkeypatch.setattr(app, "send_task", broker.send_task)
    monkeypatch.setattr(bell, "BROKER_PAUSE_SECONDS", 0)
    ringing = Bell("metering.process_inbox")

    ringing.ring()
    while broker.failures:
        pass
    ringing.ring()

    assert broker.arrived.wait(10)
    assert (
        "Workers were not told of new work, the clock will find it: ConnectionError" in caplog.text
    )
    assert "secret-of-the-broker" not in caplog.text
