"""Erasures whose last part, the stored calls, is still to be done."""

from typing import Any

import msgspec
from django.db import models
from django.utils import timezone

from revcred.crypto import SealedTextField, bind_to_place, unbind_from_place
from revcred.models.customers import Subscriber
from revcred.models.users import User


class PendingErasure(models.Model):
    """Texts of an erased person that are still looked for in stored calls.

    They are sealed, and go with the row once all stored calls have been read.
    """

    subscriber = models.ForeignKey(
        Subscriber, on_delete=models.PROTECT, null=True, related_name="+"
    )
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, related_name="+")
    requested_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    texts: "models.Field[str | None, str | None]" = SealedTextField(null=True, editable=False)
    calls = models.PositiveBigIntegerField(default=0, editable=False)  # changed until now
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("pk",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"Erasure #{self.pk}"

    @property
    def target(self) -> Subscriber | User:
        """The row that events on the person are about."""
        found = self.subscriber or self.user
        if found is None:
            message = "An erasure is of a subscriber, a login, or both."
            raise ValueError(message)
        return found

    def seal(self, texts: Any) -> None:
        """Set the texts, as JSON. The row needs its number first, which the sealed text names."""
        self.texts = bind_to_place(msgspec.json.encode(texts).decode(), to=self._place)

    def unseal(self) -> str:
        """Return the texts as JSON. Raises CannotUnseal."""
        return unbind_from_place(self.texts or "", to=self._place)

    @property
    def _place(self) -> str:
        return f"revcred.pendingerasure.texts:{self.pk}"
