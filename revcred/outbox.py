"""The outbox: every mail is first a row, in the transaction of what it tells about.

A worker sends what waits, and `manage.py clock` sends what no worker was told of. So no request
waits for the mail server, nothing fails while it is unavailable, and no mail tells of something
that was rolled back. A mail is sent at least once.
"""

import logging
import smtplib
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db import connections
from django.db.models.functions import Now
from django.db.transaction import atomic, on_commit
from django.template import Context
from django.template.loader import get_template
from django.utils import timezone, translation

from revcred.appearance import appearance_cache
from revcred.languages import mail_languages
from revcred.models import Customer, Membership, OutgoingMail, Subscriber, User
from revcred.runtime.bell import Bell

logger = logging.getLogger(__name__)

FIRST_RETRY_DELAY = timedelta(minutes=1)  # also how long an attempt belongs to one process
MAX_RETRY_DELAY = timedelta(minutes=15)
MAIL_LIFETIME = timedelta(days=3)  # like the links in mails
MAILS_PER_STATEMENT = 1_000
COPY_MAILS = f"""
COPY {OutgoingMail._meta.db_table}
(id, recipient, subject, body, created_at, next_try_at, attempts, last_error) FROM STDIN
"""
MAX_SECONDS_PER_RUN = 30.0  # below the time limit of a task

mail_bell = Bell("revcred.send_mail")


def queue_mail(template_prefix: str, recipient: str, context: Mapping[str, Any]) -> OutgoingMail:
    """Render `<prefix>_subject.txt` and `<prefix>_message.txt`, and put the mail into the outbox.

    The row belongs to the caller's transaction. Templates are plain text without escaping, and know
    `email`, `site` and `installation` besides the context. They are rendered in the recipient's
    language: values of the context that are words have to be lazy, or functions.
    """
    [language] = mail_languages([recipient.lower()]).values()
    template_context = {"email": recipient} | _common_context() | {**context}
    subject_template, message_template = _get_templates(template_prefix)
    subject = _one_line(_render_text(subject_template, template_context, language))
    with atomic():
        mail = OutgoingMail.objects.create(
            recipient=recipient, subject=subject[:300], next_try_at=Now()
        )
        # Needs the id, so the row is inserted before its text.
        message = _render_text(message_template, template_context, language)
        mail.seal(message.strip() + "\n")
        mail.save(update_fields=["body"])
        on_commit(mail_bell.ring)
    return mail


def queue_mails(template_prefix: str, mails: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
    """Queue one mail for each pair of recipient and context, and return how many.

    They are written with COPY, MAILS_PER_STATEMENT at a time.
    """
    templates = _get_templates(template_prefix)
    body: Any = OutgoingMail._meta.get_field("body")
    common, now, queued = _common_context(), timezone.now(), 0
    mails = iter(mails)
    with atomic(), connections["default"].cursor() as cursor:
        while some := list(islice(mails, MAILS_PER_STATEMENT)):
            numbers = _reserve_mail_ids(cursor, len(some))
            languages = mail_languages(recipient.lower() for recipient, _ in some)
            with cursor.copy(COPY_MAILS) as copy:
                for number, (recipient, context) in zip(numbers, some, strict=True):
                    template_context = {"email": recipient} | common | {**context}
                    language = languages[recipient.lower()]
                    subject, message = (
                        _render_text(template, template_context, language) for template in templates
                    )
                    mail = OutgoingMail(pk=number)
                    mail.seal(message.strip() + "\n")
                    sealed = body.seal(mail.body or "")
                    row = [number, recipient, _one_line(subject)[:300], sealed, now, now, 0, ""]
                    copy.write_row(row)
            queued += len(some)
        if queued:
            on_commit(mail_bell.ring)
    return queued


def _reserve_mail_ids(cursor: Any, count: int) -> list[int]:
    """Return ids for rows that are written next: a sealed text names its row."""
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
        [OutgoingMail._meta.db_table, count],
    )
    return [number for (number,) in cursor.fetchall()]


def notify_owners(
    customer: Customer,
    template_prefix: str,
    context: Mapping[str, Any],
    *,
    actor: User | None = None,
) -> int:
    """Queue a mail to all owners of the customer who can sign in, except the actor.

    Returns how many. The templates also know `customer` and `owner`, a subscriber.
    """
    owners = Subscriber.objects.filter(
        memberships__customer=customer,
        memberships__role=Membership.Role.OWNER,
        user__is_active=True,
    ).select_related("user")
    told = 0
    for owner in owners:
        user = owner.user
        # Whoever did it need not be told.
        if user is None or (actor is not None and user.pk == actor.pk):
            continue
        queue_mail(template_prefix, user.email, {"customer": customer, "owner": owner, **context})
        told += 1
    return told


def absolute_url(path: str) -> str:
    """Return the URL for a mail. It begins with PUBLIC_URL: a request's `Host` may be anything."""
    return f"{settings.PUBLIC_URL}{path}"


