from typing import Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models

from revcred import tokens
from revcred.fingerprints import fingerprint, hint
from revcred.models import Gateway
from revcred.models.tokens import Token

PREFIX = "rvg_"
# Some of Revenium's clients send nothing with a key that does not begin like one of theirs.
FOREIGN_PREFIX = "hak_"


def generate_token() -> str:
    return FOREIGN_PREFIX + tokens.generate(PREFIX)


def is_well_formed(token: str) -> bool:
    return tokens.is_well_formed(token.removeprefix(FOREIGN_PREFIX), PREFIX)


def digest_of(token: str) -> UUID:
    """The same with and without the foreign prefix."""
    return fingerprint(token.removeprefix(FOREIGN_PREFIX), label="gateway token")


class GatewayTokenQuerySet(models.QuerySet["GatewayToken"]):
    def valid(self) -> Self:
        return self.filter(revoked_at=None, gateway__suspended_at=None)

    def of(self, token: str) -> Self:
        return self.filter(digest=digest_of(token))


class GatewayToken(Token):
    """What a gateway shows at the door."""

    class Scope(models.TextChoices):
        POST = "transactions:post", "Post transactions"
        READ = "receipts:read", "Read receipts"

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, blank=True, help_text="Where it is used.")
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)

    objects = GatewayTokenQuerySet.as_manager()

    class Meta(Token.Meta):
        abstract = False

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
