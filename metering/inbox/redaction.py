"""What is known in clear of a call at the door, and how it is kept out of what is stored."""

import time
from collections import OrderedDict

from django.db import connection

from revcred.fingerprints import fingerprint_hex, hint
from revcred.redaction import (
    KnownSecret,
    bare_secret,
    has_own_token_shape,
    known_secrets,
    long_search_needles,
    may_hold_secret,
    search_needles,
    shorten_secret,
)

NAME_CHECK_CACHE_SECONDS = 60.0  # that something is, or is not, a name entered here
MAX_CACHED_NAME_CHECKS = 10_000

# What an administrator has entered in clear, where a call may name it or a path hold it.
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
    """What a caller came with, in clear. It is never encoded: its fingerprint is."""

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
    """What may stand in no text of a post's calls: the gateway's token, and the key of each."""

    __slots__ = ("_needles", "_token")

    def __init__(self, token: str = "") -> None:
        self._token = token
        self._needles = long_search_needles(token)

    def __repr__(self) -> str:
        return f"Withheld({shorten_secret(self._token)})"

    def may_be_in(self, text: str, key: CallerKey | None) -> bool:
        """False if there is certainly nothing to be cut from the text."""
        return may_hold_secret(
            text, (*search_needles(key.text), *self._needles) if key else self._needles
        )

    def of(self, key: CallerKey | None) -> list[KnownSecret]:
        """The key first, if it is long enough to be looked for, and the token."""
        return known_secrets(key.text if key else None, self._token)


NOTHING_WITHHELD = WithheldSecrets()


def is_entered_name(key: CallerKey) -> bool:
    """True of a key that is also entered here in clear, as the name of a customer or a source.

    It hides nothing, and to cut it out of a call would change whom the call is charged to.
    """
    text = bare_secret(key.text)
    if has_own_token_shape(text):
        return False
    mark = key.fingerprint
    known = _name_checks.get(mark)
    now = time.monotonic()
    if known is None or known[1] + NAME_CHECK_CACHE_SECONDS < now:
        known = _name_checks[mark] = _query_entered_name(text), now
        if len(_name_checks) > MAX_CACHED_NAME_CHECKS:
            _name_checks.popitem(last=False)
    return known[0]


def forget_name_checks() -> None:
    """Ask the database again."""
    _name_checks.clear()


def _query_entered_name(text: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(FIND_ENTERED_NAME, {"text": text})
        return bool(cursor.fetchone()[0])


_name_checks: OrderedDict[str, tuple[bool, float]] = OrderedDict()
