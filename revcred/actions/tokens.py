"""Actions on the tokens of users' scripts."""

from collections.abc import Iterable

from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import users
from revcred.models import AuditEvent, AuditVerb, User, UserToken


@atomic
def issue_user_token(
    *, user: User, name: str, scopes: Iterable[str], by: User
) -> tuple[UserToken, str]:
    """Issue a token. Returns its record and its plaintext, which is never shown again."""
    record, plaintext = UserToken.issue(user, name=name, scopes=list(scopes))
    details = {"token": str(record), "name": name, "scopes": list(record.scopes)}
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
