"""Limit of reveals: nobody reveals many different keys in a short time, nor tries to unnoticed."""

from datetime import datetime, timedelta
from math import ceil

from django.conf import settings
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, Credential, Customer, ExternalKey, User
from revcred.outbox import notify_owners, queue_mail

MANY_REVEALED_MAIL = "emails/many_revealed"


def seconds_before_reveal(*, key: ExternalKey, by: User, address: str | None) -> int:
    """Return how long the person has to wait before this key may be revealed: mostly 0.

    A person reveals REVEAL_LIMIT_KEYS different keys in REVEAL_LIMIT_MINUTES. The first one more
    is told to the person and the customers' owners, in the caller's transaction, which has locked
    the person's login. `address`: the client's IP address.
    """
    window = timedelta(minutes=settings.REVEAL_LIMIT_MINUTES)
    now = timezone.now()
    latest_reveals = _latest_reveals(by, since=now - window)
    # A key seen again is no other one: the hint tells a rotated key from the one before.
    wanted = (key.credential_id, key.hint)
    if wanted in latest_reveals or len(latest_reveals) < settings.REVEAL_LIMIT_KEYS:
        return 0
    _alert_once(key.credential, {number for number, _ in latest_reveals}, by, address)
    ends = min(latest_reveals.values(), default=now) + window
    return max(ceil((ends - now).total_seconds()), 1)


def _latest_reveals(by: User, *, since: datetime) -> dict[tuple[int, str], datetime]:
    """Return when the person last revealed each key, by the credential's number and the hint."""
    recent_reveals = AuditEvent.objects.reveals().filter(actor_id=by.pk, at__gt=since)
    rows = recent_reveals.order_by("at").values_list("target_id", "details__hint", "at")
    return {(number, hint): at for number, hint, at in rows if number is not None}


def _alert_once(credential: Credential, revealed: set[int], by: User, address: str | None) -> None:
    """Record that the limit was reached, and tell of it, at most once in REVEAL_LIMIT_MINUTES."""
    minutes = settings.REVEAL_LIMIT_MINUTES
    since = timezone.now() - timedelta(minutes=minutes)
    # The event of the alert is also the memory of it, so no further table is needed.
    earlier_alerts = AuditEvent.objects.about(by).filter(verb=AuditVerb.MANY_REVEALED, at__gt=since)
    if earlier_alerts.exists():
        return
    details = {"keys": settings.REVEAL_LIMIT_KEYS, "minutes": minutes}
    AuditEvent.objects.record(
        AuditVerb.MANY_REVEALED, target=by, by=by, details=details, address=address
    )
    context = {"person": by, "number": settings.REVEAL_LIMIT_KEYS, "minutes": minutes}
    queue_mail(MANY_REVEALED_MAIL, by.email, context)
    credentials = {credential.pk, *revealed}
    for customer in Customer.objects.filter(credentials__in=credentials).distinct():
        notify_owners(customer, MANY_REVEALED_MAIL, context, actor=by)
