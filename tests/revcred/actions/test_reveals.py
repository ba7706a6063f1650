"""Many different keys wanted by one person: one more is refused, and the owners are told, once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from revcred.actions import credentials
from revcred.models import AuditEvent, Membership, OutgoingMail
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db(transaction=True)

OWNER = Membership.Role.OWNER


@pytest.fixture(autouse=True)
def _few(settings):
    settings.REVEAL_LIMIT_KEYS, settings.REVEAL_LIMIT_MINUTES = 3, 10


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def person(acme):
    return factories.a_subscriber(acme, email="ann@example.com").user


def keys_of(customer, number):
    return [factories.a_credential(customer).keys.get() for _ in range(number)]


def reveal(keys, by):
    """Return how many keys were revealed."""
    revealed = 0
    for key in keys:
        with suppress(credentials.TooManyReveals):
            credentials.reveal_key(key=key, field="value", by=by, address="198.51.100.7")
            revealed += 1
    return revealed


def told():
    return [*OutgoingMail.objects.order_by("pk").values_list("recipient", "subject")]


def age_all_events(minutes):
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only")
        cursor.execute(
            "UPDATE revcred_auditevent SET at = at - make_interval(mins => %s)", [minutes]
        )
        cursor.execute("ALTER TABLE revcred_auditevent ENABLE TRIGGER auditevent_append_only")


def test_one_more_is_refused_and_told_once(acme, person, sent_mail):
    owner = factories.a_subscriber(acme, OWNER, "owner@example.com")
    other = factories.a_customer("Other")
    factories.a_subscriber(other, OWNER)
    keys = keys_of(acme, 6)

    assert reveal(keys[:3], person) == 3
    assert told() == []
    assert reveal(keys[3:], person) == 0

    assert told() == [
        ("ann@example.com", "Many keys were revealed"),
        (owner.email, "Many keys were revealed"),
    ]
    event = AuditEvent.objects.get(verb="many_revealed")
    assert (event.actor, event.details) == ("ann@example.com", {"keys": 3, "minutes": 10})
    assert AuditEvent.objects.reveals().count() == 3
    assert "revealed 3 different keys" in sent_mail()[0].body


def test_the_owners_of_each_customer_are_told(acme, person):
    other = factories.a_customer("Other")
    first, second = factories.a_subscriber(acme, OWNER), factories.a_subscriber(other, OWNER)

    reveal([*keys_of(acme, 2), *keys_of(other, 2)], person)

    assert {to for to, _ in told()} == {"ann@example.com", first.email, second.email}


def test_one_key_again_and_its_secret_are_one(acme, person):
    credential = factories.a_credential(acme, secret="a-secret-of-some-length")
    key = credential.keys.get()

    reveal([key] * 5, person)
    credentials.reveal_key(key=key, field="secret", by=person)

    assert told() == []


def test_what_was_revealed_is_revealed_again(acme, person):
    keys = keys_of(acme, 4)

    assert reveal([*keys, *keys[:3]], person) == 6


def test_it_is_said_how_long_to_wait(acme, person):
    *keys, last = keys_of(acme, 4)
    reveal(keys, person)
    age_all_events(minutes=8)

    with pytest.raises(credentials.TooManyReveals) as refused:
        credentials.reveal_key(key=last, field="value", by=person)

    assert 60 < refused.value.wait_seconds <= 120


def test_at_once_no_more_are_revealed(acme, person):
    def reveal_one(key):
        try:
            return reveal([key], person)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(reveal_one, keys_of(acme, 8))) == 3


def test_of_each_person_there_is_an_own_count(acme, person):
    reveal(keys_of(acme, 3), person)
    reveal(keys_of(acme, 3), factories.a_subscriber(acme).user)

    assert told() == []


def test_after_the_window_it_begins_anew(acme, person):
    reveal(keys_of(acme, 3), person)
    age_all_events(minutes=11)
    reveal(keys_of(acme, 3), person)
    assert told() == []

    reveal(keys_of(acme, 1), person)
    assert len(told()) == 1
    age_all_events(minutes=11)
    reveal(keys_of(acme, 4), person)
    assert len(told()) == 2


def test_an_owner_is_told_once_as_the_person(acme):
    owner = factories.a_subscriber(acme, OWNER).user

    reveal(keys_of(acme, 4), owner)

    assert [to for to, _ in told()] == [owner.email]


def test_while_reveals_rest_nothing_is_revealed_nor_on_record(acme, person):
    person.reveals_rest_since = timezone.now() - timedelta(days=30)
    person.save()
    (key,) = keys_of(acme, 1)

    with pytest.raises(credentials.RevealsPaused):
        credentials.reveal_key(key=key, field="value", by=person)

    assert not AuditEvent.objects.reveals().exists()
