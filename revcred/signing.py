"""Keys that sign what backends are told: made when one is needed, published, and exchanged."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.transaction import atomic
from joserfc.jwk import OKPKey

from revcred.models import SigningKey

# Backends may keep the published keys so long.
KEYS_CACHE_SECONDS = 300
# A new key is published so long before it signs, and an old one after it has signed.
OVERLAP = timedelta(seconds=2 * KEYS_CACHE_SECONDS)
ALGORITHM = "EdDSA"
CURVE: Final = "Ed25519"
KEY_CREATION_LOCK = 7_355_608  # of PostgreSQL's advisory locks


def private_key_of(key: SigningKey) -> OKPKey:
    """Return the key pair, to sign with. Raises CannotUnseal."""
    return OKPKey.import_key({**public_key_of(key), "d": key.unseal()})


def public_key_of(key: SigningKey) -> dict[str, str]:
    """Return the public key as a JWK (RFC 8037)."""
    return {
        "kty": "OKP",
        "crv": CURVE,
        "x": key.public,
        "kid": key.key_id,
        "use": "sig",
        "alg": ALGORITHM,
    }


def published_keys(now: datetime) -> Sequence[Mapping[str, Any]]:
    """Return the public keys by which claims may be checked now."""
    return [public_key_of(key) for key in SigningKey.objects.published(now)]


def usable_keys(now: datetime) -> Sequence[SigningKey]:
    """Return the keys that sign now or later, the newest first. The first ever is made here."""
    found = list(SigningKey.objects.published(now))
    if found:
        return found
    with atomic():
        _lock_creation()
        # Another process may have been first.
        return list(SigningKey.objects.published(now)) or [_create_key(now)]


def rotate_keys(now: datetime, *, at_once: bool = False) -> SigningKey:
    """Publish a new key, which signs once backends know it, and withdraw the others later.

    `at_once`: it signs from now on, and nothing that the others have signed is worth anything.
    """
    signs_from = now if at_once else now + OVERLAP
    with atomic():
        _lock_creation()
        SigningKey.objects.filter(published_until__lte=now).delete()
        others = SigningKey.objects.filter(published_until=None)
        if at_once:
            SigningKey.objects.all().delete()
        elif others.exists():
            others.update(published_until=signs_from + OVERLAP)
        else:
            signs_from = now
        return _create_key(signs_from)


def _lock_creation() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [KEY_CREATION_LOCK])


def _create_key(signs_from: datetime) -> SigningKey:
    pair = OKPKey.generate_key(CURVE)
    fields = pair.as_dict(private=True)
    key = SigningKey(key_id=pair.thumbprint(), public=str(fields["x"]), signs_from=signs_from)
    key.seal(str(fields["d"]))
    key.save()
    return key
