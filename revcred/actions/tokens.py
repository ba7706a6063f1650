"""Actions on the tokens of users' scripts."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import users
from revcred.models import AuditEvent, AuditVerb, User, UserToken
from revcred.outbox import queue_mail


@atomic
def issue_user_token(
    *,
    user: User,
    name: str,
    scopes: Iterable[str],
    by: User,
    expires_at: datetime | None = None,
) -> tuple[UserToken, str]:
    """Issue a token, and tell its user by mail.

    Returns its record and its plaintext, which is never shown again.
    """
    record, plaintext = UserToken.issue(user, name=name, scopes=list(scopes), expires_at=expires_at)
    details: dict[str, Any] = {
        "token": str(record),
        "name": name,
        "scopes": list(record.scopes),
    }
    if expires_at is not None:
        details["expires at"] = expires_at.isoformat()
    queue_mail("emails/token_issued", user.email, {"user": user, "token": record})
    AuditEvent.objects.record(AuditVerb.TOKEN_ISSUED, target=user, by=by, details=details)
    return record, plaintext


@atomic
def revoke_user_token(*, token: UserToken, by: User) -> None:
    """Reject the token from now on. Does nothing if it is revoked already.

    Raises LoginRankTooHigh for the token of an equal or of somebody above.
    """
    if by.pk != token.user_id:
        users.check_ranked_below(user=token.user, by=by)
    if token.revoked_at:
        return
    token.revoke(at=timezone.now())
    details = {"token": str(token), "name": token.name}
    AuditEvent.objects.record(AuditVerb.TOKEN_REVOKED, target=token.user, by=by, details=details)
