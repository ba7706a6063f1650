"""How often anybody may try to sign in, from where, and what is answered then."""

import pytest
from django.urls import reverse

from revcred.models import AuditEvent
from tests import factories

pytestmark = pytest.mark.django_db

LOGIN, RESET = reverse("account_login"), reverse("account_reset_password")
HERE, NEXT_DOOR, ELSEWHERE = "198.51.100.7", "198.51.100.8", "203.0.113.9"


@pytest.fixture
def ann():
    return factories.a_subscriber(factories.a_customer(), email="ann@example.com")


def sign_in(client, password=factories.PASSWORD, email="ann@example.com", address=HERE):
    return client.post(LOGIN, {"login": email, "password": password}, REMOTE_ADDR=address)


def guess(client, times, **where):
    return [sign_in(client, "wrong", **where).status_code for _ in range(times)]


def test_a_network_that_failed_often_waits_and_is_told_how_long(client, ann):
    assert guess(client, 7) == [200] * 5 + [429] * 2

    answer = sign_in(client, address=NEXT_DOOR)

    assert (answer.status_code, answer["Retry-After"]) == (429, "300")
    assert "Wait 5 minutes" in answer.content.decode()


def test_other_networks_and_other_accounts_do_not_wait(client, ann):
    guess(client, 6)
    ben = factories.a_subscriber(factories.a_customer())

    assert sign_in(client, email=ben.email).status_code == 302
    client.logout()
    assert sign_in(client, address=ELSEWHERE).status_code == 302


@pytest.mark.parametrize(
    ("other", "waits"), [("2001:db8:1:2ff::9", True), ("2001:db8:1:300::9", False)]
)
def test_a_network_of_ipv6_is_wider(client, ann, other, waits):
    guess(client, 5, address="2001:db8:1:200::1")

    assert (sign_in(client, address=other).status_code == 429) is waits


def test_an_account_has_a_limit_over_all_networks(client, ann, settings):
    settings.SIGN_IN_FAILURES_PER_ACCOUNT = 7
    for number in range(7):
        guess(client, 1, address=f"192.0.{number}.1")

    assert sign_in(client, address=ELSEWHERE).status_code == 429


def test_a_success_begins_anew(client, ann):
    for _ in range(3):
        assert guess(client, 4) == [200] * 4
        assert sign_in(client).status_code == 302
        client.logout()


def test_one_address_may_post_so_often_a_minute(client, settings):
    settings.SIGN_IN_ATTEMPTS_PER_ADDRESS = 3
    for number in range(3):
        sign_in(client, email=f"user-{number}@example.com")
    answer = sign_in(client, email="user@example.com")

    assert (answer.status_code, answer["Retry-After"]) == (429, "60")
    assert "Wait 1 minute," in answer.content.decode()
    assert client.post(RESET, {"email": "x@example.com"}, REMOTE_ADDR=HERE).status_code == 429
    assert client.get(LOGIN, REMOTE_ADDR=HERE).status_code == 200
    assert sign_in(client, address=NEXT_DOOR).status_code == 200


def test_links_for_a_new_password_are_limited_by_themselves(client, ann, sent_mail):
    asked = [client.post(RESET, {"email": ann.email}) for _ in range(6)]

    assert [each.status_code for each in asked] == [302] * 5 + [429]
    assert "Retry-After" in asked[-1]
    assert len(sent_mail()) == 5
    assert "reset_limited" in {each.verb for each in AuditEvent.objects.all()}
    assert sign_in(client).status_code == 302


def test_the_old_password_is_not_guessed_where_one_changes_it(client, ann):
    sign_in(client)
    new = "another staple for a horse"
    wrong = {"oldpassword": "wrong", "password1": new, "password2": new}
    tried = [client.post(reverse("account_change_password"), wrong) for _ in range(6)]

    assert [each.status_code for each in tried] == [200] * 5 + [429]
    assert AuditEvent.objects.filter(verb="sign_in_failed", target="ann@example.com").exists()
