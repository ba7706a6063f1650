"""Who signed in, out or tried to, and what became of passwords, from where: all on record."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from revcred.actions import sign_ins, users
from revcred.models import AuditEvent, FailedSignIns, OutgoingMail
from tests import factories

pytestmark = pytest.mark.django_db

WHERE = "198.51.100.7"
LOGIN = reverse("account_login")


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer(), email="ann@example.com")


@pytest.fixture
def client(client):
    client.defaults["REMOTE_ADDR"] = WHERE
    return client


def sign_in(client, email="ann@example.com", password=factories.PASSWORD):
    return client.post(LOGIN, {"login": email, "password": password})


def events():
    found = AuditEvent.objects.order_by("pk")
    return [
        (each.verb, each.actor, each.target, each.details.get("attempts", 1), each.address)
        for each in found
    ]


def later(**ago):
    FailedSignIns.objects.update(recorded_at=timezone.now() - timedelta(**ago))


def test_signing_in_and_out(client, ann):
    sign_in(client)
    client.post(reverse("account_logout"))

    assert events() == [
        ("signed_in", "ann@example.com", "ann@example.com", 1, WHERE),
        ("signed_out", "ann@example.com", "ann@example.com", 1, WHERE),
    ]


def test_signing_out_of_the_administration(admin_client):
    admin_client.post(reverse("admin:logout"), REMOTE_ADDR=WHERE)

    assert [each[:2] for each in events()] == [("signed_out", "admin@example.com")]


def test_a_failure_says_at_whose_login_and_from_where(client, ann):
    sign_in(client, password="a-typed-secret")

    assert events() == [("sign_in_failed", "", "ann@example.com", 1, WHERE)]
    assert "a-typed-secret" not in repr([*AuditEvent.objects.values_list()])


def test_somebody_who_is_switched_off_fails(client, ann):
    ann.user.is_active = False
    ann.user.save()

    sign_in(client)

    assert [each[:3] for each in events()] == [("sign_in_failed", "", "ann@example.com")]


def test_what_was_typed_for_an_address_is_not_kept(client):
    """It may be a password."""
    for typed in ("MyPassw0rd", "my@passw0rd.example"):
        sign_in(client, email=typed, password="x")

    kept = repr([*AuditEvent.objects.values_list(), *FailedSignIns.objects.values_list()])
    assert "passw0rd" not in kept.lower()
    assert [each[:3] for each in events()] == [("sign_in_failed", "", sign_ins.UNKNOWN_LOGIN_NAME)]


def test_beyond_the_limit_it_is_refused_and_on_record(client, ann):
    for _ in range(8):
        sign_in(client, password="wrong")

    assert {each[0] for each in events()} == {"sign_in_failed", "sign_in_limited"}


def test_one_place_that_tries_too_often_is_on_record(client):
    for number in range(35):
        answer = sign_in(client, email=f"user-{number}@example.com", password="wrong")

    assert answer.status_code == 429
    assert "sign_in_limited" in {each[0] for each in events()}


def test_attempts_at_many_logins_are_a_bounded_number_of_events_and_none_is_lost(settings):
    settings.MAX_ATTEMPT_EVENTS_PER_HOUR = 3
    for user in [factories.a_user() for _ in range(5)]:
        for _ in range(2):
            sign_ins.record_throttled_event(
                verb=AuditEvent.Verb.SIGN_IN_FAILED, user=user, address=WHERE
            )
    later(minutes=2)
    sign_ins.record_counted_attempts()
    assert [each[3] for each in events()] == [1, 1, 1]
    assert FailedSignIns.objects.count() == 5

    settings.MAX_ATTEMPT_EVENTS_PER_HOUR = 100
    sign_ins.record_counted_attempts()
    # The last five in any order.
    assert sorted(each[3] for each in events()) == [1, 1, 1, 1, 1, 1, 2, 2]
    assert not FailedSignIns.objects.exists()


def test_many_failures_are_one_event_a_minute_and_none_is_lost(ann):
    for _ in range(100):
        sign_ins.record_throttled_event(
            verb=AuditEvent.Verb.SIGN_IN_FAILED, user=ann.user, address=WHERE
        )
    assert len(events()) == 1

    later(minutes=1)
    sign_ins.record_throttled_event(
        verb=AuditEvent.Verb.SIGN_IN_FAILED, user=ann.user, address=WHERE
    )
    sign_ins.record_throttled_event(
        verb=AuditEvent.Verb.SIGN_IN_FAILED, user=ann.user, address=WHERE
    )
    sign_ins.record_counted_attempts()
    assert [each[3] for each in events()] == [1, 100]

    later(minutes=1)
    sign_ins.record_counted_attempts()
    assert [each[3] for each in events()] == [1, 100, 1]
    assert not FailedSignIns.objects.exists()


def test_a_thousand_unknown_addresses_are_one_row_and_one_event():
    for number in range(1_000):
        sign_ins.record_throttled_event(
            verb=AuditEvent.Verb.SIGN_IN_FAILED, user=None, address=f"192.0.2.{number % 250}"
        )

    assert FailedSignIns.objects.count() == AuditEvent.objects.count() == 1


def test_a_forgotten_password(client, ann, sent_mail):
    client.post(reverse("account_reset_password"), {"email": "ann@example.com"})
    client.post(reverse("account_reset_password"), {"email": "nobody@example.com"})
    (sent,) = sent_mail()
    link = re.search(r"http://testserver(\S+)", sent.body)[1]
    form = client.get(link, follow=True)
    chosen = {"password1": "another staple for a horse", "password2": "another staple for a horse"}
    client.post(form.request["PATH_INFO"], chosen)

    assert events() == [
        ("reset_asked", "", "ann@example.com", 1, WHERE),
        ("reset_asked", "", sign_ins.UNKNOWN_LOGIN_NAME, 1, WHERE),
        ("password_reset", "ann@example.com", "ann@example.com", 1, WHERE),
    ]


def test_too_many_links_are_refused_on_record(client, ann):
    for _ in range(8):
        client.post(reverse("account_reset_password"), {"email": "ann@example.com"})

    assert "reset_limited" in {each[0] for each in events()}


def test_a_changed_password(client, ann, sent_mail):
    sign_in(client)
    new = "another staple for a horse"
    said = {"oldpassword": factories.PASSWORD, "password1": new, "password2": new}
    client.post(reverse("account_change_password"), said)

    assert events()[1:] == [("password_changed", "ann@example.com", "ann@example.com", 1, WHERE)]
    assert [each.subject for each in sent_mail()] == ["Your password was changed"]


@pytest.mark.parametrize("what", ["record", "mail"])
def test_without_its_record_and_mail_no_password_changes(client, ann, monkeypatch, what):
    """All of it in one commit."""
    sign_in(client)
    client.raise_request_exception = False

    def fail(*args, **kwargs):
        raise ZeroDivisionError

    if what == "mail":
        monkeypatch.setattr("revcred.accounts.adapters.queue_mail", fail)
    else:
        monkeypatch.setattr(AuditEvent.objects.__class__, "record", fail)
    new = "another staple for a horse"
    said = {"oldpassword": factories.PASSWORD, "password1": new, "password2": new}
    answer = client.post(reverse("account_change_password"), said)

    assert answer.status_code == 500
    ann.user.refresh_from_db()
    assert ann.user.check_password(factories.PASSWORD)


def test_nobody_signs_in_without_a_record(client, ann, monkeypatch):
    def fail(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(sign_ins, "record_login_event", fail)
    client.raise_request_exception = False

    assert sign_in(client).status_code == 500
    assert client.get(reverse("storefront:home")).status_code == 302


def test_a_link_that_staff_sent_says_who(rf, ann):
    by = factories.a_user("boss@example.com", is_staff=True, is_superuser=True)

    users.send_password_link(user=ann.user, by=by, request=rf.get("/", REMOTE_ADDR=WHERE))

    assert events() == [("reset_asked", "boss@example.com", "ann@example.com", 1, WHERE)]
    assert OutgoingMail.objects.get().recipient == "ann@example.com"
