"""The demo's gateway: it posts calls, and posts each delivery again until it is accepted."""

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

POST_TIMEOUT_SECONDS = 10
RETRY_PAUSES_SECONDS = (0.5, 1, 2, 4)  # after that, always the longest
LOGGED_FROM_PAUSE_SECONDS = 2  # shorter pauses are not logged: web may just be starting
REPORT_INTERVAL_SECONDS = 60.0

REPEAT_SHARE, LARGE_SHARE = 0.04, 0.05  # of all deliveries
FEW_CALLS, MANY_CALLS = (1, 3), (20, 60)

_encode_posted_calls = msgspec.json.Encoder(decimal_format="number").encode
# Never through a proxy, whatever the environment says: revcred runs on this machine.
_open_without_proxy = build_opener(ProxyHandler({})).open


class DemoGateway:
    """A gateway that posts random calls to one revcred, until its process ends."""

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
        """Return a few new calls, sometimes many, and sometimes those of the last delivery."""
        chance = self._random.random()
        if self._last and chance < REPEAT_SHARE:
            return self._last
        few_or_many = MANY_CALLS if chance > 1 - LARGE_SHARE else FEW_CALLS
        keys, old_keys = _keys_in_notes(_wait_for_notes())
        return traffic.random_calls(
            self._random.randint(*few_or_many), self._random, datetime.now(UTC), keys, old_keys
        )

    def _deliver(self, calls: Sequence[PostedTransaction]) -> None:
        body = _encode_posted_calls(calls)
        for pause in chain(RETRY_PAUSES_SECONDS, repeat(RETRY_PAUSES_SECONDS[-1])):
            failure = self._post_once(body)
            if failure is None:
                break
            if pause == LOGGED_FROM_PAUSE_SECONDS:
                logger.warning("A delivery is not accepted yet and is posted again: %s", failure)
            time.sleep(pause)
        self._posted += len(calls)

    def _post_once(self, body: bytes) -> str | None:
        """Post a delivery, and return why it was not accepted; None if it was."""
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
        {caller["name"]: caller["external_key"] for caller in callers},
        {caller["name"]: caller["old_key"] for caller in callers if caller["old_key"]},
    )
