"""Revoke the tokens of somebody's scripts because of what became of their login."""

from collections.abc import Collection

from django.db.transaction import atomic
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, User, UserToken
from revcred.outbox import queue_mail


@atomic
def revoke_all_tokens(*, user: User, by: User | None, because: str) -> None:
    """Revoke every token of the user, each on record, and tell the user by mail.

    `because` is the end of a sentence, such as "the second factor was reset".
    """
    _revoke(user, list(_open_tokens(user)), by, because)


@atomic
def revoke_unusable_tokens(*, user: User, by: User | None, because: str) -> None:
    """Revoke the tokens that may no longer do all they say, because their user may not."""
    tokens = [token for token in _open_tokens(user) if not user.has_perms(token.required_rights())]
    _revoke(user, tokens, by, because)


def _open_tokens(user: User) -> Collection[UserToken]:
    return UserToken.objects.filter(user=user, revoked_at=None).select_for_update(no_key=True)


def _revoke(user: User, tokens: list[UserToken], by: User | None, because: str) -> None:
    if not tokens:
        return
    for token in tokens:
        token.revoke(at=timezone.now())
        details = {"token": str(token), "name": token.name, "because": because}
        AuditEvent.objects.record(AuditVerb.TOKEN_REVOKED, target=user, by=by, details=details)
    context = {"user": user, "tokens": tokens, "because": because, "by": by}
    queue_mail("emails/tokens_revoked", user.email, context)
