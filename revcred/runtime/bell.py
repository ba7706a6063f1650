"""Bells: each tells workers that a table has work for them, and carries nothing.

The table is the queue. A bell may be rung twice, late or never; `clock` finds what none announced.
"""

import logging
import os
import threading
import time

from celery import current_app

logger = logging.getLogger(__name__)

RING_DELAY_SECONDS = 0.05  # lets many rings become one
BROKER_PAUSE_SECONDS = 5.0  # without ringing, after the broker did not answer
RING_EXPIRY_SECONDS = 10  # by then the clock has found the work


class Bell:
    """Sends a Celery task from a thread of its own, so that no request waits for the broker."""

    def __init__(self, task: str) -> None:
        self._task = task
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._ringer: tuple[int, threading.Thread] | None = None

    def ring(self) -> None:
        """Ring soon. Returns at once; rings within RING_DELAY_SECONDS become one."""
        self._rung.set()
        if self._ringer is None or self._ringer[0] != os.getpid():
            self._start()

    def _start(self) -> None:
        with self._lock:
            # Checked again under the lock: two requests may have come here at once.
            if self._ringer is None or self._ringer[0] != os.getpid():  # a fork has no threads
                thread = threading.Thread(target=self._ring_on, name="bell", daemon=True)
                self._ringer = (os.getpid(), thread)
                thread.start()

    def _ring_on(self) -> None:
        while self._rung.wait():
            time.sleep(RING_DELAY_SECONDS)
            # Cleared before sending: a ring during the send leads to another one.
            self._rung.clear()
            try:
                # Expires soon: workers that come back after an hour need not hear thousands of
                # rings.
                current_app.send_task(self._task, expires=RING_EXPIRY_SECONDS, retry=False)
            except Exception as error:  # noqa: BLE001 - whatever the broker's client raises: it is only a bell
                logger.warning(
                    "Workers were not told of new work, the clock will find it: %s",
                    type(error).__name__,
                )
                time.sleep(BROKER_PAUSE_SECONDS)
