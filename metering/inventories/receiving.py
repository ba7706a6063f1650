"""Receive an inventory: begin it, keep its pages, end it.

A key becomes a fingerprint here and is kept nowhere. An inventory that was not ended is not used.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from django.db.transaction import atomic
from django.utils import timezone

from metering.models import InventoriedKey, KeyInventory
from metering.models.inventories import MAX_LABEL_CHARACTERS
from revcred.fingerprints import fingerprint, hint
from revcred.models import Gateway
from revcred.public_ids import public_id_fingerprint
from revcred.redaction import known_secrets, redact_text

MAX_KEYS_PER_PAGE = 1_000
MAX_PAGES = 500


class UnknownInventory(Exception):
    """The gateway has begun no such inventory, or has begun another one since."""


class InventoryEnded(Exception):
    """The inventory was ended, and takes no more pages."""


class PagesMissing(Exception):
    """Not all pages of the inventory have arrived."""

    def __init__(self, pages: list[int]) -> None:
        super().__init__(pages)
        self.pages = pages


@dataclass(frozen=True, kw_only=True)
class InventoryEntry:
    """A key that the gateway lets in, with its text: not to be kept or logged."""

    kind: InventoriedKey.Kind
    text: str
    is_enabled: bool = True
    created_at: datetime | None = None
    label: str = ""


def fingerprint_of_entry(kind: InventoriedKey.Kind, text: str) -> UUID:
    """Return the fingerprint by which an entry is found in the register."""
    if kind == InventoriedKey.Kind.DIGEST:
        return fingerprint_of_digest(text)
    # A public id is one only where the gateway put it: callers' keys are never ids.
    public_id = public_id_fingerprint(text) if kind == InventoriedKey.Kind.ALIAS else None
    return public_id or fingerprint(text)


def fingerprint_of_digest(digest: str) -> UUID:
    """Return the fingerprint of an exported digest of 64 hexadecimal digits.

    No key is needed, as nobody can guess what a digest was made of. It is hashed all the same: if a
    key was sent as a digest by mistake, it is not kept.
    """
    return UUID(sha256(digest.lower().encode()).hexdigest()[:32])


@atomic
def begin_inventory(*, gateway: Gateway, read_from: str) -> KeyInventory:
    """Begin an inventory. All earlier ones but the latest that was ended are deleted."""
    # Two agents that begin at once wait for each other; the later one's inventory stays.
    Gateway.objects.select_for_update(no_key=True).get(pk=gateway.pk)
    earlier = KeyInventory.objects.filter(gateway=gateway)
    latest = earlier.exclude(ended_at=None).order_by("-ended_at").values_list("pk", flat=True)[:1]
    superseded = list(earlier.exclude(pk__in=list(latest)).values_list("pk", flat=True))
    InventoriedKey.objects.filter(inventory__in=superseded).delete()
    earlier.filter(pk__in=superseded).delete()
    return KeyInventory.objects.create(gateway=gateway, read_from=read_from)


@atomic
def keep_page(
    *, gateway: Gateway, inventory: UUID, page: int, entries: Iterable[InventoryEntry]
) -> int:
    """Keep a page instead of what was sent as this page before, and return the number of its keys.

    Raises UnknownInventory, InventoryEnded.
    """
    kept = _locked_inventory(gateway, inventory)
    if kept.ended_at:
        raise InventoryEnded
    InventoriedKey.objects.filter(inventory=kept, page=page).delete()
    rows = [
        InventoriedKey(
            inventory=kept,
            page=page,
            kind=entry.kind,
            fingerprint=fingerprint_of_entry(entry.kind, entry.text),
            hint="" if entry.kind == InventoriedKey.Kind.DIGEST else hint(entry.text),
            is_enabled=entry.is_enabled,
            created_at=entry.created_at,
            label=_label_without_key(entry)[:MAX_LABEL_CHARACTERS],
        )
        for entry in entries
    ]
    InventoriedKey.objects.bulk_create(rows)
    kept.pages = sorted({*kept.pages, page})
    kept.save(update_fields=["pages"])
    return len(rows)


@atomic
def end_inventory(*, gateway: Gateway, inventory: UUID, pages: int) -> KeyInventory:
    """Let the inventory be used from now on, if its pages 0 to `pages` - 1 have arrived.

    Raises UnknownInventory, PagesMissing.
    """
    kept = _locked_inventory(gateway, inventory)
    if kept.ended_at:
        return kept
    if missing := sorted({*range(pages)} - {*kept.pages}):
        raise PagesMissing(missing)
    kept.entries.filter(page__gte=pages).delete()
    kept.keys, kept.ended_at = kept.entries.count(), timezone.now()
    kept.save(update_fields=["keys", "ended_at"])
    return kept


def latest_inventory(gateway: int) -> KeyInventory | None:
    """Return the gateway's inventory that was ended last, or None."""
    ended = KeyInventory.objects.filter(gateway=gateway).exclude(ended_at=None)
    return ended.order_by("-ended_at").first()


def _label_without_key(entry: InventoryEntry) -> str:
    """Return the label, in which whoever filled it in may have put the key."""
    if entry.kind == InventoriedKey.Kind.ALIAS:
        return redact_text(entry.label)
    if entry.text in entry.label:
        return ""
    return redact_text(entry.label, known_secrets(entry.text))


def _locked_inventory(gateway: Gateway, inventory: UUID) -> KeyInventory:
    found = KeyInventory.objects.select_for_update().filter(pk=inventory, gateway=gateway).first()
    if found is None:
        raise UnknownInventory
    return found
