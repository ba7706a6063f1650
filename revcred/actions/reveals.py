"""The watch over reveals: many different keys by one person do not stay unnoticed."""

from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from revcred.models import AuditEvent, AuditVerb, Customer, User
from revcred.outbox import notify_owners, queue_mail

MANY_REVEALED_MAIL = "emails/many_revealed"


def alert_if_many_revealed(*, by: User, address: str | None) -> None:
    """Tell the person and the owners of the customers once more keys were revealed than usual.

    Once per window of REVEAL_ALERT_MINUTES, in the transaction of the reveal that was too many.
    """
    minutes = settings.REVEAL_ALERT_MINUTES
    since = timezone.now() - timedelta(minutes=minutes)
    lately = AuditEvent.objects.reveals().filter(actor_id=by.pk, at__gt=since)
    keys = {*lately.values_list("target_id", "details__hint")}
    if len(keys) <= settings.REVEAL_ALERT_KEYS:
        return
    told = AuditEvent.objects.about(by).filter(verb=AuditVerb.MANY_REVEALED, at__gt=since)
    if told.exists():
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
