"""Records of signing in and out, and of passwords.

Anybody can repeat a failing attempt, so at most one event a minute is written of each kind and
login. It says how many attempts it stands for. Addresses that nobody signs in with share one
counter.
"""

from datetime import timedelta

from django.db.transaction import atomic
from django.db.utils import IntegrityError
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, FailedSignIns, User

THROTTLED_EVENT_INTERVAL = timedelta(minutes=1)
UNKNOWN_LOGIN_NUMBER = 0  # counts all addresses that nobody signs in with
UNKNOWN_LOGIN_NAME = "an address that nobody signs in with"


@atomic
def record_login_event(*, verb: AuditVerb, user: User, address: str | None) -> None:
    """Record what somebody did with the own login. `address`: the client's IP address."""
    AuditEvent.objects.record(verb, target=user, by=user, address=address)


@atomic
def record_throttled_event(*, verb: AuditVerb, user: User | None, address: str | None) -> None:
    """Record what anybody can repeat, at most once a minute; count further attempts."""
    number = user.pk if user else UNKNOWN_LOGIN_NUMBER
    # The lock makes concurrent attempts count one by one, so that none gets lost.
    row = _lock_attempt_counter(verb, number)
    if row is None:
        _record_attempts(verb, user, address, attempts=1)
    elif timezone.now() - row.recorded_at < THROTTLED_EVENT_INTERVAL:
        row.unrecorded, row.address = row.unrecorded + 1, address
        row.save(update_fields=["unrecorded", "address"])
    else:
        _record_attempts(verb, user, address, attempts=row.unrecorded + 1)
        row.unrecorded, row.recorded_at, row.address = 0, timezone.now(), address
        row.save(update_fields=["unrecorded", "recorded_at", "address"])


def record_counted_attempts() -> None:
    """Record attempts that were counted and followed by no later one. The clock calls it."""
    before = timezone.now() - THROTTLED_EVENT_INTERVAL
    for number in FailedSignIns.objects.filter(recorded_at__lt=before).values_list("pk", flat=True):
        _record_counted(number)


@atomic
def _record_counted(number: int) -> None:
    # Skipped if a sign-in is using it: that one records the count itself.
    rows = FailedSignIns.objects.select_for_update(skip_locked=True)
    row = rows.filter(pk=number, recorded_at__lt=timezone.now() - THROTTLED_EVENT_INTERVAL).first()
    if row is None:
        return
    if row.unrecorded:
        user = User.objects.filter(pk=row.user_number).first()
        _record_attempts(AuditVerb(row.verb), user, row.address, attempts=row.unrecorded)
    row.delete()


def _lock_attempt_counter(verb: AuditVerb, number: int) -> FailedSignIns | None:
    """Return the counter of this kind and login, locked, or None after creating it."""
    rows = FailedSignIns.objects.select_for_update()
    row = rows.filter(verb=verb, user_number=number).first()
    if row is not None:
        return row
    try:
        with atomic():
            FailedSignIns.objects.create(verb=verb, user_number=number, recorded_at=timezone.now())
    except IntegrityError:  # another process was quicker
        return rows.filter(verb=verb, user_number=number).first()
    return None


def _record_attempts(
    verb: AuditVerb, user: User | None, address: str | None, *, attempts: int
) -> None:
    details = {"attempts": attempts} if attempts > 1 else {}
    # What was typed is not kept: it may be a password typed into the wrong field.
    target = user or User(email=UNKNOWN_LOGIN_NAME)
    AuditEvent.objects.record(verb, target=target, by=None, details=details, address=address)
