"""Tokens that programs show at a door: known at sight by prefix and checksum, kept as digests."""

import secrets
from binascii import crc32

BASE62_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS = 32
CHECKSUM_CHARACTERS = 6
TOKEN_PREFIXES = ("rvg_", "rvu_")  # of gateways and of users


def generate_token(prefix: str) -> str:
    start = prefix + "".join(secrets.choice(BASE62_DIGITS) for _ in range(RANDOM_CHARACTERS))
    return start + _token_checksum(start)


def is_well_formed_token(token: str, prefix: str) -> bool:
    start, checksum = token[:-CHECKSUM_CHARACTERS], token[-CHECKSUM_CHARACTERS:]
    return (
        token.startswith(prefix)
        and len(start) == len(prefix) + RANDOM_CHARACTERS
        and checksum == _token_checksum(start)
    )


def is_own_token(text: str) -> bool:
    """True of a token of a gateway or a user."""
    return any(is_well_formed_token(text, prefix) for prefix in TOKEN_PREFIXES)


def _token_checksum(text: str) -> str:
    """CRC-32 in six digits of base 62: a scanner knows a token without asking us."""
    rest, digits = crc32(text.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        rest, digit = divmod(rest, len(BASE62_DIGITS))
        digits = BASE62_DIGITS[digit] + digits
    return digits
