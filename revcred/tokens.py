"""Tokens that programs show at a door: known at sight by prefix and checksum, kept as digests."""

import secrets
from binascii import crc32

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 32
CHECKSUM_LENGTH = 6
PREFIXES = ("rvg_", "rvu_")  # of gateways and of users


def generate(prefix: str) -> str:
    start = prefix + "".join(secrets.choice(DIGITS) for _ in range(RANDOM_LENGTH))
    return start + _checksum(start)


def is_well_formed(token: str, prefix: str) -> bool:
    start, checksum = token[:-CHECKSUM_LENGTH], token[-CHECKSUM_LENGTH:]
    return (
        token.startswith(prefix)
        and len(start) == len(prefix) + RANDOM_LENGTH
        and checksum == _checksum(start)
    )


def is_own(text: str) -> bool:
    """True of a token of a gateway or a user."""
    return any(is_well_formed(text, prefix) for prefix in PREFIXES)


def _checksum(text: str) -> str:
    """CRC-32 in six digits of base 62: a scanner knows a token without asking us."""
    rest, digits = crc32(text.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits
