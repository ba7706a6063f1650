"""Claims for backends: signed statements of whose a call is that a gateway let through.

Each is a JSON Web Token (RFC 7519) under EdDSA, and good for a minute.
"""

import warnings
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cachetools import TTLCache
from django.conf import settings
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

from revcred.models import SigningKey
from revcred.signing import ALGORITHM, private_key_of

# RFC 9864 has a newer name for the same signature, which few libraries of backends know.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

CLAIM_SECONDS = 60  # for which a backend accepts it
# One that was made is given again for so long: signing takes longer than all else of a check.
REUSE_SECONDS = 20.0
MAX_REUSED = 50_000

Owner = tuple[Any, ...]


class ClaimSigner:
    """Signs claims with the key whose turn it is. `keys`: the newest first."""

    def __init__(self, keys: Sequence[SigningKey] = ()) -> None:
        self._keys = [(key.signs_from, key.key_id, private_key_of(key)) for key in keys]
        self._made: TTLCache[Owner, str] = TTLCache(MAX_REUSED, REUSE_SECONDS)

    def sign(
        self,
        *,
        audience: str,
        now: datetime,
        credential: str | None,
        subscription: str | None,
        customer: str | None,
        product: str | None,
        environment: str | None,
        tags: Sequence[str],
    ) -> str:
        """Return the claim about the owner of a call, or nothing if there is no key yet.

        `audience`: the name of the gateway that asked. All others are external keys, and the
        credential's public id.
        """
        chosen = next(((kid, key) for since, kid, key in self._keys if since <= now), None)
        if chosen is None:
            return ""
        key_id, key = chosen
        owner = {
            "credential": credential,
            "subscription": subscription,
            "customer": customer,
            "product": product,
            "environment": environment,
            "tags": list(tags),
        }
        place = (key_id, audience, *list(owner.values())[:-1], *tags)
        if (made := self._made.get(place)) is None:
            made = self._made[place] = _signed(key_id, key, audience, owner, now)
        return made


def _signed(key_id: str, key: OKPKey, audience: str, owner: dict[str, Any], now: datetime) -> str:
    claims = {
        "iss": settings.PUBLIC_URL,
        "aud": audience,
        "sub": owner["credential"] or owner["subscription"],
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=CLAIM_SECONDS)).timestamp()),
        **{name: value for name, value in owner.items() if value},
    }
    header = {"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}
    return jwt.encode(header, claims, key, algorithms=[ALGORITHM])
