"""Keys that were stored before doors cut them are found in every table, and cut out."""

import json
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.transaction import atomic
from django.utils import timezone

from metering.inbox.calls import NOTHING_WITHHELD, dedup_key_of_id, encode_call
from metering.ledger import receipts
from metering.models import (
    Conflict,
    Delivery,
    DiscoveredSource,
    IdempotentPost,
    PartialTransaction,
    Quarantined,
    Rejection,
    SeenTransaction,
    Transaction,
)
from metering.scrubbing import SCRUBBED_TABLES, KeyScrub, find_keys_elsewhere
from revcred.actions.credentials import generate_key
from revcred.models import AuditEvent, Customer
from revcred.postgresql.owner import as_owner
from tests import factories
from tests.canaries import everything
from tests.lengths import mostly_long
from tests.revcred.test_redaction import FORMS

pytestmark = pytest.mark.django_db(transaction=True)

KNOWN = "aKnown-K3y-0f9harbour"
WAITING = "aWaiting-K3y-7b2harbour"
OWN = generate_key()
SECRETS = {"known": KNOWN, "of an unknown caller": WAITING, "of our shape": OWN}


@pytest.fixture(autouse=True)
def _as_owner(db):
    """As its command: the audit is changed, which the application may not do."""
    with as_owner():
        yield


@pytest.fixture(autouse=True)
def stored(monkeypatch):
    """Store every secret in every place that is searched, in the given form."""
    # As it was before: what was said is what was kept.
    monkeypatch.setattr("metering.inbox.calls.WithheldSecrets.may_be_in", lambda *_, **__: False)
    monkeypatch.setattr("metering.inbox.calls.strip_url_to_path", lambda path: path)


def store(form=str):
    gateway = factories.a_gateway("edge")
    customer = factories.a_customer()
    factories.a_credential(customer, key=KNOWN, subscriptions=[factories.a_subscription(customer)])
    said = {name: form(secret) for name, secret in SECRETS.items()}

    def call(key, number):
        return factories.a_call(
            key,
            transaction_id=f"{number} {said['known']}",
            method=said["known"][:200],
            path=f"/{said['of our shape']}/{said['of an unknown caller']}",
            metadata={"agent": list(said.values()), said["known"]: {"deep": said["of our shape"]}},
        )

    factories.settled(call(KNOWN, 1), call(WAITING, 2), gateway=gateway)
    other = call(KNOWN, 1)
    other.status = 500
    factories.settled(other, gateway=gateway)
    body = json.dumps([json.loads(line_of(call(KNOWN, 3), gateway))])
    Delivery.objects.create(gateway=gateway, transactions=1, body=body)
    PartialTransaction.objects.create(
        dedup_key=UUID(dedup_key_of_id(gateway.pk, f"4 {said['known']}")),
        side="request",
        gateway=gateway,
        call=line_of(call(KNOWN, 4), gateway),
    )
    IdempotentPost.objects.create(
        key_hash=uuid4(), content_hash=uuid4(), status=201, answer={"id": said["known"]}
    )
    DiscoveredSource.objects.create(
        name=said["known"],
        kind="named",
        gateway=gateway,
        first_seen_at=timezone.now(),
        last_seen_at=timezone.now(),
    )
    Rejection.objects.create(
        gateway=gateway,
        door="/v1",
        transaction_id=said["known"],
        code="c",
        message="m",
        item=json.dumps({"id": 1, "said": list(said.values())}),
    )
    event = AuditEvent(
        at=timezone.now(),
        verb="created",
        target_type="x",
        target=said["known"][:300],
        details={"names": list(said.values())},
    )
    event.chain()
    AuditEvent(at=timezone.now(), verb="created", target_type="x", target="later").chain()
    return gateway


def line_of(call, gateway):
    mark, _, _, said = encode_call(gateway.pk, call, NOTHING_WITHHELD)
    return json.dumps(json.loads(said) | {"dedup_key": mark})


