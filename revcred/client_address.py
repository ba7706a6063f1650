"""The address from which something is asked, for the record of whatever is done about it.

A middleware says it of each request, and a worker of what somebody asked for earlier.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.http import HttpRequest

_address: ContextVar[Callable[[], str | None] | None] = ContextVar("client address", default=None)


@contextmanager
def asked_from(address: str | None) -> Iterator[None]:
    """Have events of the block say that this address asked for it."""
    token = _address.set(lambda: address)
    try:
        yield
    finally:
        _address.reset(token)


@contextmanager
def answering(request: HttpRequest) -> Iterator[None]:
    """Have events of the block say where the request comes from. Found out only if asked."""
    token = _address.set(lambda: _address_of(request))
    try:
        yield
    finally:
        _address.reset(token)


def current_address() -> str | None:
    """Return from where is asked for what is being done, or None at the machine itself."""
    find = _address.get()
    return find() if find else None


def _address_of(request: HttpRequest) -> str | None:
    # allauth knows how many proxies may be believed; models cannot be loaded after it.
    from allauth.account.adapter import get_adapter  # noqa: PLC0415

    if not request.META.get("REMOTE_ADDR"):  # by a socket of this machine
        return None
    return str(get_adapter(request).get_client_ip(request))
