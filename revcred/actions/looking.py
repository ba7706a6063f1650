"""Actions of staff who look at the storefront as a subscriber does. Both are on record."""

from datetime import datetime

from django.db.transaction import atomic

from revcred.models import AuditEvent, AuditVerb, Subscriber, User

LOOK_RIGHT = "revcred.look_as_subscriber"


class NotAllowedToLook(Exception):
    """The user is no member of staff, or has no right to look as a subscriber."""


class NobodySignsIn(Exception):
    """The subscriber has no login, or one that is off: there is nothing to look at."""


@atomic
def begin_look(*, subscriber: Subscriber, by: User, until: datetime) -> User:
    """Record that staff begins to look as the subscriber, and return the subscriber's login.

    Raises NotAllowedToLook, NobodySignsIn.
    """
    if not (by.is_staff and by.has_perm(LOOK_RIGHT)):
        raise NotAllowedToLook
    login = subscriber.user
    if login is None or not login.is_active or login.is_staff:
        raise NobodySignsIn
    details = {"until": until.isoformat()}
    AuditEvent.objects.record(AuditVerb.LOOK_BEGAN, target=subscriber, by=by, details=details)
    return login


@atomic
def end_look(*, subscriber: Subscriber, by: User) -> None:
    """Record that staff looks as the subscriber no longer."""
    AuditEvent.objects.record(AuditVerb.LOOK_ENDED, target=subscriber, by=by)
