"""Fingerprints: they recognise a key without keeping it.

A fingerprint is the first 128 bits of HMAC-SHA256 under FINGERPRINT_KEY, over a label and the
value. It is a UUID so that PostgreSQL stores, compares and excludes it as one 16-byte number.

While that key is exchanged, `revcred.fingerprint_rotation` says for each value whether it is still
known by the fingerprint of OLD_FINGERPRINT_KEY. Nothing else has to know of it.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

if TYPE_CHECKING:
    from hashlib import _Hash

# Enough for people to tell their keys apart, too little to guess the rest.
HINT_LENGTH = 4
SHA256_BLOCK_BYTES = 64
INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))


# Returns the fingerprint of a value and label by which the database knows it, while two keys are
# set; None with one key.
_resolver: Callable[[str, str], str] | None = None


def resolve_by(resolver: Callable[[str, str], str] | None) -> None:
    """Let this function choose between the fingerprints of both keys; None: there is one key."""
    global _resolver  # noqa: PLW0603 - asked for each metered call, so it has to cost nothing
    _resolver = resolver


@cache
def _keyed_hashes(label: str) -> tuple["_Hash", "_Hash"]:
    return _hashes_of_key(settings.FINGERPRINT_KEY, label)


@cache
def _old_keyed_hashes(label: str) -> tuple["_Hash", "_Hash"]:
    return _hashes_of_key(settings.OLD_FINGERPRINT_KEY, label)


def _hashes_of_key(text: str, label: str) -> tuple["_Hash", "_Hash"]:
    """Return the inner and outer hash of HMAC (RFC 2104), which have taken key and label already.

    Copy them before use.
    """
    # Two copies cost less than one of an `hmac` object, and each metered call has a fingerprint.
    key = text.encode()
    block = sha256(key).digest() if len(key) > SHA256_BLOCK_BYTES else key
    block = block.ljust(SHA256_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(INNER_PAD) + label.encode() + b"\0")
    return inner, sha256(block.translate(OUTER_PAD))


def fingerprint_hex(value: str, *, label: str = "key") -> str:
    """Return the fingerprint of `value` as 32 hexadecimal digits, as the inbox keeps it."""
    if _resolver is not None:
        return _resolver(value, label)
    return new_fingerprint_hex(value, label=label)


def new_fingerprint_hex(value: str, *, label: str = "key") -> str:
    """Return the fingerprint under FINGERPRINT_KEY, whether or not it is in use yet."""
    return _digest_of(value, *_keyed_hashes(label))


def old_fingerprint_hex(value: str, *, label: str = "key") -> str:
    """Return the fingerprint under OLD_FINGERPRINT_KEY."""
    return _digest_of(value, *_old_keyed_hashes(label))


def _digest_of(value: str, inner: "_Hash", outer: "_Hash") -> str:
    inner, outer = inner.copy(), outer.copy()
    inner.update(value.encode())
    outer.update(inner.digest())
    return outer.hexdigest()[:32]


def fingerprint(value: str, *, label: str = "key") -> UUID:
    """Return the fingerprint of `value`. Other labels give other fingerprints."""
    return UUID(fingerprint_hex(value, label=label))


def possible_fingerprints(value: str, *, label: str) -> tuple[UUID, ...]:
    """Return all fingerprints under which the value may be kept; mostly one.

    For what is refused if it is not found: a process learns of a move up to a second later.
    """
    if _resolver is None:
        return (fingerprint(value, label=label),)
    both = old_fingerprint_hex(value, label=label), new_fingerprint_hex(value, label=label)
    # Asks the resolver as well, which notes both if the value has not moved yet.
    return tuple(sorted({fingerprint(value, label=label), *map(UUID, both)}))


def hint(value: str) -> str:
    """Return the last four characters, or nothing of a value too short to give any away."""
    return value[-HINT_LENGTH:] if len(value) >= 3 * HINT_LENGTH else ""
