from datetime import datetime
from typing import Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from revcred import tokens
from revcred.fingerprints import fingerprint, hint
from revcred.models import Gateway

PREFIX = "rvg_"


def generate_token() -> str:
    return tokens.generate(PREFIX)


def is_well_formed(token: str) -> bool:
    return tokens.is_well_formed(token, PREFIX)


def digest_of(token: str) -> UUID:
    return fingerprint(token, label="gateway token")


class GatewayTokenQuerySet(models.QuerySet["GatewayToken"]):
    def valid(self) -> Self:
        return self.filter(revoked_at=None, gateway__suspended_at=None)

    def of(self, token: str) -> Self:
        return self.filter(digest=digest_of(token))


class GatewayToken(models.Model):
    """What a gateway shows at the door. Only its digest is kept; the token is shown once."""

    class Scope(models.TextChoices):
        POST = "transactions:post", "Post transactions"
        READ = "receipts:read", "Read receipts"

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, blank=True, help_text="Where it is used.")
    digest = models.UUIDField(unique=True, editable=False)
    hint = models.CharField(max_length=4, editable=False)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    objects = GatewayTokenQuerySet.as_manager()

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{PREFIX}…{self.hint}"

    @classmethod
    def issue(cls, gateway: Gateway, *, name: str, scopes: list[str]) -> tuple["GatewayToken", str]:
        """A new token of the gateway, and the only sight of it there will be."""
        token = generate_token()
        kept = cls.objects.create(
            gateway=gateway,
            name=name,
            digest=digest_of(token),
            hint=hint(token),
            scopes=scopes,
        )
        return kept, token

    def revoke(self, *, at: datetime) -> None:
        """Revoking a revoked token leaves the moment where it was."""
        if self.revoked_at is None:
            self.revoked_at = at
            self.save(update_fields=["revoked_at"])
