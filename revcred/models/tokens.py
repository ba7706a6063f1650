"""Tokens by which programs are known, kept as digests only."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import ClassVar, Self
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from revcred import tokens
from revcred.fingerprints import fingerprint, hint, possible_fingerprints
from revcred.models.users import User
from revcred.texts import gettext_lazy

# Starts every user token, so that scanners of leaked secrets recognise it.
USER_TOKEN_PREFIX = "rvu_"  # noqa: S105 - begins a token
USER_TOKEN_LABEL = "user token"  # noqa: S105 - names a kind of fingerprint
LAST_USED_INTERVAL = timedelta(minutes=1)


def user_token_digest(token: str) -> UUID:
    """Return the digest under which a user's token is kept."""
    return fingerprint(token, label=USER_TOKEN_LABEL)


class TokenModel(models.Model):
    """A token of a program. Its plaintext is shown once and never kept."""

    # A keyed fingerprint: whoever reads the table cannot use it as token, nor test guesses.
    digest = models.UUIDField(unique=True, editable=False)
    hint = models.CharField(max_length=4, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)
    last_used_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        abstract = True
        ordering = ("-pk",)

    def revoke(self, *, at: datetime) -> None:
        """Revoke the token. A revoked one keeps its moment."""
        if self.revoked_at is None:
            self.revoked_at = at
            self.save(update_fields=["revoked_at"])

    def stamp(self) -> None:
        """Record that the token was used just now, to the minute, to save writes."""
        # One conditional UPDATE by the database's clock: no read, and no write for most uses.
        stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - LAST_USED_INTERVAL)
        type(self)._base_manager.filter(stale, pk=self.pk).update(last_used_at=Now())


class UserTokenQuerySet(models.QuerySet["UserToken"]):
    def valid(self) -> Self:
        """Return the tokens that may be used, whose user is active staff."""
        unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
        return self.filter(unexpired, revoked_at=None, user__is_active=True, user__is_staff=True)

    def of(self, token: str) -> Self:
        """Return the row of a token; nothing, without a query, for a text of another shape."""
        # A wrong checksum is a typo or a guess: answer without a query.
        known = tokens.is_well_formed_token(token, USER_TOKEN_PREFIX)
        digests = possible_fingerprints(token, label=USER_TOKEN_LABEL)
        return self.filter(digest__in=digests) if known else self.none()


class UserToken(TokenModel):
    """A token of a script, which may do what its user may, within its scopes."""

    class Scope(models.TextChoices):
        CHECK = "uploads:check", gettext_lazy("Upload lists, and see what they would do")
        APPLY = "uploads:apply", gettext_lazy("Apply, cancel and undo uploads")

    # The right that the user of a token needs for each scope.
    RIGHTS_BY_SCOPE: ClassVar[Mapping[str, str]] = {
        Scope.CHECK: "revcred.add_upload",
        Scope.APPLY: "revcred.apply_upload",
    }

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100, help_text=gettext_lazy("Where it is used."))
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)
    expires_at = models.DateTimeField(null=True)

    objects = UserTokenQuerySet.as_manager()

    class Meta(TokenModel.Meta):
        abstract = False
        verbose_name = gettext_lazy("token")
        default_permissions = ("add", "change", "view")

    def __str__(self) -> str:
        return f"{USER_TOKEN_PREFIX}…{self.hint}"

    def required_rights(self) -> list[str]:
        """Return the rights that its user needs for all of its scopes."""
        return [self.RIGHTS_BY_SCOPE[scope] for scope in self.scopes]

    @classmethod
    def issue(
        cls, user: User, *, name: str, scopes: list[str], expires_at: datetime | None = None
    ) -> tuple["UserToken", str]:
        """Create a token. Returns its record and its plaintext, which is never shown again."""
        plaintext = tokens.generate_token(USER_TOKEN_PREFIX)
        record = cls.objects.create(
            user=user,
            name=name,
            digest=user_token_digest(plaintext),
            hint=hint(plaintext),
            scopes=scopes,
            expires_at=expires_at,
        )
        return record, plaintext
