"""Inventories: lists of the keys that a gateway lets in, as its agent sent them."""

from uuid import uuid4

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from revcred.models import Gateway

MAX_LABEL_CHARACTERS = 100


class KeyInventory(models.Model):
    """A list of the keys that a gateway lets in. It is used once it has been ended."""

    id = models.UUIDField(primary_key=True, default=uuid4, editable=False)
    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="+")
    read_from = models.CharField(max_length=50, help_text="Such as haproxy.")
    began_at = models.DateTimeField(default=timezone.now)
    ended_at = models.DateTimeField(null=True)
    # Also those of which every entry was rejected.
    pages = ArrayField(models.IntegerField(), default=list)
    keys = models.PositiveIntegerField(default=0, help_text="Counted when it ended.")

    class Meta:
        default_permissions = ()
        constraints = (
            # Beginning another one ends it, so that one gateway's lists take up no more than two.
            models.UniqueConstraint(
                fields=["gateway"],
                condition=Q(ended_at=None),
                name="keyinventory_one_in_progress",
            ),
        )

    def __str__(self) -> str:
        return f"{self.read_from} at {self.gateway}"


class InventoriedKey(models.Model):
    """An entry of an inventory. The key itself is kept nowhere."""

    class Kind(models.TextChoices):
        KEY = "key", "What callers send"
        DIGEST = "digest", "A digest of it, as a snapshot has it"
        ALIAS = "alias", "An id that the gateway logs instead"

    inventory = models.ForeignKey(
        KeyInventory, models.CASCADE, related_name="entries", db_index=False
    )
    page = models.IntegerField()
    kind = models.CharField(max_length=6, choices=Kind)
    # As in metering; of a digest see `metering.inventories.receiving`.
    fingerprint = models.UUIDField()
    hint = models.CharField(max_length=4, blank=True)
    is_enabled = models.BooleanField()
    created_at = models.DateTimeField(null=True)
    label = models.CharField(max_length=MAX_LABEL_CHARACTERS, blank=True)

    class Meta:
        default_permissions = ()
        indexes = (
            models.Index(fields=["inventory", "page"], name="inventoriedkey_by_page"),
            # For equal keys at other gateways, and for the exchange of the key of fingerprints.
            models.Index(fields=["fingerprint"], name="inventoriedkey_by_fingerprint"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} …{self.hint}"
