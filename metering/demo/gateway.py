"""A gateway as an honest one is: it posts what it metered, and again until that was accepted."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from http.client import HTTPException
from itertools import chain, repeat
from random import Random
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import msgspec

from metering.api.transactions import Posted
from metering.demo import notes, traffic
from metering.demo.companies import Keys
from metering.demo.notes import Notes

logger = logging.getLogger(__name__)

TIMEOUT = 10  # seconds
PAUSES = (0.5, 1, 2, 4)  # seconds, before it is posted again; then always the longest
WORTH_SAYING = 2  # seconds of pause: a web process that is just starting is no news
MINUTE = 60.0

REPEAT, MANY = 0.04, 0.05  # how often, of all deliveries
FEW_CALLS, MANY_CALLS = (1, 3), (20, 60)

_encode = msgspec.json.Encoder(decimal_format="number").encode
# No proxy between us and our own machine, whatever the environment says.
_open = build_opener(ProxyHandler({})).open


class DemoGateway:
    def __init__(self, url: str) -> None:
        self._endpoint = f"{url}/v1/transactions"
        self._random = Random()  # noqa: S311 - nothing here is a secret
        self._last: Sequence[Posted] = ()
        self._posted = 0
        self._reported_at = time.monotonic()

    def run(self) -> None:
        while True:
            self._last = self._next()
            self._deliver(self._last)
            self._report()
            time.sleep(self._random.uniform(1.2, 2.8))

    def _next(self) -> Sequence[Posted]:
        """A few calls, now and then many, and now and then those that were posted already."""
        chance = self._random.random()
        if self._last and chance < REPEAT:
            return self._last
        few_or_many = MANY_CALLS if chance > 1 - MANY else FEW_CALLS
        keys, old_keys = _keys(_notes())
        return traffic.at_random(
            self._random.randint(*few_or_many), self._random, datetime.now(UTC), keys, old_keys
        )

    def _deliver(self, calls: Sequence[Posted]) -> None:
        body = _encode(calls)
        for pause in chain(PAUSES, repeat(PAUSES[-1])):
            trouble = self._trouble_with(body)
            if trouble is None:
                break
            if pause == WORTH_SAYING:
                logger.warning("Not accepted yet, and posted until it is: %s", trouble)
            time.sleep(pause)
        self._posted += len(calls)

    def _trouble_with(self, body: bytes) -> str | None:
        """Post it once: None when it was accepted, or else why it was not."""
        # The token is read each time: it may have been replaced while this delivery waits.
        headers = {
            "Authorization": f"Bearer {_notes()['gateway']['token']}",
            "Content-Type": "application/json",
        }
        try:
            request = Request(self._endpoint, body, headers)  # noqa: S310 - as `make run` says
            with _open(request, timeout=TIMEOUT) as answer:
                answer.read()
        except HTTPError as error:
            return f"{error.code} {error.reason}"
        except URLError as error:
            return str(error.reason)
        except (OSError, HTTPException) as error:
            return type(error).__name__
        return None

    def _report(self) -> None:
        passed = time.monotonic() - self._reported_at
        if passed >= MINUTE:
            logger.info("Posted %d transactions in %.0f s", self._posted, passed)
            self._posted, self._reported_at = 0, time.monotonic()


def _notes() -> Notes:
    while (noted := notes.read()) is None:
        time.sleep(PAUSES[-1])
    return noted


def _keys(noted: Notes) -> tuple[Keys, Keys]:
    callers = noted["credentials"]
    return (
        {each["name"]: each["external_key"] for each in callers},
        {each["name"]: each["old_key"] for each in callers if each["old_key"]},
    )
