"""Keep keys and tokens, which a door knows in plain text, out of everything that is stored."""

from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

from cachetools import TTLCache, cached
from django.db import connection

from revcred import encodings
from revcred.encodings import TooMuchToDecode
from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.fingerprints import HINT_LENGTH, fingerprint_hex, hint
from revcred.redaction import (
    MIN_SECRET_CHARACTERS,
    KeyCandidates,
    KnownSecret,
    bare_secret,
    has_own_token_shape,
    known_secrets,
    may_hold_secret,
    search_needles,
    shorten_secret,
    texts_in,
)

NAME_CHECK_CACHE_SECONDS = 60.0
MAX_CACHED_NAME_CHECKS = 10_000
MAX_FINGERPRINTS_PER_LAYER = 50_000  # about 0.1 s
FOLDED_KEY_LABEL = "key in small letters"

# True if an admin has entered this text as a name, which calls may give or paths contain. It is
# then no secret, however much it looks like a key.
FIND_ENTERED_NAME = """
SELECT EXISTS (SELECT FROM revcred_subscription WHERE external_key = %(text)s)
    OR EXISTS (SELECT FROM revcred_source WHERE external_key = %(text)s)
    OR EXISTS (SELECT FROM revcred_pathrule WHERE strpos(text, %(text)s) > 0)
    OR EXISTS (SELECT FROM revcred_product WHERE external_key = %(text)s)
    OR EXISTS (SELECT FROM revcred_customer WHERE external_key = %(text)s)
    OR EXISTS (SELECT FROM revcred_subscriber WHERE external_key = %(text)s)
    OR EXISTS (SELECT FROM revcred_customer WHERE lower(name) = lower(%(text)s))
    OR EXISTS (SELECT FROM revcred_product WHERE lower(name) = lower(%(text)s))
    OR EXISTS (SELECT FROM revcred_credential WHERE lower(name) = lower(%(text)s))
    OR EXISTS (SELECT FROM revcred_subscriber WHERE lower(email) = lower(%(text)s))
    OR EXISTS (SELECT FROM revcred_formername WHERE name IN (%(text)s, lower(%(text)s)))
"""


class CallerKey:
    """The key of a caller in plain text. msgspec cannot encode it, so that it is never stored."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return f"CallerKey(…{self.hint})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallerKey) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    @property
    def fingerprint(self) -> str:
        return fingerprint_hex(self.text)

    @property
    def hint(self) -> str:
        return hint(self.text)


class WithheldSecrets:
    """Secrets to be cut out of all texts of a POST: the gateway's token and each call's key."""

    __slots__ = ("_needles", "_token")

    def __init__(self, token: str = "") -> None:
        self._token = token
        self._needles = search_needles(token)

    def __repr__(self) -> str:
        return f"WithheldSecrets({shorten_secret(self._token)})"

    def may_be_in(self, text: str, key: CallerKey | None, *, raw: bytes | None = None) -> bool:
        """Return False if the text certainly contains none of them. Fast: it runs for each call.

        `raw` is the text in bytes. Parts without secrets may be left out of it.
        """
        if key is None:
            return may_hold_secret(text, self._needles, raw=raw)
        return may_hold_secret(text, self._needles, search_needles(key.text), raw=raw)

    def secrets_for(self, key: CallerKey | None) -> list[KnownSecret]:
        """Return the key, if it is long enough to be searched for, and then the token."""
        return known_secrets(key.text if key else None, self._token)


NOTHING_WITHHELD = WithheldSecrets()


class KeyTrace(NamedTuple):
    """A trace of a key, by which its text is found in any encoding without the key at hand.

    `length` is in bytes. If it is 0, it is not known, and `fingerprint` is that of the key; else
    that of the key in small letters.
    """

    fingerprint: str
    hint: str
    length: int = 0

    def found_in(self, value: Any) -> KeyCandidates:
        """Return the key as the texts have it, and the texts that take too long to search."""
        found = KeyCandidates(set(), set())
        for text in texts_in(value):
            try:
                for layer in encodings.layers(text.encode(errors="replace")):
                    found.parts.update(self._keys_in(layer))
            except TooMuchToDecode:
                found.unsearched.add(text)
        return found

    def _keys_in(self, layer: bytes) -> Iterator[str]:
        """Yield the key as it is written in the layer. Raises TooMuchToDecode."""
        for number, (start, end) in enumerate(self._places_in(layer)):
            if number >= MAX_FINGERPRINTS_PER_LAYER:
                raise TooMuchToDecode
            text = layer[start:end].decode(errors="replace")
            if self.fingerprint == (
                fingerprint_hex(text.lower(), label=FOLDED_KEY_LABEL)
                if self.length
                else fingerprint_hex(text)
            ):
                yield text

    def _places_in(self, layer: bytes) -> Iterator[tuple[int, int]]:
        """Yield where the key may begin and end: long keys end with the characters of the hint."""
        folded = layer.lower()
        ending = self.hint.encode().lower()
        at = folded.find(ending)
        while at >= 0 and at + len(ending) <= len(folded):
            end = at + len(ending)
            if self.length:
                if end >= self.length:
                    yield end - self.length, end
            elif self.hint:
                first = max(0, end - MAX_KEY_CHARACTERS)
                yield from ((start, end) for start in range(first, end - MIN_SECRET_CHARACTERS + 1))
            else:  # a key of fewer than twelve characters
                first = max(0, end - HINT_LENGTH * 3)
                yield from ((start, end) for start in range(first, end - MIN_SECRET_CHARACTERS + 1))
            at = folded.find(ending, at + 1)


def trace_of_key(key: CallerKey) -> KeyTrace | None:
    """Return the trace of a key, or None if the key is too short to be searched for."""
    text = bare_secret(key.text)
    if len(text) < MIN_SECRET_CHARACTERS:
        return None
    fingerprint = fingerprint_hex(text.lower(), label=FOLDED_KEY_LABEL)
    return KeyTrace(fingerprint, hint(text), len(text.encode(errors="replace")))


def is_entered_name(key: CallerKey) -> bool:
    """Return True if the key is also a name that an admin entered, such as a customer's.

    It is no secret then, and cutting it out of a call would change whom the call is charged to.
    """
    text = bare_secret(key.text)
    if has_own_token_shape(text):
        return False
    return _query_entered_name(key.fingerprint, text)


def forget_name_checks() -> None:
    """Empty the cache, so that the next check asks the database."""
    _query_entered_name.cache_clear()


# By fingerprint: a cache of plain keys would be a place to steal them from.
@cached(
    TTLCache(MAX_CACHED_NAME_CHECKS, NAME_CHECK_CACHE_SECONDS),
    key=lambda fingerprint, _: fingerprint,
    lock=Lock(),
)
def _query_entered_name(fingerprint: str, text: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(FIND_ENTERED_NAME, {"text": text})
        return bool(cursor.fetchone()[0])
