"""Contain a leak: end the keys that were found, and tell the people who hold them."""

from collections.abc import Iterable
from datetime import timedelta

from django.db.transaction import atomic
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import AuditEvent, AuditVerb, Credential, ExternalKey, User
from revcred.outbox import queue_mail


@atomic
def contain_leak(
    *, keys: Iterable[ExternalKey], is_suspended: bool, where: str, by: User
) -> list[Credential]:
    """End these keys at once, rotate their credentials, and tell the holders by mail.

    `is_suspended`: suspend the credentials, too, until somebody resumes them. `where`: where the
    keys were found, for the record and the mail. Keys that ended already stay as they are.

    Raises CredentialRevoked.
    """
    now = timezone.now()
    leaked: dict[Credential, list[ExternalKey]] = {}
    for key in keys:
        if key.outlasts(now):
            leaked.setdefault(key.credential, []).append(key)
    for credential, its_keys in leaked.items():
        if is_suspended:
            credentials.suspend_credential(credential=credential, by=by)
        # A rotation ends keys; an alias names the application, and has to be ended by itself.
        for key in its_keys:
            if key.kind == ExternalKey.Kind.ALIAS:
                credentials.end_key(key=key, by=by, at=now)
        if any(key.kind == ExternalKey.Kind.KEY for key in its_keys):
            credentials.rotate_credential(credential=credential, overlap=timedelta(0), by=by)
        told = [holder.email for holder in credential.holders.all()]
        for email in told:
            queue_mail(
                "emails/key_leaked",
                email,
                {
                    "credential": credential,
                    "hints": [key.hint for key in its_keys],
                    "is_suspended": is_suspended,
                    "where": where,
                },
            )
        details = {
            "keys": [str(key) for key in its_keys],
            "where": where,
            "suspended": is_suspended,
            "told": len(told),
        }
        AuditEvent.objects.record(
            AuditVerb.LEAK_CONTAINED, target=credential, by=by, details=details
        )
    return list(leaked)
