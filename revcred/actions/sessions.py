"""Actions that end sessions: by oneself, and by whoever may change the login."""

from django.db.transaction import atomic
from django.utils.translation import gettext_noop

from revcred.actions import users
from revcred.actions.token_revocation import revoke_all_tokens
from revcred.models import AuditEvent, AuditVerb, Session, User
from revcred.models.sessions import end_all_sessions


@atomic
def end_session(*, session: Session, user: User, by: User) -> None:
    """End one session of the user. Does nothing if it has ended already.

    Raises LoginRankTooHigh for that of an equal or of somebody above.
    """
    _check_own_or_below(user, by)
    deleted, _ = Session.objects.filter(pk=session.pk, user=user).delete()
    if not deleted:
        return
    details = {
        "browser": session.browser_in_words,
        "address": session.address,
        "since": session.created_at.isoformat(),
    }
    AuditEvent.objects.record(AuditVerb.SESSION_ENDED, target=user, by=by, details=details)


@atomic
def sign_out_everywhere(*, user: User, by: User) -> None:
    """End all sessions of the user, revoke all tokens, and forget known browsers.

    Raises LoginRankTooHigh for an equal or somebody above.
    """
    _check_own_or_below(user, by)
    end_all_sessions(user)
    AuditEvent.objects.record(AuditVerb.SIGNED_OUT_EVERYWHERE, target=user, by=by)
    revoke_all_tokens(
        user=user, by=by, because=gettext_noop("your login was signed out everywhere")
    )


def _check_own_or_below(user: User, by: User) -> None:
    if by.pk != user.pk:
        users.check_ranked_below(user=user, by=by)
