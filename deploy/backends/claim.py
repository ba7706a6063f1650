"""Checks X-Revcred-Claim in a backend. Needs joserfc (pip install joserfc).

claims = ClaimChecker("https://revcred.example.com", gateway="edge-1")
owner = claims.check(request.headers["X-Revcred-Claim"])
owner["customer"], owner["subscription"], owner["product"], owner["credential"]
"""

import json
import time
import warnings
from typing import Any
from urllib.request import urlopen

from joserfc import jwt
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

# RFC 9864 has a newer name for the same signature.
warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

KEYS_SECONDS = 300.0  # the published keys are kept so long
RETRY_SECONDS = 10.0  # between two looks for a key that is not among them
CLOCK_SECONDS = 5  # that this machine's clock may be behind or ahead


class InvalidClaim(Exception):
    """The claim is missing, forged, too old, of another gateway, or of another revcred."""


class ClaimChecker:
    """Checks claims by the keys that revcred publishes."""

    def __init__(self, revcred: str, gateway: str) -> None:
        self._keys_url = f"{revcred}/.well-known/jwks.json"
        self._rules = jwt.JWTClaimsRegistry(
            leeway=CLOCK_SECONDS,
            iss={"essential": True, "value": revcred},
            aud={"essential": True, "value": gateway},
            exp={"essential": True},
        )
        self._keys, self._read_at = KeySet([]), float("-inf")

    def check(self, claim: str) -> dict[str, Any]:
        """Return whose the call is. Raises InvalidClaim."""
        try:
            token = jwt.decode(claim, self._known_keys(claim), algorithms=["EdDSA"])
            self._rules.validate(token.claims)
        except (JoseError, ValueError, KeyError) as error:
            raise InvalidClaim(type(error).__name__) from None
        return token.claims

    def _known_keys(self, claim: str) -> KeySet:
        """Return the published keys, read again if they are old or lack that of the claim."""
        age = time.monotonic() - self._read_at
        if age > KEYS_SECONDS or (age > RETRY_SECONDS and not self._has_key_of(claim)):
            with urlopen(self._keys_url, timeout=5) as answer:  # noqa: S310 - the scheme is yours
                self._keys = KeySet.import_key_set(json.load(answer))
            self._read_at = time.monotonic()
        return self._keys

    def _has_key_of(self, claim: str) -> bool:
        kid = extract_compact(claim.encode()).headers().get("kid")
        return any(key.kid == kid for key in self._keys)
