from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from revcred import retention
from revcred.actions import subscribers
from tests import factories

pytestmark = pytest.mark.django_db


def test_of_too_many_sessions_those_that_end_first_are_deleted(settings, monkeypatch):
    monkeypatch.setattr(retention, "DELETE_BATCH_ROWS", 2)
    settings.MAX_SESSIONS = 3
    for hours in range(8):
        ends = timezone.now() + timedelta(hours=hours)
        Session.objects.create(session_key=f"s{hours}", session_data="", expire_date=ends)

    assert retention.delete_sessions_over_limit() == 5
    assert retention.delete_sessions_over_limit() == 0
    assert set(Session.objects.values_list("pk", flat=True)) == {"s5", "s6", "s7"}


@pytest.mark.parametrize("page", ["invitation", "confirm_address", "stop_address"])
def test_a_link_that_nobody_sent_makes_no_session(page):
    answer = Client().get(reverse(f"account_{page}", args=["a-token-of-nobody"]), follow=True)

    assert answer.status_code == 409
    assert not Session.objects.exists()


def test_a_link_of_ours_makes_one(rf):
    token = subscribers._invitation_token(factories.a_subscriber(factories.a_customer()))

    Client().get(reverse("account_invitation", args=[token]))

    assert Session.objects.count() == 1
