"""Alert about reveals: somebody who reveals many different keys does not stay unnoticed."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, Customer, User
from revcred.outbox import notify_owners, queue_mail

MANY_REVEALED_MAIL = "emails/many_revealed"


def alert_if_many_revealed(*, by: User, address: str | None) -> None:
    """Tell the person and the customers' owners that unusually many keys were revealed.

    At most once in REVEAL_ALERT_MINUTES, and in the transaction of the reveal that exceeded
    REVEAL_ALERT_KEYS. `address`: the client's IP address.
    """
    minutes = settings.REVEAL_ALERT_MINUTES
    since = timezone.now() - timedelta(minutes=minutes)
    recent_reveals = AuditEvent.objects.reveals().filter(actor_id=by.pk, at__gt=since)
    # A key seen twice is one key: the hint tells a rotated key from the one before.
    keys = {*recent_reveals.values_list("target_id", "details__hint")}
    if len(keys) <= settings.REVEAL_ALERT_KEYS:
        return
    # The event of the alert is also the memory of it, so no further table is needed.
    earlier_alerts = AuditEvent.objects.about(by).filter(verb=AuditVerb.MANY_REVEALED, at__gt=since)
    if earlier_alerts.exists():
        return
    details = {"keys": len(keys), "minutes": minutes}
    AuditEvent.objects.record(
        AuditVerb.MANY_REVEALED, target=by, by=by, details=details, address=address
    )
    context = {"person": by, "number": len(keys), "minutes": minutes}
    queue_mail(MANY_REVEALED_MAIL, by.email, context)
    credentials = {credential for credential, _ in keys}
    for customer in Customer.objects.filter(credentials__in=credentials).distinct():
        notify_owners(customer, MANY_REVEALED_MAIL, context, actor=by)
