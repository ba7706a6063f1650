"""The address from which something is asked, for limits and for the record of whatever is done.

A middleware says it of each request, and a worker of what somebody asked for earlier. Proxies tell
it in X-Forwarded-For; only those in TRUSTED_PROXIES are believed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
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
    token = _address.set(lambda: client_address(request))
    try:
        yield
    finally:
        _address.reset(token)


def current_address() -> str | None:
    """Return from where is asked for what is being done, or None at the machine itself."""
    find = _address.get()
    return find() if find else None


def client_address(request: HttpRequest) -> str | None:
    """Return the IP address of the client; None by a socket of this machine.

    Each trusted proxy adds the address that it was asked from at the end of X-Forwarded-For. So the
    client is the last address that is no trusted proxy: what stands before it, anybody can write.
    """
    address = _parse_address(request.META.get("REMOTE_ADDR", ""))
    told = request.META.get("HTTP_X_FORWARDED_FOR", "")
    before = told.split(",") if told else []
    while before and address is not None and is_trusted_proxy(str(address)):
        earlier = _parse_address(before.pop())
        if earlier is None:
            break
        address = earlier
    return str(address) if address else None


def is_trusted_proxy(address: str) -> bool:
    """Return True if X-Forwarded-For and -Proto from this address are believed."""
    return _is_in_networks(address, tuple(settings.TRUSTED_PROXIES))


def check_trusted_proxies() -> None:
    """Raise ImproperlyConfigured, with the entry of TRUSTED_PROXIES that is no address."""
    _networks(tuple(settings.TRUSTED_PROXIES))


@lru_cache(maxsize=1_000)
def _is_in_networks(address: str, names: tuple[str, ...]) -> bool:
    parsed = _parse_address(address)
    return parsed is not None and any(parsed in network for network in _networks(names))


@lru_cache
def _networks(names: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    networks = []
    for name in names:
        try:
            networks.append(ip_network(name.strip()))
        except ValueError:
            message = (
                f"TRUSTED_PROXIES has “{name}”, which is neither an IP address nor a network such"
                " as 10.20.0.0/28. Name the proxies by their addresses, not by their number."
            )
            raise ImproperlyConfigured(message) from None
    return networks


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address in one element of X-Forwarded-For, where some proxies add a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])  # PostgreSQL takes no zone, as in fe80::1%eth0
    except ValueError:
        return None
    # Servers that listen on both families tell IPv4 addresses as ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address
