from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from revcred import retention
from revcred.actions import subscribers
from revcred.models import Session
from tests import factories

pytestmark = pytest.mark.django_db


def test_of_too_many_sessions_those_that_rest_longest_are_deleted(settings, monkeypatch):
    monkeypatch.setattr(retention, "DELETE_BATCH_ROWS", 2)
    settings.MAX_SESSIONS = 3
    for hours in range(8):
        used = timezone.now() - timedelta(hours=hours)
        Session.objects.create(digest=bytes([hours]), data="", last_seen_at=used)

    assert retention.delete_sessions_over_limit() == 5
    assert retention.delete_sessions_over_limit() == 0
    assert {bytes(each.digest)[0] for each in Session.objects.all()} == {0, 1, 2}


@pytest.mark.parametrize("page", ["invitation", "confirm_address", "stop_address"])
def test_a_link_that_nobody_sent_makes_no_session(page):
    answer = Client().get(reverse(f"account_{page}", args=["a-token-of-nobody"]), follow=True)

    assert answer.status_code == 409
    assert not Session.objects.exists()


def test_a_link_of_ours_makes_one(rf):
    token = subscribers._invitation_token(factories.a_subscriber(factories.a_customer()))

    Client().get(reverse("account_invitation", args=[token]))

    assert Session.objects.count() == 1
