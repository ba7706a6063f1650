"""Staff see and type moments in their own zone; whatever is kept, mailed or shared stays in UTC."""

from datetime import UTC, datetime, timedelta

import pytest
from django import forms
from django.urls import reverse
from django.utils import timezone

from revcred.admin_toolkit.datetime_field import MomentField
from revcred.models import AuditEvent, OutgoingMail
from revcred.outbox import queue_mail
from revcred.time_zones import moment_with_zone, time_zone_names, time_zone_of
from tests import factories
from tests.confirming import post

pytestmark = pytest.mark.django_db

SUMMER = datetime(2026, 7, 1, 10, 0, tzinfo=UTC)
PAGE = reverse("account_time_zone")


@pytest.fixture
def berliner(admin_client, admin_user):
    admin_user.time_zone = "Europe/Berlin"
    admin_user.save()
    return admin_client


def test_staff_choose_their_zone(admin_client, admin_user):
    page = admin_client.get(PAGE).content.decode()
    assert "Times are shown to you in UTC." in page

    answer = admin_client.post(PAGE, {"time_zone": "Europe/Berlin"}, follow=True)

    assert "Pages now show times in Europe/Berlin." in answer.content.decode()
    admin_user.refresh_from_db()
    assert str(time_zone_of(admin_user)) == admin_user.time_zone == "Europe/Berlin"
    assert admin_client.post(PAGE, {"time_zone": "Berlin"}).context["form"].errors
    assert {"UTC", "Asia/Kolkata"} < set(time_zone_names())


def test_a_zone_that_the_system_does_not_know_is_utc(admin_user):
    admin_user.time_zone = "Europe/Atlantis"

    assert time_zone_of(admin_user) is UTC


def test_pages_show_and_take_moments_in_the_zone(berliner):
    subscription = factories.a_subscription(active_from=SUMMER, active_until=None)
    page = reverse("admin:revcred_subscription_change", args=[subscription.pk])

    shown = berliner.get(page)
    assert 'value="2026-07-01T12:00:00"' in shown.content.decode()
    assert "Times are in Europe/Berlin (UTC+0" in shown.content.decode()

    form = shown.context["adminform"].form
    data = {name: form[name].value() or "" for name in form.fields} | {
        "active_from": "2026-07-01T12:00:00",
        "active_until": "2030-01-01T00:00:00",
        "_version": shown.context["version"],
    }
    post(berliner, page, data)
    subscription.refresh_from_db()
    assert subscription.active_from == SUMMER
    assert subscription.active_until == datetime(2029, 12, 31, 23, tzinfo=UTC)
    details = AuditEvent.objects.about(subscription).first().details
    assert details["changed"]["active_until"][1] == "2029-12-31T23:00:00+00:00"
    history = berliner.get(reverse("admin:revcred_subscription_history", args=[subscription.pk]))
    assert "2030-01-01 00:00" in history.content.decode()


def test_the_end_of_all_days_is_shown(berliner):
    last = datetime.max.replace(tzinfo=UTC)
    subscription = factories.a_subscription(active_from=SUMMER, active_until=last)

    for page in ("change", "changelist"):
        args = [subscription.pk] if page == "change" else []
        answer = berliner.get(reverse(f"admin:revcred_subscription_{page}", args=args))
        assert "9999-12-31" in answer.content.decode()


def test_a_filter_is_typed_in_the_zone_and_shared_in_utc(berliner):
    url = reverse("admin:revcred_subscription_changelist")
    answer = berliner.post(f"{url}search/", {"ends_before": "2026-07-01"})

    assert answer.url == f"{url}?ends_before=2026-06-30+22%3A00"
    page = berliner.get(answer.url).content.decode()
    assert "<strong>2026-07-01</strong>" in page
    assert 'value="2026-07-01"' in page


def test_moments_have_utc_as_their_title(berliner):
    credential = factories.a_credential()
    credential.created_at = SUMMER
    credential.save()

    page = berliner.get(reverse("admin:revcred_credential_change", args=[credential.pk]))

    assert 'title="2026-07-01 10:00:00 UTC">2026-07-01 12:00</time>' in page.content.decode()


def test_mails_have_utc(admin_user):
    class Token:
        expires_at = SUMMER

    with timezone.override("Europe/Berlin"):
        queue_mail("emails/token_issued", "ann@example.com", {"user": admin_user, "token": Token})

    assert "at 2026-07-01 10:00 UTC." in OutgoingMail.objects.get().unseal()


class MomentForm(forms.Form):
    at = MomentField()


@pytest.mark.parametrize(
    ("typed", "moment"),
    [
        ("2026-10-25T02:30:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # the first of two
        ("2026-10-25T03:30", datetime(2026, 10, 25, 2, 30, tzinfo=UTC)),
        ("2026-07-01T12:00+05:00", datetime(2026, 7, 1, 7, tzinfo=UTC)),
        ("2026-03-29T02:30:00", None),  # left out
        ("9999-12-31T23:59", datetime(9999, 12, 31, 22, 59, tzinfo=UTC)),
        ("0001-01-01T00:00", None),
    ],
)
def test_digits_mean_a_moment_of_the_zone(typed, moment):
    with timezone.override("Europe/Berlin"):
        form = MomentForm({"at": typed})
        assert form.is_valid() == (moment is not None)
        assert form.cleaned_data.get("at") == moment


def test_a_moment_that_a_clock_shows_twice_is_not_changed_by_a_save():
    second = datetime(2026, 10, 25, 1, 30, 0, 7, tzinfo=UTC)
    with timezone.override("Europe/Berlin"):
        for typed, is_changed in (("2026-10-25T02:30", False), ("2026-10-25T02:31", True)):
            form = MomentForm({"at": typed}, initial={"at": second})
            assert form.has_changed() is is_changed
        assert moment_with_zone(second - timedelta(hours=1)) == "2026-10-25 02:30 CEST"
    assert moment_with_zone(second) == "2026-10-25 01:30 UTC"
