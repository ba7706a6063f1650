"""Key pairs by which claims for backends are signed."""

from datetime import datetime
from typing import Self

from django.db import models
from django.db.models import Q
from django.utils import timezone

from revcred.crypto import SealedTextField, bind_to_place, unbind_from_place


class SigningKeyQuerySet(models.QuerySet["SigningKey"]):
    def published(self, moment: datetime) -> Self:
        """Keep keys by which claims may still be checked, those that sign later among them."""
        return self.filter(Q(published_until=None) | Q(published_until__gt=moment))


class SigningKey(models.Model):
    """An Ed25519 key pair. The private key is sealed, each in its own row.

    Of several the newest whose `signs_from` has come signs. All are published until
    `published_until`, so that backends know a key before it signs, and after.
    """

    key_id = models.CharField(max_length=43, unique=True)  # RFC 7638, the thumbprint
    public = models.CharField(max_length=43)  # `x` of RFC 8037
    private: "models.Field[str, str]" = SealedTextField(editable=False)
    signs_from = models.DateTimeField()
    published_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = SigningKeyQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ("-signs_from", "-pk")

    def __str__(self) -> str:
        return self.key_id

    def seal(self, private: str) -> None:
        """Set the private key, `d` of RFC 8037, bound to this row."""
        self.private = bind_to_place(private, to=self._place)

    def unseal(self) -> str:
        """Return the private key. Raises CannotUnseal."""
        return unbind_from_place(self.private, to=self._place)

    @property
    def _place(self) -> str:
        return f"revcred.signingkey.private:{self.key_id}"
