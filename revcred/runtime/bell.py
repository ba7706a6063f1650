"""The bell: says that something waits, and carries nothing. The table is the queue.

A bell may be rung twice, late or never; `clock` sweeps what none announced.
"""

import logging
import os
import threading
import time

from celery import current_app

logger = logging.getLogger(__name__)

RING_DELAY_SECONDS = 0.05  # seconds a ring is held back, so that many that wait share one
BROKER_PAUSE_SECONDS = 5.0  # seconds without ringing after the broker did not answer
RING_EXPIRY_SECONDS = 10  # seconds after which a bell that nobody heard is not worth hearing


class Bell:
    """Rings from a thread of its own, so that no request ever waits for the broker."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._ringer: tuple[int, threading.Thread] | None = None

    def ring(self) -> None:
        self._rung.set()
        if self._ringer is None or self._ringer[0] != os.getpid():
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._ringer is None or self._ringer[0] != os.getpid():  # a fork has no threads
                thread = threading.Thread(target=self._ring_on, name="bell", daemon=True)
                self._ringer = (os.getpid(), thread)
                thread.start()

    def _ring_on(self) -> None:
        while self._rung.wait():
            time.sleep(RING_DELAY_SECONDS)
            self._rung.clear()
            try:
                current_app.send_task(self._task, expires=RING_EXPIRY_SECONDS, retry=False)
            except Exception as error:  # noqa: BLE001 - whatever the broker's client raises: it is only a bell
                logger.warning("The bell was not heard: %s", type(error).__name__)
                time.sleep(BROKER_PAUSE_SECONDS)
