"""Addresses that programs ask, such as gateways: no sessions, no pages, errors as JSON.

Apps add theirs when they start; the core knows only those of its own API.
"""

_prefixes: tuple[str, ...] = ("/v1/",)
# Exact addresses. A door must not turn pages below its address into addresses of programs.
_addresses: frozenset[str] = frozenset()
# Asked by proxies under the host that a caller named, which need not be one of ours.
_roots_of_any_host: tuple[str, ...] = ()
# Below a prefix, and yet for people, with the headers and the policy of all pages.
PAGES_BELOW_PREFIXES = frozenset({"/v1/docs/"})


def add_program_paths(*, addresses: frozenset[str], prefixes: tuple[str, ...]) -> None:
    """Add addresses, such as `/v1/events`, and prefixes, such as `/meter/`."""
    global _prefixes, _addresses  # noqa: PLW0603 - set when the process starts, read by each request
    _prefixes = tuple(dict.fromkeys((*_prefixes, *prefixes)))
    _addresses |= addresses


def accept_any_host(root: str) -> None:
    """Have an address and all below it answered whatever `Host` a request names."""
    global _roots_of_any_host  # noqa: PLW0603 - as above
    _roots_of_any_host = tuple(dict.fromkeys((*_roots_of_any_host, root)))


def accepts_any_host(path: str) -> bool:
    """Return True for an address that is answered whatever `Host` a request names."""
    return path in _roots_of_any_host or path.startswith(
        tuple(f"{root}/" for root in _roots_of_any_host)
    )


def is_program_path(path: str) -> bool:
    """Return True for an address that programs ask."""
    if path.startswith(_prefixes):
        return path not in PAGES_BELOW_PREFIXES
    return path in _addresses
