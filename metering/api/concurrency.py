"""Room for everybody: a gateway that fills the threads makes way for the others."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings

from metering.api.authentication import cached_gateway_id
from metering.api.errors import SlowDown, error_answer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

OVER_FAIR_SHARE_MESSAGE = "This gateway has most of the requests under way. Send it again."
RECENTLY_SEEN_SECONDS = 10.0  # seconds in which a gateway was seen, and may be again


class InFlightRequests:
    """The requests that are being answered in this process, by gateway.

    When hardly a thread is free, those who have more than their share of them are turned away,
    so that a gateway with little to say need not wait until one with much has said it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside: Counter[int] = Counter()
        self._seen_at: dict[int, float] = {}

    @contextmanager
    def of(self, gateway_id: int) -> Iterator[None]:
        """Raises SlowDown."""
        self._enter(gateway_id)
        try:
            yield
        finally:
            with self._lock:
                self._inside[gateway_id] -= 1
                if not self._inside[gateway_id]:
                    del self._inside[gateway_id]  # or each request would count all gateways

    def _enter(self, gateway_id: int) -> None:
        with self._lock:
            self._seen_at[gateway_id] = time.monotonic()
            if self._inside.total() >= settings.MOST_AT_ONCE:
                share = self._inside.total() / self._gateways()
                if self._inside[gateway_id] > share:
                    raise SlowDown(OVER_FAIR_SHARE_MESSAGE)
            self._inside[gateway_id] += 1

    def _gateways(self) -> int:
        since = time.monotonic() - RECENTLY_SEEN_SECONDS
        return sum(seen_at >= since for seen_at in self._seen_at.values())


class ConcurrencyLimiter:
    """A WSGI application before the application: to turn somebody away costs next to nothing."""

    def __init__(self, application: "WSGIApplication") -> None:
        self._application = application
        self._room = InFlightRequests()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        tokens = environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_API_KEY", "")
        gateway_id = cached_gateway_id(*tokens) if any(tokens) else None
        if gateway_id is None:
            return self._application(environ, start_response)
        try:
            with self._room.of(gateway_id):
                return self._application(environ, start_response)
        except SlowDown as error:
            return _answer_slow_down(error, start_response)


def _answer_slow_down(error: SlowDown, start_response: "StartResponse") -> Iterable[bytes]:
    status, answer, headers = error_answer(error)
    body = msgspec.json.encode(answer)
    said = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    start_response(f"{status} {HTTPStatus(status).phrase}", list(said.items()))
    return [body]