def _common_context() -> dict[str, str]:
    """Return the name and the host by which mails call this installation."""
    return {
        "installation": appearance_cache.get().shown_name,
        "site": str(settings.PUBLIC_URL).partition("://")[2],
    }


def _get_templates(prefix: str) -> list[Any]:
    return [get_template(f"{prefix}_{part}.txt") for part in ("subject", "message")]


def _one_line(subject: str) -> str:
    # A line break in a subject could start another header.
    return " ".join(subject.split())


def _render_text(template: Any, context: Mapping[str, Any], language: str) -> str:
    # Whoever reads a mail may be in another zone than whoever causes it, or speak another language.
    with timezone.override(UTC), translation.override(language):
        return str(template.template.render(Context({**context}, autoescape=False)))


def send_waiting_mail() -> int:
    """Send the mails that are due, oldest first, and return how many were sent.

    Several processes may do so at once. A process that dies leaves its mail to the next attempt.
    """
    # The rest is left to the next run, before the task's time limit kills this one.
    stop_at = time.monotonic() + MAX_SECONDS_PER_RUN
    _give_up_old_mails()
    sent = 0
    connection: BaseEmailBackend | None = None
    try:
        while time.monotonic() < stop_at and (mail := _take_due_mail()):
            connection = connection or get_connection()
            try:
                _deliver_mail(mail, connection)
            except Exception as error:  # noqa: BLE001 - whatever a mail server or backend raises
                _record_mail_failure(mail, error)
                if _is_mail_server_unavailable(error):
                    break  # the others would only wait for it as well
                _close_connection(connection)
                connection = None
            else:
                sent += 1
    finally:
        _close_connection(connection)
    return sent


def prune_sent_mail() -> None:
    """Delete rows of mails that left the outbox more than SENT_MAIL_DAYS ago."""
    before = timezone.now() - timedelta(days=settings.SENT_MAIL_DAYS)
    OutgoingMail.objects.filter(next_try_at=None, created_at__lt=before).delete()


@atomic
def _take_due_mail() -> OutgoingMail | None:
    """Take the mail that has been due longest. The attempt is committed before it is made."""
    due = OutgoingMail.objects.waiting().filter(next_try_at__lte=Now())
    # Other processes pass over a mail that is being taken, instead of waiting for it.
    mail = due.select_for_update(skip_locked=True).order_by("next_try_at").first()
    if mail is None:
        return None
    # Doubles from attempt to attempt, up to MAX_RETRY_DELAY.
    pause = min(FIRST_RETRY_DELAY * 2 ** min(mail.attempts, 10), MAX_RETRY_DELAY)
    mail.attempts += 1
    mail.next_try_at = Now() + pause
    mail.save(update_fields=["attempts", "next_try_at"])
    return mail


def _deliver_mail(mail: OutgoingMail, connection: BaseEmailBackend) -> None:
    """Hand the mail to the mail server, then wipe its text."""
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].strip("> ") or "localhost"
    message = EmailMessage(
        mail.subject,
        mail.unseal() or "",
        to=[mail.recipient],
        connection=connection,
        # The same at each attempt, so that mail programs tell a repetition.
        headers={"Message-ID": f"<{mail.pk}.{mail.created_at.timestamp()}@{domain}>"},
    )
    connection.open()
    message.send()
    # Where people try revcred out, mails go nowhere else: the administration shows their texts.
    wiped: dict[str, Any] = {"body": None} if settings.PRODUCTION else {}
    OutgoingMail.objects.filter(pk=mail.pk).update(
        sent_at=Now(), next_try_at=None, last_error="", **wiped
    )


def _record_mail_failure(mail: OutgoingMail, error: Exception) -> None:
    """Keep the class of the error only: its text may repeat what the mail server was told."""
    name = type(error).__name__
    logger.warning("Mail %s was not sent, attempt %s: %s", mail.pk, mail.attempts, name)
    OutgoingMail.objects.filter(pk=mail.pk, sent_at=None).update(last_error=name[:100])


def _is_mail_server_unavailable(error: Exception) -> bool:
    """Return True if further mails would fail, too, and False for a problem of this mail."""
    if isinstance(error, smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError):
        return False  # of this mail alone
    return isinstance(error, OSError)  # as all of smtplib's are


def _close_connection(connection: BaseEmailBackend | None) -> None:
    if connection is None:
        return
    try:
        connection.close()
    except Exception as error:  # noqa: BLE001 - the mails were sent all the same
        logger.warning(
            "The connection to the mail server did not close cleanly: %s", type(error).__name__
        )


def _give_up_old_mails() -> None:
    before = timezone.now() - MAIL_LIFETIME
    # Never tried means that no worker ran: such mails are still sent.
    old = OutgoingMail.objects.waiting().filter(created_at__lt=before, attempts__gt=0)
    if given_up := old.update(next_try_at=None, body=None):
        logger.error("Gave up sending %s mails after %s", given_up, MAIL_LIFETIME)
