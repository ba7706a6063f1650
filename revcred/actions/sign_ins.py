"""Records of signing in and out, and of passwords.

Anybody can repeat a failing attempt, so at most one event a minute is written of each kind and
login, and so many an hour in all. It says how many attempts it stands for. Addresses that nobody
signs in with share one counter.
"""

from datetime import timedelta

from django.conf import settings
from django.db import connection
from django.db.transaction import atomic
from django.db.utils import IntegrityError
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, FailedSignIns, User

THROTTLED_EVENT_INTERVAL = timedelta(minutes=1)
UNKNOWN_LOGIN_NUMBER = 0  # counts all addresses that nobody signs in with
UNKNOWN_LOGIN_NAME = "an address that nobody signs in with"

# What anybody can repeat.
THROTTLED_VERBS = (
    AuditVerb.SIGN_IN_FAILED,
    AuditVerb.SIGN_IN_LIMITED,
    AuditVerb.RESET_ASKED,
    AuditVerb.RESET_LIMITED,
    AuditVerb.CODE_ASKED,
    AuditVerb.CODE_LIMITED,
    AuditVerb.FACTOR_FAILED,
    AuditVerb.FACTOR_LIMITED,
)
# Of the latest events, since no index has their moments.
COUNT_THROTTLED_EVENTS = """
SELECT count(*) FROM (
    SELECT at, verb FROM revcred_auditevent ORDER BY id DESC LIMIT 5 * %(most)s
) latest WHERE at > %(since)s AND verb = ANY (%(verbs)s)
"""


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
    row.unrecorded, row.address = row.unrecorded + 1, address
    if timezone.now() - row.recorded_at >= THROTTLED_EVENT_INTERVAL and _is_room_for_events():
        _record_attempts(verb, user, address, attempts=row.unrecorded)
        row.unrecorded, row.recorded_at = 0, timezone.now()
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
        if not _is_room_for_events():
            return
        user = User.objects.filter(pk=row.user_number).first()
        _record_attempts(AuditVerb(row.verb), user, row.address, attempts=row.unrecorded)
    row.delete()


def _is_room_for_events() -> bool:
    """Return False if the events of the last hour are as many as may be written."""
    arguments = {
        "most": settings.MAX_ATTEMPT_EVENTS_PER_HOUR,
        "since": timezone.now() - timedelta(hours=1),
        "verbs": [str(verb) for verb in THROTTLED_VERBS],
    }
    with connection.cursor() as cursor:
        cursor.execute(COUNT_THROTTLED_EVENTS, arguments)
        return bool(cursor.fetchone()[0] < settings.MAX_ATTEMPT_EVENTS_PER_HOUR)


def _lock_attempt_counter(verb: AuditVerb, number: int) -> FailedSignIns:
    """Return the counter of this kind and login, locked. A new one may be recorded at once."""
    rows = FailedSignIns.objects.select_for_update().filter(verb=verb, user_number=number)
    row = rows.first()
    if row is not None:
        return row
    try:
        with atomic():
            return FailedSignIns.objects.create(
                verb=verb,
                user_number=number,
                recorded_at=timezone.now() - THROTTLED_EVENT_INTERVAL,
            )
    except IntegrityError:  # another process was quicker
        return rows.get()


def _record_attempts(
    verb: AuditVerb, user: User | None, address: str | None, *, attempts: int
) -> None:
    details = {"attempts": attempts} if attempts > 1 else {}
    # What was typed is not kept: it may be a password typed into the wrong field.
    target = user or User(email=UNKNOWN_LOGIN_NAME)
    AuditEvent.objects.record(verb, target=target, by=None, details=details, address=address)
