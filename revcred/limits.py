"""Limits that last: counted in the database, exact in parallel, forgotten by time alone."""

from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.db.models import F
from django.db.models.functions import Greatest
from django.utils import timezone

from revcred.fingerprints import fingerprint
from revcred.models import RateCounter

DEFAULT_WAIT_SECONDS = 60
# Seconds to pause after the n-th attempt, or NULL while more are allowed.
PAUSE = """
CASE WHEN {n} >= %(attempts)s THEN make_interval(secs =>
    LEAST(%(seconds)s * 2 ^ LEAST({n} - %(attempts)s, 20), %(max_pause)s)
) END
"""
# in: one attempt; out: its number, or no row if it comes during a pause
COUNT = f"""
INSERT INTO revcred_ratecounter AS counter (key, used, waits_until, expires_at)
SELECT %(key)s, 1, moment + pause,
    moment + COALESCE(pause + %(memory)s * interval '1 second', make_interval(secs => %(seconds)s))
FROM (SELECT statement_timestamp() AS moment, {PAUSE.format(n="1")} AS pause) AS first
ON CONFLICT (key) DO UPDATE SET (used, waits_until, expires_at) = (
    SELECT n, moment + pause, CASE
        WHEN pause IS NOT NULL THEN moment + pause + %(memory)s * interval '1 second'
        -- Failures add up until there was none for a while; a rate begins anew after its time.
        WHEN n = 1 OR %(memory)s > 0 THEN moment + make_interval(secs => %(seconds)s)
        ELSE counter.expires_at
    END
    FROM (
        SELECT n, statement_timestamp() AS moment, {PAUSE.format(n="n")} AS pause
        FROM (
            SELECT CASE
                WHEN counter.expires_at <= statement_timestamp() THEN 1 ELSE counter.used + 1
            END AS n
        ) AS numbered
    ) AS next
)
WHERE counter.waits_until IS NULL OR counter.waits_until <= statement_timestamp()
RETURNING used
"""  # noqa: S608 - composed of constants
WAIT = """
SELECT ceil(extract(epoch FROM waits_until - statement_timestamp()))::int
FROM revcred_ratecounter WHERE key = %(key)s
"""


@dataclass(frozen=True)
class Limit:
    """So many attempts in so many seconds, then a pause of as many seconds.

    If `max_pause_seconds` is more, each further attempt doubles the pause, up to it.
    """

    name: str
    attempts: int
    seconds: int
    max_pause_seconds: int = 0


class LimitReached(Exception):
    """Too many attempts were made: another one may be made after so many seconds."""

    def __init__(self, wait_seconds: int) -> None:
        super().__init__("Too many attempts were made.")
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class CountedAttempt:
    """An attempt that was counted before it is known how it ends."""

    keys: tuple[UUID, ...]

    def __add__(self, other: "CountedAttempt") -> "CountedAttempt":
        """Return the attempt as two limits have counted it."""
        return CountedAttempt(self.keys + other.keys)

    def forget(self) -> None:
        """Begin anew: the attempt succeeded."""
        RateCounter.objects.filter(pk__in=self.keys).delete()

    def take_back(self) -> None:
        """Count as if the attempt had not been made."""
        RateCounter.objects.filter(pk__in=self.keys).update(
            used=Greatest(F("used") - 1, 0), waits_until=None
        )


def count_attempt(limit: Limit, *whose: object) -> CountedAttempt:
    """Count an attempt, before it is made, so that none in parallel is missed.

    `whose`: what the limit is for, such as an address. Raises LimitReached.
    """
    key = fingerprint("\0".join([limit.name, *map(str, whose)]), label="limit")
    grows = limit.max_pause_seconds > limit.seconds
    parameters: dict[str, UUID | int] = {
        "key": key,
        "attempts": limit.attempts,
        "seconds": limit.seconds,
        "max_pause": limit.max_pause_seconds if grows else limit.seconds,
        # How long after a pause the next one would still be longer.
        "memory": limit.max_pause_seconds if grows else 0,
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT, parameters)
        if cursor.fetchone() is not None:
            return CountedAttempt((key,))
        cursor.execute(WAIT, parameters)
        found = cursor.fetchone()
    raise LimitReached(max(found[0] or 1, 1) if found else DEFAULT_WAIT_SECONDS)


def prune_expired_counters() -> None:
    """Delete counters whose time is over. The clock calls it."""
    RateCounter.objects.filter(expires_at__lt=timezone.now()).delete()
