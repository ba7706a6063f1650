"""Digests of keys for gateways, under a key of their own: EXPORT_KEY.

A gateway that computes the same HMAC of what a caller sends recognises valid keys by them, and
holds no key. They are made of sealed keys when a gateway asks, and leave revcred as nothing else of
a key does.
"""

import hmac
import logging
from collections.abc import Collection
from hashlib import sha256

from django.conf import settings

from revcred.crypto import CannotUnseal
from revcred.models import ExportedDigest, SealedValue

logger = logging.getLogger(__name__)

KEY_ID_CHARACTERS = 8


def export_digest(key: str) -> bytes:
    """Return the digest by which gateways recognise a key: HMAC-SHA256 under EXPORT_KEY."""
    return hmac.digest(settings.EXPORT_KEY.encode(), key.encode(), sha256)


def export_key_id() -> str:
    """Return what tells EXPORT_KEY from others, and nothing of it."""
    label = b"id of the export key"
    return hmac.new(settings.EXPORT_KEY.encode(), label, sha256).hexdigest()[:KEY_ID_CHARACTERS]


def make_missing_digests(external_keys: Collection[int]) -> None:
    """Make the digests of these external keys, of their sealed values.

    A key without a sealed value, or with a damaged one, gets none.
    """
    key_id = export_key_id()
    digests = []
    for row in SealedValue.objects.filter(pk__in=external_keys, value__isnull=False).order_by("pk"):
        try:
            key = row.unseal("value")
        except CannotUnseal:
            logger.warning("The sealed value of external key %s is damaged.", row.pk)
            continue
        if key is not None:
            digests.append(
                ExportedDigest(external_key_id=row.pk, digest=export_digest(key), key_id=key_id)
            )
    ExportedDigest.objects.bulk_create(
        digests,
        update_conflicts=True,
        unique_fields=["external_key"],
        update_fields=["digest", "key_id"],
    )
