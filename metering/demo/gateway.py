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

from metering.api.transactions import PostedTransaction
from metering.demo import notes, traffic
from metering.demo.companies import KeysByCredential
from metering.demo.notes import DemoNotes

logger = logging.getLogger(__name__)

POST_TIMEOUT_SECONDS = 10  # seconds
RETRY_PAUSES_SECONDS = (0.5, 1, 2, 4)  # seconds, before it is posted again; then always the longest
LOGGED_FROM_PAUSE_SECONDS = 2  # seconds of pause: a web process that is just starting is no news
REPORT_INTERVAL_SECONDS = 60.0

REPEAT, MANY = 0.04, 0.05  # how often, of all deliveries
FEW_CALLS, MANY_CALLS = (1, 3), (20, 60)

_encode_posted_calls = msgspec.json.Encoder(decimal_format="number").encode
# No proxy between us and our own machine, whatever the environment says.
_open_without_proxy = build_opener(ProxyHandler({})).open


class DemoGateway:
    def __init__(self, url: str) -> None:
        self._endpoint = f"{url}/v1/transactions"
        self._random = Random()  # noqa: S311 - nothing here is a secret
        self._last: Sequence[PostedTransaction] = ()
        self._posted = 0
        self._reported_at = time.monotonic()

    def run(self) -> None:
        while True:
            self._last = self._next()
            self._deliver(self._last)
            self._report()
            time.sleep(self._random.uniform(1.2, 2.8))

    def _next(self) -> Sequence[PostedTransaction]:
        """A few calls, now and then many, and now and then those that were posted already."""
        chance = self._random.random()
        if self._last and chance < REPEAT:
            return self._last
        few_or_many = MANY_CALLS if chance > 1 - MANY else FEW_CALLS
        keys, old_keys = _keys_in_notes(_wait_for_notes())
        return traffic.random_calls(
            self._random.randint(*few_or_many), self._random, datetime.now(UTC), keys, old_keys
        )

    def _deliver(self, calls: Sequence[PostedTransaction]) -> None:
        body = _encode_posted_calls(calls)
        for pause in chain(RETRY_PAUSES_SECONDS, repeat(RETRY_PAUSES_SECONDS[-1])):
            trouble = self._trouble_with(body)
            if trouble is None:
                break
            if pause == LOGGED_FROM_PAUSE_SECONDS:
                logger.warning("Not accepted yet, and posted until it is: %s", trouble)
            time.sleep(pause)
        self._posted += len(calls)

    def _trouble_with(self, body: bytes) -> str | None:
        """Post it once: None when it was accepted, or else why it was not."""
        # The token is read each time: it may have been replaced while this delivery waits.
        headers = {
            "Authorization": f"Bearer {_wait_for_notes()['gateway']['token']}",
            "Content-Type": "application/json",
        }
        try:
            request = Request(self._endpoint, body, headers)  # noqa: S310 - as `make run` says
            with _open_without_proxy(request, timeout=POST_TIMEOUT_SECONDS) as answer:
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
        if passed >= REPORT_INTERVAL_SECONDS:
            logger.info("Posted %d transactions in %.0f s", self._posted, passed)
            self._posted, self._reported_at = 0, time.monotonic()


def _wait_for_notes() -> DemoNotes:
    while (noted := notes.read_notes()) is None:
        time.sleep(RETRY_PAUSES_SECONDS[-1])
    return noted


def _keys_in_notes(noted: DemoNotes) -> tuple[KeysByCredential, KeysByCredential]:
    callers = noted["credentials"]
    return (
        {each["name"]: each["external_key"] for each in callers},
        {each["name"]: each["old_key"] for each in callers if each["old_key"]},
    )
