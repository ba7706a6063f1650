"""Tokens: a prefix that tells the kind, random characters, and a checksum.

Scanners of leaked secrets know them at sight, without asking revcred. Only digests are kept.
"""

import secrets
from binascii import crc32

# No punctuation: a double click selects the whole token, and URLs need no escapes.
BASE62_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS = 32  # 190 bits
CHECKSUM_CHARACTERS = 6
TOKEN_PREFIXES = ("rvg_", "rvu_")  # of gateways and of users


def generate_token(prefix: str) -> str:
    """Return a new token with this prefix."""
    start = prefix + "".join(secrets.choice(BASE62_DIGITS) for _ in range(RANDOM_CHARACTERS))
    return start + _token_checksum(start)


def is_well_formed_token(token: str, prefix: str) -> bool:
    """Return True if prefix, length and checksum are right."""
    # Checked before any query: a text of another shape costs nothing.
    start, checksum = token[:-CHECKSUM_CHARACTERS], token[-CHECKSUM_CHARACTERS:]
    return (
        token.startswith(prefix)
        and len(start) == len(prefix) + RANDOM_CHARACTERS
        and checksum == _token_checksum(start)
    )


def is_own_token(text: str) -> bool:
    """Return True for a token of a gateway or a user."""
    return any(is_well_formed_token(text, prefix) for prefix in TOKEN_PREFIXES)


def _token_checksum(text: str) -> str:
    """Return the CRC-32 of the text in six digits of base 62."""
    rest, digits = crc32(text.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(BASE62_DIGITS))
        digits = BASE62_DIGITS[digit] + digits
    return digits
