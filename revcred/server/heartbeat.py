"""A thread that asks the database for a sign of life, so that no request has to find out.

While PostgreSQL is frozen, whoever waits for it would wait to the end of his time, with the thread
that he holds. After two beats without an answer, all who wait are let go.
"""

from collections.abc import Mapping
from http import HTTPStatus
from threading import Event, Thread

from django.db import Error, connection

from revcred.postgresql import abandon_waiting, database_deadline
from revcred.runtime.health import check_readiness

BEAT_SECONDS = 1.0
ANSWER_SECONDS = 0.9  # that the database may take
MISSES_BEFORE_ABANDONING = 2
BEATS_PER_CHECK = 5  # while all is well

Readiness = tuple[int, Mapping[str, str]]
STARTING: Readiness = (HTTPStatus.SERVICE_UNAVAILABLE, {"status": "starting"})
UNAVAILABLE: Readiness = (
    HTTPStatus.SERVICE_UNAVAILABLE,
    {"status": "unavailable", "message": "The database does not answer."},
)


class Heartbeat(Thread):
    """Asks once a second, and keeps what `/readyz` answers."""

    def __init__(self) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.readiness: Readiness = STARTING
        self._stopped = Event()
        self._misses = 0
        self._beats_until_check = 0

    @property
    def is_away(self) -> bool:
        """Return True if the database has not answered for so long that nobody need try."""
        return self._misses >= MISSES_BEFORE_ABANDONING

    def run(self) -> None:
        while True:
            self.beat()
            if self._stopped.wait(BEAT_SECONDS):
                break
        connection.close()

    def stop(self) -> None:
        self._stopped.set()

    def beat(self) -> None:
        """Ask the database, and look at the configuration now and then."""
        try:
            with database_deadline(ANSWER_SECONDS):
                self._ask()
        except Error:
            self._misses += 1
            self.readiness = UNAVAILABLE
            self._beats_until_check = 0
            connection.close()
            if self.is_away:
                abandon_waiting()
        else:
            self._misses = 0

    def _ask(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        if self._beats_until_check:
            self._beats_until_check -= 1
            return
        self.readiness = check_readiness()
        if self.readiness[0] == HTTPStatus.OK:
            self._beats_until_check = BEATS_PER_CHECK
