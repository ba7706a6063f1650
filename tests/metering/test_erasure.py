"""Somebody who was erased is found in no table, and nothing that was counted changes."""

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from metering.inbox.intake import accept_calls
from metering.models import (
    Claim,
    InventoriedKey,
    KeyInventory,
    PartialTransaction,
    Quarantined,
    Transaction,
    Usage,
)
from metering.quarantine.actions import mark_reviewed
from revcred import roles
from revcred.actions import addresses, call_erasures, memberships, people
from revcred.actions.call_erasures import finish_erasures
from revcred.models import (
    AuditEvent,
    Membership,
    OutgoingMail,
    PendingErasure,
    Upload,
    UploadChange,
    User,
    UserToken,
)
from revcred.outbox import queue_mail
from tests import factories
from tests.second_factors import an_app

pytestmark = pytest.mark.django_db

ADDRESS, NAME, KEY = "ada.king@aviary.example", "Ada King", "ada-king-7"
FORMER_ADDRESS, FORMER_NAME = "ada.byron@aviary.example", "Ada Byron"
EVERY_TEXT = (ADDRESS, NAME, KEY, FORMER_ADDRESS, FORMER_NAME, "192.0.2.77", "Ada's")


def every_table():
    """All rows of all tables, as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT format('%I', relname), pg_catalog.quote_ident(relname) FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND relnamespace = 'public'::regnamespace"
        )
        tables = [name for name, _ in cursor.fetchall()]
        dump = []
        for table in tables:
            with cursor.copy(f"COPY (SELECT * FROM {table}) TO STDOUT") as rows:
                dump += [f"{table}: {bytes(row).decode(errors='replace')}" for row in rows]
    return dump


def found(*texts):
    return [
        (text, line[:200])
        for line in every_table()
        for text in texts
        if text.lower() in line.lower()
    ]


@pytest.fixture
def by():
    roles.sync_roles()
    user = factories.a_user("manager@staff.example.com", is_staff=True)
    user.groups.set(Group.objects.filter(name="Administrator"))
    return user


@pytest.fixture
def ada(by, rf):
    """Somebody who has left traces everywhere."""
    customer = factories.a_customer("Aviary")
    customer.notes = f"Ask {NAME} <{ADDRESS}> first."
    customer.save()
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "owner@aviary.example")
    ada = factories.a_subscriber(customer, Membership.Role.MEMBER, FORMER_ADDRESS)
    request = rf.get("/", REMOTE_ADDR="192.0.2.77")
    login, boss = ada.user, factories.an_admin()
    login.name = ada.name = FORMER_NAME
    login.save()
    ada.external_key = KEY
    ada.save()
    AuditEvent.objects.record(
        "changed", target=ada, by=by, details={"changed": {"name": [FORMER_NAME, NAME]}}
    )
    ada.name = NAME
    ada.save()
    User.objects.filter(pk=login.pk).update(name=NAME)
    elsewhere = rf.get("/", REMOTE_ADDR="192.0.2.1")
    change = addresses.request_address_change(user=login, email=ADDRESS, by=boss, request=elsewhere)
    addresses.confirm_address_change(change=change, request=request)
    ada.refresh_from_db()
    login.refresh_from_db()
    addresses.request_address_change(
        user=login, email="ada.away@aviary.example", by=boss, request=elsewhere
    )
    an_app(login)
    UserToken.issue(login, name="Ada's laptop", scopes=[])
    login.sessions.create(digest=b"1" * 32, data="x", address="192.0.2.77", browser="Ada's")
    AuditEvent.objects.record("signed_in", target=login, by=login, address="192.0.2.77")
    AuditEvent.objects.record("sign_in_failed", target=login, by=None, address="192.0.2.77")
    memberships.announce_new_member(membership=ada.memberships.get(), by=by)
    queue_mail("emails/new_member", owner.email, {"membership": ada.memberships.get(), "by": by})
    credential = factories.a_credential(customer, "a-key-of-ada-0001", holders=[ada], name="Bird")
    subscription = factories.a_subscription(customer)
    upload = Upload.objects.create(
        kind="credentials",
        state="applied",
        file_name=f"{ADDRESS}.csv",
        size=1,
        preview={"members": {"people": [{"email": ADDRESS, "title": f"“{NAME}”"}]}},
    )
    UploadChange.objects.create(
        upload=upload,
        action="update",
        target_type="revcred.credential",
        target_id=credential.pk,
        before={"holders": [ADDRESS]},
    )
    UploadChange.objects.create(
        upload=upload,
        action="create",
        target_type="revcred.subscriber",
        target_id=ada.pk,
        after={"email": ADDRESS, "name": NAME},
    )
    metered(customer, subscription, by)
    return ada


def metered(customer, subscription, by):
    named = [ADDRESS.upper(), FORMER_ADDRESS, KEY]
    gateway = factories.a_gateway()
    calls = [
        factories.a_call(
            names={"subscriber": name},
            path=f"/of/{ADDRESS.replace('@', '%40')}",
            metadata={"note": f"From\n{ADDRESS}, {NAME}"},
        )
        for name in named
    ]
    calls += [factories.a_call(transaction_id=f"id {ADDRESS}", source_named=f"of {ADDRESS}")]
    factories.settled(*calls, gateway=gateway)
    assert Transaction.objects.count() == len(named)
    mark_reviewed(Quarantined.objects.all(), by=by, note=f"{NAME} called.")
    Claim.objects.create(cause=f"“{ADDRESS}” is called so now")
    accept_calls(gateway, [factories.a_call(metadata={"of": ADDRESS})])
    PartialTransaction.objects.create(
        dedup_key="00000000-0000-0000-0000-000000000001",
        side="request",
        gateway=gateway,
        call=f'{{"path":"/{ADDRESS}"}}',
    )


def test_an_erased_person_is_found_in_no_table(ada, by):
    usage = list(Usage.objects.values_list("subscription", "hour", "element", "quantity"))
    assert {text for text, _ in found(*EVERY_TEXT)} == {*EVERY_TEXT}
    login = ada.user

    done = people.erase_person(person=people.find_person(ada), by=by)
    finish_erasures()

    assert found(*EVERY_TEXT, "ada.away@aviary.example") == []
    assert AuditEvent.objects.first_broken() is None
    assert (done.memberships, done.unheld) == (["Aviary"], ["Bird"])
    assert (done.sessions, done.tokens, done.second_factors) == (1, 1, 2)
    # The one that names her by her key holds her address, too, and counts twice.
    assert done.calls == 5
    assert done.still_named == {}
    assert list(Usage.objects.values_list("subscription", "hour", "element", "quantity")) == usage
    ada.refresh_from_db()
    login.refresh_from_db()
    assert ada.email == login.email == f"erased-{ada.pk}@invalid"
    assert set(Transaction.objects.values_list("names__subscriber", flat=True)) == {
        ada.email,
        f"erased-{ada.pk}",
    }
    assert not OutgoingMail.objects.waiting().filter(recipient=ada.email).exists()
    events = AuditEvent.objects.filter(verb="erased").order_by("pk")
    assert {(event.actor, event.target) for event in events} == {(by.email, ada.email)}
    assert [event.details.get("calls") for event in events] == [None, 5]
    assert not PendingErasure.objects.exists()


def test_a_single_name_is_found_in_the_labels_of_a_gateway_s_keys(by):
    ada = factories.a_subscriber(factories.a_customer())
    ada.name = "Adalbertine"
    ada.save()
    inventory = KeyInventory.objects.create(gateway=factories.a_gateway(), read_from="csv")
    for number, label in enumerate(("adalbertine's laptop", "Adalbertines", "checkout")):
        InventoriedKey.objects.create(
            inventory=inventory,
            page=1,
            kind="key",
            fingerprint=f"00000000-0000-0000-0000-{number:012}",
            is_enabled=True,
            label=label,
        )

    people.erase_person(person=people.find_person(ada), by=by)
    finish_erasures()

    labels = InventoriedKey.objects.order_by("pk").values_list("label", flat=True)
    # A longer word is another name.
    assert list(labels) == [f"erased person {ada.pk}'s laptop", "Adalbertines", "checkout"]


def test_an_erasure_that_was_interrupted_goes_on(ada, by, monkeypatch):
    people.erase_person(person=people.find_person(ada), by=by)
    real = call_erasures.steps_of_erasing

    def interrupted(texts):
        *first, last = real(texts)
        yield from first
        raise KeyboardInterrupt(last)

    with monkeypatch.context() as patched:
        patched.setattr(call_erasures, "steps_of_erasing", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finish_erasures()
    assert PendingErasure.objects.get().calls == 5

    finish_erasures()

    assert found(*EVERY_TEXT) == []
    assert AuditEvent.objects.filter(verb="erased", details__calls=5).count() == 1


def test_calls_that_take_long_to_count_are_changed_all_the_same(ada, by, monkeypatch):
    monkeypatch.setattr(people, "COUNTING_SECONDS", 0)

    done = people.erase_person(person=people.find_person(ada), by=by)

    assert done.calls is None
    finish_erasures()
    assert found(*EVERY_TEXT) == []


def test_an_erasure_that_no_key_opens_waits_and_keeps_no_other_from_its_turn(ada, by):
    bob = factories.a_subscriber(email="bob@aviary.example")
    for each in (ada, bob):
        people.erase_person(person=people.find_person(each), by=by)
    waiting, other = PendingErasure.objects.order_by("pk")
    texts, foreign = waiting.texts, other.texts
    PendingErasure.objects.filter(pk=waiting.pk).update(texts=foreign)

    finish_erasures()
    assert list(PendingErasure.objects.values_list("pk", flat=True)) == [waiting.pk]

    PendingErasure.objects.update(texts=texts)
    finish_erasures()
    assert found(*EVERY_TEXT) == []
