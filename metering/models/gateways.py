from typing import Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models

from revcred import tokens
from revcred.fingerprints import fingerprint, hint, possible_fingerprints
from revcred.models import Gateway
from revcred.models.tokens import TokenModel

GATEWAY_TOKEN_PREFIX = "rvg_"  # noqa: S105 - begins a token
GATEWAY_TOKEN_LABEL = "gateway token"  # noqa: S105 - names a kind of fingerprint
# Some clients of Revenium send nothing unless their key begins like one of Revenium's.
REVENIUM_TOKEN_PREFIX = "hak_"  # noqa: S105 - begins a token


def generate_gateway_token() -> str:
    return REVENIUM_TOKEN_PREFIX + tokens.generate_token(GATEWAY_TOKEN_PREFIX)


def is_well_formed_gateway_token(token: str) -> bool:
    return tokens.is_well_formed_token(
        token.removeprefix(REVENIUM_TOKEN_PREFIX), GATEWAY_TOKEN_PREFIX
    )


def gateway_token_digest(token: str) -> UUID:
    """Return the digest by which a token is found, with or without REVENIUM_TOKEN_PREFIX."""
    return fingerprint(token.removeprefix(REVENIUM_TOKEN_PREFIX), label=GATEWAY_TOKEN_LABEL)


def possible_gateway_token_digests(token: str) -> tuple[UUID, ...]:
    """Return the digests under which a token may be kept: several while the key is exchanged."""
    return possible_fingerprints(
        token.removeprefix(REVENIUM_TOKEN_PREFIX), label=GATEWAY_TOKEN_LABEL
    )


class GatewayTokenQuerySet(models.QuerySet["GatewayToken"]):
    def valid(self) -> Self:
        return self.filter(revoked_at=None, gateway__suspended_at=None)

    def of(self, token: str) -> Self:
        return self.filter(digest__in=possible_gateway_token_digests(token))


class GatewayToken(TokenModel):
    """A bearer token that authenticates a gateway at the doors. Only its digest is stored."""

    class Scope(models.TextChoices):
        POST = "transactions:post", "Post transactions"
        READ = "receipts:read", "Read receipts"
        CHECK = "calls:check", "Ask whether a call may be let through"
        VOUCH = "calls:vouch", "Ask so by an id or a subscription that the gateway vouches for"
        INVENTORY = "keys:inventory", "Send lists of the keys that the gateway lets in"
        DIGESTS = "keys:read", "Read digests of the keys that are valid"

    gateway = models.ForeignKey(Gateway, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, blank=True, help_text="Where it is used.")
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)
    # Nothing that a post says can make its calls a test: only the token that it came with.
    is_test = models.BooleanField(
        "test token",
        default=False,
        db_default=False,
        help_text="Calls posted with it are judged and shown for a week, and never counted.",
    )

    objects = GatewayTokenQuerySet.as_manager()

    class Meta(TokenModel.Meta):
        abstract = False

    def __str__(self) -> str:
        return f"{GATEWAY_TOKEN_PREFIX}…{self.hint}{' (test)' if self.is_test else ''}"

    @classmethod
    def issue(
        cls, gateway: Gateway, *, name: str, scopes: list[str], is_test: bool = False
    ) -> tuple["GatewayToken", str]:
        """Create a token, and return its record and its plain text, which is stored nowhere."""
        plaintext = generate_gateway_token()
        record = cls.objects.create(
            gateway=gateway,
            name=name,
            digest=gateway_token_digest(plaintext),
            hint=hint(plaintext),
            scopes=scopes,
            is_test=is_test,
        )
        return record, plaintext
