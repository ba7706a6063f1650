"""The record of who did what: only ever added to, and anybody can see whether that is so."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from revcred.models import AuditEvent
from tests import factories
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db

Verb = AuditEvent.Verb


def recorded(number=3):
    customer, by = factories.a_customer(), factories.a_user()
    return [
        AuditEvent.objects.record(Verb.CHANGED, target=customer, by=by, details={"number": each})
        for each in range(number)
    ]


def tamper(sql, *values):
    """As somebody could who owns the database: with the trigger out of the way."""
    with owner_cursor() as cursor:
        cursor.execute("ALTER TABLE revcred_auditevent DISABLE TRIGGER auditevent_append_only")
        cursor.execute(sql, values)
        cursor.execute("ALTER TABLE revcred_auditevent ENABLE TRIGGER auditevent_append_only")


def test_it_says_who_did_what_to_which_thing():
    customer, by = factories.a_customer("Acme"), factories.a_user("ann@example.com")

    event = AuditEvent.objects.record(
        Verb.CHANGED, target=customer, by=by, details={"changed": ["name"]}, address="192.0.2.1"
    )

    kept = AuditEvent.objects.get(pk=event.pk)
    assert (kept.actor, kept.actor_id) == ("ann@example.com", by.pk)
    assert (kept.target, kept.target_type, kept.target_id) == (
        "Acme",
        "revcred.customer",
        customer.pk,
    )
    assert (kept.verb, kept.details, kept.address) == (
        Verb.CHANGED,
        {"changed": ["name"]},
        "192.0.2.1",
    )
    assert str(kept) == "Changed: Acme"


def test_what_nobody_did_has_no_actor():
    event = AuditEvent.objects.record(Verb.CHANGED, target=factories.a_customer(), by=None)

    assert (event.actor, event.actor_id) == ("", None)


def test_it_outlives_what_it_is_about():
    customer, by = factories.a_customer(), factories.a_user()
    event = AuditEvent.objects.record(Verb.DELETED, target=customer, by=by)

    customer.delete()
    by.delete()

    assert AuditEvent.objects.get(pk=event.pk).actor == event.actor
    assert AuditEvent.objects.first_broken() is None


def test_the_events_about_a_thing_are_its_own():
    customer, product = factories.a_customer(), factories.a_product()
    about_it = AuditEvent.objects.record(Verb.CREATED, target=customer, by=None)
    AuditEvent.objects.record(Verb.CREATED, target=factories.a_customer(), by=None)
    product.pk = customer.pk
    AuditEvent.objects.record(Verb.CREATED, target=product, by=None)

    assert list(AuditEvent.objects.about(customer)) == [about_it]


@pytest.mark.django_db(transaction=True)
def test_it_is_recorded_in_the_transaction_of_what_it_records():
    with pytest.raises(TransactionManagementError):
        AuditEvent.objects.record(Verb.CHANGED, target=factories.a_customer(), by=None)


# --- Only ever added to ---------------------------------------------------------------------------


def test_no_event_is_changed():
    event, *_ = recorded()

    with owner_cursor(), pytest.raises(DatabaseError, match="is only ever added to"):
        AuditEvent.objects.filter(pk=event.pk).update(actor="somebody else")


def test_no_event_is_deleted():
    event, *_ = recorded()

    with owner_cursor(), pytest.raises(DatabaseError, match="is only ever added to"):
        event.delete()


# --- The chain ------------------------------------------------------------------------------------


def test_a_chain_that_nobody_touched_is_whole():
    recorded()

    assert AuditEvent.objects.first_broken() is None


def test_an_empty_chain_is_whole():
    assert AuditEvent.objects.first_broken() is None


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "2001:DB8:0:0::1", "::ffff:192.0.2.1", "::192.0.2.1", None]
)
def test_however_an_address_is_written_the_chain_is_whole(address):
    AuditEvent.objects.record(
        Verb.KEY_REVEALED, target=factories.a_credential(), by=None, address=address
    )

    assert AuditEvent.objects.first_broken() is None


def test_details_come_back_as_they_were_hashed():
    details = {"b": [1, 2.5, None, True], "a": {"ключ": "☃"}, "big": 2**60}
    AuditEvent.objects.record(
        Verb.CHANGED, target=factories.a_customer("Ægir " + "x" * 190), by=None, details=details
    )

    assert AuditEvent.objects.first_broken() is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "2020-01-01T00:00:00Z"),
        ("actor_id", 4711),
        ("actor", "somebody.else@example.com"),
        ("verb", Verb.CREATED),
        ("target_type", "revcred.product"),
        ("target_id", 4711),
        ("target", "Another"),
        ("details", '{"number": 7}'),
        ("address", "192.0.2.1"),
        ("digest", b"\0" * 32),
    ],
)
def test_whatever_is_changed_the_chain_breaks_there(column, value):
    _, event, _ = recorded()

    tamper(f"UPDATE revcred_auditevent SET {column} = %s WHERE id = %s", value, event.pk)

    assert AuditEvent.objects.first_broken() == event


def test_what_is_taken_out_breaks_it_at_the_next():
    _, event, after = recorded()

    tamper("DELETE FROM revcred_auditevent WHERE id = %s", event.pk)

    assert AuditEvent.objects.first_broken() == after


def test_what_is_put_in_breaks_it():
    recorded()

    tamper(
        "INSERT INTO revcred_auditevent"
        " (at, actor, verb, target_type, target, details, digest)"
        " VALUES (now(), 'ann@example.com', 'changed', 'revcred.customer', 'Acme', '{}', %s)",
        b"\0" * 32,
    )

    assert AuditEvent.objects.first_broken() == AuditEvent.objects.latest("pk")


def test_an_event_changed_with_its_digest_breaks_it_at_the_next():
    first, event, after = recorded()
    event.actor = "somebody.else@example.com"
    event.chain_after(first.digest)

    tamper(
        "UPDATE revcred_auditevent SET actor = %s, salt = %s, personal_digest = %s, digest = %s"
        " WHERE id = %s",
        *(event.actor, event.salt, event.personal_digest, event.digest, event.pk),
    )

    assert AuditEvent.objects.first_broken() == after


# --- Its key --------------------------------------------------------------------------------------


def as_before(event, before=b""):
    """Chain an event as an earlier version does, without a key."""
    event.salt = event.personal_digest = None
    event.digest = event.chained_to(before)
    return event


def an_event(**fields):
    return AuditEvent(at=timezone.now(), verb="changed", target_type="x", target="x", **fields)


def test_events_of_before_the_key_stay_verifiable():
    first = as_before(an_event())
    first.save()
    recorded()

    assert AuditEvent.objects.first_broken() is None
    tamper("UPDATE revcred_auditevent SET target = 'y' WHERE id = %s", first.pk)
    assert AuditEvent.objects.first_broken() == first


def test_during_an_upgrade_an_earlier_version_may_add_to_it_and_later_nobody_without_the_key():
    *_, last = recorded()
    beside = as_before(an_event(), last.digest)
    beside.save()
    assert AuditEvent.objects.first_broken() is None

    later = an_event()
    later.at += timedelta(hours=2)
    later.chain()
    forged = as_before(an_event(), later.digest)
    forged.save()

    assert AuditEvent.objects.first_broken() == forged


def test_without_the_key_no_digest_can_be_made(monkeypatch):
    *_, last = recorded()
    monkeypatch.setattr("revcred.models.audit._audit_key", lambda: b"guessed")
    last.chain_after(b"")
    forged = an_event()
    forged.chain_after(last.digest)
    forged.save()
    monkeypatch.undo()

    assert AuditEvent.objects.first_broken() == forged


# --- Erasing people -------------------------------------------------------------------------------

NOBODY = {"actor": "person-7", "target": "person-7", "details": {"n": 1}, "address": None}


def test_people_are_erased_and_the_chain_stays_whole():
    first, event, _ = recorded()
    head = AuditEvent.objects.head()

    event.erase_people(first.digest, **NOBODY)

    kept = AuditEvent.objects.get(pk=event.pk)
    assert (kept.actor, kept.target, kept.details, kept.salt) == (
        "person-7",
        "person-7",
        {"n": 1},
        None,
    )
    assert AuditEvent.objects.first_broken() is None
    assert AuditEvent.objects.head() == head


def test_people_are_erased_in_events_of_before_the_key():
    first = as_before(an_event(actor="ann@example.com"))
    first.save()
    recorded()

    AuditEvent.objects.get(pk=first.pk).erase_people(b"", **NOBODY)

    assert AuditEvent.objects.get(pk=first.pk).actor == "person-7"
    assert AuditEvent.objects.first_broken() is None


@pytest.mark.parametrize("column", ["actor", "verb", "seal", "digest"])
def test_an_event_with_erased_people_is_changed_by_nobody_else(column):
    first, event, _ = recorded()
    event.erase_people(first.digest, **NOBODY)
    value = b"\0" * 32 if column in ("seal", "digest") else "created"

    tamper(f"UPDATE revcred_auditevent SET {column} = %s WHERE id = %s", value, event.pk)

    assert AuditEvent.objects.first_broken() == event


def test_erasing_hides_no_change_that_somebody_made():
    first, event, _ = recorded()
    tamper("UPDATE revcred_auditevent SET details = '{}' WHERE id = %s", event.pk)

    AuditEvent.objects.get(pk=event.pk).erase_people(first.digest, **NOBODY)

    assert AuditEvent.objects.first_broken() == event


def test_people_are_erased_one_after_the_other():
    first, event, _ = recorded()
    event.erase_people(first.digest, **NOBODY | {"target": "ann@example.com"})

    AuditEvent.objects.get(pk=event.pk).erase_people(first.digest, **NOBODY)

    assert AuditEvent.objects.first_broken() is None


def test_who_only_writes_into_the_database_cannot_erase_unnoticed():
    _, event, _ = recorded()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT erase_people_in_event(%s, 'x', 'x', '{}', NULL, %s)", [event.pk, b"\0" * 32]
        )

    assert AuditEvent.objects.first_broken() == event
