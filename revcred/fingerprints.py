"""Fingerprints: they recognise a key without keeping it.

A fingerprint is the first 128 bits of HMAC-SHA256 under FINGERPRINT_KEY, over a label and the
value. It is a UUID so that PostgreSQL stores, compares and excludes it as one 16-byte number.
"""

import hmac
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from django.conf import settings

if TYPE_CHECKING:
    from hmac import HMAC

# Enough for people to tell their keys apart, too little to guess the rest.
HINT_LENGTH = 4


@cache
def _keyed_hmac(label: str) -> "HMAC":
    """Return an HMAC that has taken key and label already. Copy it before use."""
    # Keying HMAC costs as much as the digest itself, copying a keyed one does not.
    return hmac.new(settings.FINGERPRINT_KEY.encode(), label.encode() + b"\0", sha256)


def fingerprint_hex(value: str, *, label: str = "key") -> str:
    """Return the fingerprint of `value` as 32 hexadecimal digits, as the inbox keeps it."""
    keyed = _keyed_hmac(label).copy()
    keyed.update(value.encode())
    return keyed.hexdigest()[:32]


def fingerprint(value: str, *, label: str = "key") -> UUID:
    """Return the fingerprint of `value`. Other labels give other fingerprints."""
    return UUID(fingerprint_hex(value, label=label))


def hint(value: str) -> str:
    """Return the last four characters, or nothing of a value too short to give any away."""
    return value[-HINT_LENGTH:] if len(value) >= 3 * HINT_LENGTH else ""
