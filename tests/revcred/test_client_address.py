"""Who may say where a request comes from: the proxies that are named, and nobody before them."""

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from revcred.client_address import client_address
from revcred.models import AuditEvent
from revcred.runtime import preflight
from tests import factories

NEAR, FAR = "10.20.0.2", "192.0.2.10"  # the proxies, by their distance


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("198.51.100.1", None, "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", "198.51.100.1"),  # a stranger is not believed
        ("10.20.0.200", "203.0.113.9", "10.20.0.200"),  # nor a neighbour of the proxy
        (NEAR, None, NEAR),
        (NEAR, "", NEAR),
        (NEAR, "203.0.113.9", "203.0.113.9"),
        (NEAR, "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # what the client wrote itself
        (NEAR, f"1.1.1.1, 203.0.113.9, {FAR}", "203.0.113.9"),
        (NEAR, f"1.1.1.1, {FAR}, 203.0.113.9", "203.0.113.9"),
        (NEAR, f"1.1.1.1, 10.1.2.3, {FAR}", "10.1.2.3"),  # a private address is no proxy
        (NEAR, "203.0.113.9:4711", "203.0.113.9"),
        (NEAR, "[2001:db8::9]:4711", "2001:db8::9"),
        (NEAR, "fe80::1%eth0", "fe80::1"),
        (NEAR, "::ffff:203.0.113.9", "203.0.113.9"),
        (f"::ffff:{NEAR}", "203.0.113.9", "203.0.113.9"),
        (NEAR, "203.0.113.9, unknown", NEAR),
        (NEAR, "203.0.113.9, ", NEAR),
        ("", "203.0.113.9", None),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy(rf, settings, peer, told, client):
    settings.TRUSTED_PROXIES = ["10.20.0.0/28", FAR]
    headers = {} if told is None else {"x-forwarded-for": told}

    assert client_address(rf.get("/", REMOTE_ADDR=peer, headers=headers)) == client


def test_without_proxies_nobody_is_believed(rf, settings):
    settings.TRUSTED_PROXIES = []

    request = rf.get("/", REMOTE_ADDR=NEAR, headers={"x-forwarded-for": "203.0.113.9"})

    assert client_address(request) == NEAR


@pytest.mark.parametrize("entry", ["1", "0", "10.20.0.1/28", "nginx", ""])
@pytest.mark.django_db
@pytest.mark.usefixtures("ring")
def test_no_process_starts_with_an_entry_that_is_no_address(settings, entry):
    settings.TRUSTED_PROXIES = [FAR, entry]

    with pytest.raises(ImproperlyConfigured, match=f"TRUSTED_PROXIES has “{entry}”"):
        preflight.check_configuration()


@pytest.mark.django_db
@pytest.mark.parametrize(("peer", "expected"), [(NEAR, "203.0.113.9"), ("10.1.2.3", "10.1.2.3")])
def test_limits_and_record_go_by_the_same_address(client_of, settings, peer, expected):
    settings.TRUSTED_PROXIES = [NEAR]
    user = factories.a_user()

    client_of(peer).post(
        reverse("account_login"),
        {"login": user.email, "password": factories.PASSWORD},
        headers={"x-forwarded-for": "203.0.113.9"},
    )

    assert AuditEvent.objects.get(verb="signed_in").address == expected


@pytest.mark.django_db
@pytest.mark.parametrize(("peer", "is_secure"), [(NEAR, True), ("10.1.2.3", False)])
def test_only_a_proxy_can_say_https(client_of, settings, peer, is_secure):
    settings.TRUSTED_PROXIES = [NEAR]

    answer = client_of(peer).get("/account/login/", headers={"x-forwarded-proto": "https"})

    assert answer.wsgi_request.is_secure() is is_secure


@pytest.fixture
def client_of(client):
    """A browser whose requests come from this address."""

    def asking(peer):
        client.defaults["REMOTE_ADDR"] = peer
        return client

    return asking
