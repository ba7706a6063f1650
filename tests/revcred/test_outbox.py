"""Every mail waits in the database until the mail server has taken it."""

import smtplib
import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.db.transaction import atomic, set_rollback
from django.template.loader import get_template
from django.urls import reverse
from django.utils import timezone

from metering.management.commands.clock import do_chores, sweep_waiting_mail
from revcred import outbox
from revcred.crypto import CannotUnseal
from revcred.models import Membership, OutgoingMail
from tests import factories

pytestmark = pytest.mark.django_db

PREFIX = "emails/invitation"
LINK = "https://here.example/account/a-token-that-nobody-else-may-see"


class Away:
    """A mail backend whose server is away until told otherwise."""

    error: Exception | None = ConnectionRefusedError()
    attempts = 0

    def __init__(self, *args, **kwargs):
        pass

    def open(self):
        Away.attempts += 1
        if Away.error:
            raise Away.error

    def close(self):
        pass

    def send_messages(self, messages):
        mail.outbox += messages
        return len(messages)


@pytest.fixture
def away(settings):
    settings.EMAIL_BACKEND = f"{__name__}.Away"
    Away.error, Away.attempts = ConnectionRefusedError("450 canary-of-the-server"), 0
    return Away


def queued(recipient="ann@example.com", name="Ann <3", **context):
    user = factories.a_user(name=name)
    return outbox.queue_mail(PREFIX, recipient, {"user": user, "url": LINK, **context})


def due_now():
    OutgoingMail.objects.waiting().update(next_try_at=timezone.now() - timedelta(minutes=1))


def test_a_mail_waits_and_is_sent_once(sent_mail):
    queued()
    assert mail.outbox == []

    (sent,) = sent_mail()
    sent_mail()

    assert len(mail.outbox) == 1
    assert sent.to == ["ann@example.com"]
    assert "Hello Ann <3," in sent.body
    assert LINK in sent.body


def test_the_text_is_sealed_and_wiped_once_it_was_sent(sent_mail, settings):
    settings.PRODUCTION = True
    queued()
    raw = "SELECT body, subject, recipient FROM revcred_outgoingmail"
    with connection.cursor() as cursor:
        cursor.execute(raw)
        body, *known = cursor.fetchone()
    assert b"a-token-that-nobody" not in bytes(body)
    assert "a-token-that-nobody" not in str(known)

    sent_mail()

    row = OutgoingMail.objects.get()
    assert row.sent_at
    assert (row.body, row.next_try_at) == (None, None)


def test_a_sealed_text_opens_in_its_own_row_only():
    one, other = queued(), queued()
    OutgoingMail.objects.filter(pk=one.pk).update(body=OutgoingMail.objects.get(pk=other.pk).body)

    moved = OutgoingMail.objects.get(pk=one.pk)
    with pytest.raises(CannotUnseal):
        moved.unseal()


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_sends_nothing(sent_mail):
    with atomic():
        queued()
        set_rollback(True)

    assert sent_mail() == []


def test_with_the_server_away_it_waits_longer_each_time(away, caplog):
    row = queued()
    pauses = []
    for _ in range(6):
        due_now()
        outbox.send_waiting_mail()
        row.refresh_from_db()
        pauses.append(round((row.next_try_at - timezone.now()).total_seconds() / 60))

    assert pauses == [1, 2, 4, 8, 15, 15]
    assert (row.attempts, row.last_error, row.sent_at) == (6, "ConnectionRefusedError", None)
    assert "canary-of-the-server" not in caplog.text

    away.error = None
    due_now()
    outbox.send_waiting_mail()
    assert [each.to for each in mail.outbox] == [["ann@example.com"]]


def test_a_server_that_is_away_is_asked_once_and_not_for_each_mail(away):
    for _ in range(5):
        queued()

    outbox.send_waiting_mail()

    assert away.attempts == 1


def test_a_mail_the_server_refuses_does_not_hold_up_the_next(away):
    queued("nobody@example.com")
    queued("ann@example.com")
    refused = smtplib.SMTPRecipientsRefused({"nobody@example.com": (550, b"no")})
    away.error = None
    send = Away.send_messages

    def refuse_nobody(self, messages):
        if messages[0].to == ["nobody@example.com"]:
            raise refused
        return send(self, messages)

    Away.send_messages = refuse_nobody
    try:
        outbox.send_waiting_mail()
    finally:
        Away.send_messages = send

    assert [each.to for each in mail.outbox] == [["ann@example.com"]]
    waiting = OutgoingMail.objects.waiting().get()
    assert (waiting.recipient, waiting.last_error) == (
        "nobody@example.com",
        "SMTPRecipientsRefused",
    )


