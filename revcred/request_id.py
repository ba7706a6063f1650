"""The id of a request: its answer, its log lines and its audit events carry it.

It may come with the request, in X-Request-ID. Whoever sends it decides what gets into the log, and
some would send a key. So only a UUID is taken from anybody, and a hexadecimal number, as nginx
makes them, from a proxy that is trusted.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest

from revcred.client_address import is_trusted_proxy

REQUEST_ID_HEADER = "X-Request-ID"
# Django logs an answer after all middleware, when no request is current any more.
META_KEY = "revcred.request_id"

UUID_PATTERN = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
PROXY_ID_PATTERN = re.compile(r"[0-9A-Fa-f]{16,64}")
ID_BYTES = 16

_current: ContextVar[str] = ContextVar("request id", default="")


def choose_request_id(sent: str, *, peer: str) -> str:
    """Return the id that came with a request from this IP address, or a new one."""
    if sent and (
        UUID_PATTERN.fullmatch(sent)
        or (PROXY_ID_PATTERN.fullmatch(sent) and is_trusted_proxy(peer))
    ):
        return sent
    return os.urandom(ID_BYTES).hex()


@contextmanager
def working_for(request_id: str) -> Iterator[None]:
    """Have log lines and audit events of the block carry this id."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)


def begin_task(task_id: str) -> None:
    """Have log lines and audit events carry the id of a worker's task, until `end_task`."""
    _current.set(task_id)


def end_task() -> None:
    _current.set("")


def current_request_id() -> str:
    """Return the id of the request or task that is being worked on, or an empty text."""
    return _current.get()


def request_id_of(request: HttpRequest) -> str:
    """Return the id that a request has got, or an empty text before it has one."""
    return str(request.META.get(META_KEY, ""))