def scrub(*options):
    out = StringIO()
    call_command("scrub_keys", *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def secrets_in(text):
    return [secret for secret in SECRETS.values() if secret in text]


# Every form is redacted in tests/revcred/test_redaction.py.
@pytest.mark.parametrize("form", mostly_long(FORMS, quick=8))
def test_nothing_is_left_of_them_in_any_form(form):
    store(FORMS[form])
    said = scrub("--apply")

    assert not find_keys_elsewhere()
    again = KeyScrub(apply=False).run()
    assert again == {}
    assert not secrets_in(everything())
    assert not secrets_in(said)
    assert AuditEvent.objects.first_broken() is None


def test_it_says_what_and_how_many_and_changes_nothing_by_itself():
    store()
    before = everything()

    said = scrub()

    assert everything() == before
    assert "Nothing is changed: use --apply." in said
    for place in SCRUBBED_TABLES:
        assert place.table in said
    assert not secrets_in(said)


def test_it_is_on_record_with_its_counts():
    store()

    scrub("--apply")

    event = AuditEvent.objects.get(verb="scrubbed")
    assert event.details["metering_transaction, keys and tokens"] >= 1
    assert event.details["revcred_auditevent, keys and tokens"] == 1


def test_a_second_run_finds_nothing():
    store()
    scrub("--apply")

    assert "Nothing was found." in scrub("--apply")
    assert AuditEvent.objects.filter(verb="scrubbed").count() == 1


def test_a_transaction_is_still_found_by_its_whole_id_and_counted_once():
    gateway = store()
    whole = f"1 {KNOWN}"

    scrub("--apply")

    found = receipts.find_receipt(gateway, whole)
    assert found.transaction_id == "1 …bour"
    assert Transaction.objects.count() == 1
    assert Quarantined.objects.get().transaction_id == "2 …bour"
    assert SeenTransaction.objects.count() == 2
    assert Conflict.objects.count() == 1


def test_paths_are_cut_to_paths():
    customer = factories.a_customer()
    factories.a_credential(customer, key=KNOWN, subscriptions=[factories.a_subscription(customer)])
    path = "https://api.example.com/maps?zoom=3#top"
    factories.settled(factories.a_call(KNOWN, path=path), factories.a_call("nobody-s", path=path))

    said = scrub("--apply")

    assert "paths with a host or a query" in said
    assert Transaction.objects.get().path == Quarantined.objects.get().path == "/maps"


def test_prompts_are_removed_where_that_is_asked_for():
    metadata = {"gen_ai.prompt": "What is it?", "model": "m", "body": {"text": "It is."}}
    factories.settled(factories.a_call("nobody-s", metadata=metadata))

    scrub("--apply")
    assert Quarantined.objects.get().metadata == metadata
    scrub("--apply", "--prompts")
    assert Quarantined.objects.get().metadata == {"model": "m"}


def test_a_key_that_is_a_name_stays():
    customer = factories.a_customer("harbour-pine")
    factories.a_credential(customer, key="harbour-pine")
    factories.settled(factories.a_call("harbour-pine", path="/harbour-pine/maps"))

    assert "Nothing was found." in scrub("--apply")


def test_names_that_are_keys_are_reported_and_left():
    Customer.objects.create(name=f"Customer of {OWN}", external_key="acme")

    said = scrub("--apply")

    assert "revcred_customer.name" in said
    assert OWN not in said
    assert OWN in Customer.objects.get().name


@pytest.mark.parametrize(
    "change", ["elements = '{}'", "customer_id = 0", "sign = -1", "occurred_at = now()"]
)
def test_the_ledger_lets_nothing_else_be_changed(change):
    store()
    with connection.cursor() as cursor, atomic():
        cursor.execute("SET LOCAL revcred.scrubbing = 'on'")
        with pytest.raises(DatabaseError, match="only ever added to"), atomic():
            cursor.execute(f"UPDATE metering_transaction SET {change}")


@pytest.mark.parametrize("table", ["metering_transaction", "revcred_auditevent"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET id = id"])
def test_without_being_asked_it_lets_nothing_be_changed(table, statement):
    store()
    with pytest.raises(DatabaseError, match="only ever added to"), connection.cursor() as cursor:
        cursor.execute(statement.format(table))
