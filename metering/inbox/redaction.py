"""Keep keys and tokens, which a door knows in plain text, out of everything that is stored."""

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

NAME_CHECK_CACHE_SECONDS = 60.0
MAX_CACHED_NAME_CHECKS = 10_000

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
        self._needles = long_search_needles(token)

    def __repr__(self) -> str:
        return f"WithheldSecrets({shorten_secret(self._token)})"

    def may_be_in(self, text: str, key: CallerKey | None) -> bool:
        """Return False if the text certainly contains none of them. Fast: it runs for each call."""
        return may_hold_secret(
            text, (*search_needles(key.text), *self._needles) if key else self._needles
        )

    def secrets_for(self, key: CallerKey | None) -> list[KnownSecret]:
        """Return the key, if it is long enough to be searched for, and then the token."""
        return known_secrets(key.text if key else None, self._token)


NOTHING_WITHHELD = WithheldSecrets()


def is_entered_name(key: CallerKey) -> bool:
    """Return True if the key is also a name that an admin entered, such as a customer's.

    It is no secret then, and cutting it out of a call would change whom the call is charged to.
    """
    text = bare_secret(key.text)
    if has_own_token_shape(text):
        return False
    # By fingerprint: a cache of plain keys would be a place to steal them from.
    fingerprint = key.fingerprint
    check = _name_checks.get(fingerprint)
    now = time.monotonic()
    if check is None or check[1] + NAME_CHECK_CACHE_SECONDS < now:
        check = _name_checks[fingerprint] = _query_entered_name(text), now
        if len(_name_checks) > MAX_CACHED_NAME_CHECKS:
            _name_checks.popitem(last=False)
    return check[0]


def forget_name_checks() -> None:
    """Empty the cache, so that the next check asks the database."""
    _name_checks.clear()


def _query_entered_name(text: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(FIND_ENTERED_NAME, {"text": text})
        return bool(cursor.fetchone()[0])


_name_checks: OrderedDict[str, tuple[bool, float]] = OrderedDict()