def test_after_three_days_it_is_given_up_and_says_why(away):
    row = queued()
    outbox.send_waiting_mail()
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=3, minutes=1))
    due_now()

    outbox.send_waiting_mail()

    row.refresh_from_db()
    assert (row.next_try_at, row.body, row.sent_at) == (None, None, None)
    assert row.last_error == "ConnectionRefusedError"


def test_what_nobody_tried_is_tried_before_it_is_given_up(sent_mail):
    queued()
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=4))

    assert len(sent_mail()) == 1


def test_a_process_that_dies_leaves_its_mail_to_the_next(monkeypatch, sent_mail):
    queued()
    monkeypatch.setattr(outbox, "_deliver_mail", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        outbox.send_waiting_mail()
    monkeypatch.undo()

    assert sent_mail() == []  # it is still its mail for a minute
    due_now()
    assert len(sent_mail()) == 1


@pytest.mark.django_db(transaction=True)
def test_processes_share_the_work_and_send_each_mail_once():
    for number in range(30):
        queued(f"user-{number}@example.org")
    threads = [threading.Thread(target=send_and_close) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(each.to[0] for each in mail.outbox) == sorted(
        f"user-{number}@example.org" for number in range(30)
    )


def send_and_close():
    try:
        outbox.send_waiting_mail()
    finally:
        connection.close()


def test_the_clock_sends_what_no_worker_was_told_of(monkeypatch):
    queued()
    sweep_waiting_mail()
    assert mail.outbox == []  # the bell has a second

    due_now()
    sweep_waiting_mail()
    assert len(mail.outbox) == 1


@pytest.mark.django_db(transaction=True)
def test_rows_are_pruned_after_a_while_but_never_while_they_wait(settings, sent_mail):
    settings.SENT_MAIL_DAYS = 7
    queued("sent@example.com")
    sent_mail()
    queued("waiting@example.com")
    OutgoingMail.objects.update(created_at=timezone.now() - timedelta(days=8))

    do_chores()

    assert [each.recipient for each in OutgoingMail.objects.all()] == ["waiting@example.com"]


def test_the_ring_rotates_with_mails_in_the_outbox(ring, sent_mail):
    queued()
    ring("new", "first")
    call_command("rotate_encryption_keys")
    ring("new")

    (sent,) = sent_mail()
    assert LINK in sent.body


def test_a_subject_is_one_line(monkeypatch):
    real = get_template("emails/invitation_subject.txt")
    monkeypatch.setattr(type(real.template), "render", lambda *_: "One\r\nBcc: all@example.com\n")

    assert queued().subject == "One Bcc: all@example.com"


def test_where_revcred_is_tried_out_a_superuser_reads_mails_in_the_outbox(
    admin_client, client, sent_mail
):
    row = queued()
    sent_mail()
    page = reverse("admin:revcred_outgoingmail_change", args=[row.pk])

    assert LINK in admin_client.get(page).content.decode()
    support = factories.a_user(is_staff=True)
    support.user_permissions.add(Permission.objects.get(codename="view_outgoingmail"))
    client.force_login(support)
    answer = client.get(page)
    assert answer.status_code == 200
    assert LINK not in answer.content.decode()


def test_the_outbox_shows_no_text(admin_client, away, settings):
    settings.PRODUCTION = True
    row = queued()
    outbox.send_waiting_mail()

    for url in (
        reverse("admin:revcred_outgoingmail_changelist"),
        reverse("admin:revcred_outgoingmail_change", args=[row.pk]),
    ):
        page = admin_client.get(url).content.decode()
        assert "ann@example.com" in page
        assert "ConnectionRefusedError" in page
        assert "a-token-that-nobody" not in page
        assert 'name="_save"' not in page


def test_links_begin_with_the_public_address_whatever_host_is_named(client, settings, sent_mail):
    settings.PUBLIC_URL = "https://credentials.example.com"
    settings.ALLOWED_HOSTS = ["*"]
    user = factories.a_user()

    client.post(reverse("account_reset_password"), {"email": user.email}, HTTP_HOST="evil.example")

    (sent,) = sent_mail()
    assert "https://credentials.example.com/account/password/reset/key/" in sent.body
    assert "revcred at credentials.example.com" in sent.body
    assert "evil.example" not in sent.body


def test_owners_are_told_but_not_the_actor_and_nobody_who_cannot_sign_in(sent_mail):
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    actor = factories.a_subscriber(customer, Membership.Role.OWNER)
    factories.a_subscriber(customer, Membership.Role.MEMBER)
    inactive = factories.a_subscriber(customer, Membership.Role.OWNER)
    inactive.user.is_active = False
    inactive.user.save()
    factories.a_subscriber(factories.a_customer(), Membership.Role.OWNER)

    told = outbox.notify_owners(
        customer, PREFIX, {"user": owner.user, "url": LINK}, actor=actor.user
    )

    assert told == 1
    assert [each.to for each in sent_mail()] == [[owner.email]]
