"""What a list changes is on record at what it changes, not only at the list."""

from functools import partial

import pytest

from revcred.actions import credentials, undoing
from revcred.client_address import asked_from
from revcred.models import AuditEvent, Credential, Membership, Upload
from revcred.request_id import working_for
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

Verb = AuditEvent.Verb


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


def events_of(target):
    return [
        (each.verb, {k: v for k, v in each.details.items() if k not in {"upload", "list"}})
        for each in AuditEvent.objects.about(target).filter(details__has_key="upload")
    ]


def is_whole():
    return AuditEvent.objects.first_broken() is None


def test_each_event_says_from_where_it_was_asked_for(uploaded, acme):
    """A worker writes them, long after the request."""
    factories.a_subscriber(acme, email="bo@example.com")
    boss = factories.an_admin()
    list_ = rows("email,customer,role", "bo@example.com,acme,owner", "x@example.com,acme,viewer")
    before = AuditEvent.objects.latest("pk").pk if AuditEvent.objects.exists() else 0
    with asked_from("192.0.2.1"), working_for("request-1"):
        upload = uploaded(list_, kind=ListKind.SUBSCRIBERS, subscribers="create", by=boss)
    for number, act in enumerate(
        (partial(actions.apply_upload, all_or_nothing=False), actions.undo_upload), 2
    ):
        with asked_from(f"192.0.2.{number}"), working_for(f"request-{number}"):
            act(upload=upload, by=boss)
        worked(upload)
    with asked_from("192.0.2.4"), working_for("request-4"):
        other = uploaded(list_, kind=ListKind.SUBSCRIBERS, by=boss)
        actions.cancel_upload(upload=other, by=boss)
    worked(other)

    events = AuditEvent.objects.filter(pk__gt=before).order_by("pk")
    addresses = [(each.verb, each.address) for each in events]
    assert {verb for verb, _ in addresses} >= {"uploaded", "applied", "undone", "role_changed"}
    assert [address for _, address in addresses] == sorted(address for _, address in addresses)
    assert {(each.address, each.details["request_id"]) for each in events} == {
        (f"192.0.2.{n}", f"request-{n}") for n in range(1, 5)
    }
    assert is_whole()


def test_a_new_role_and_a_new_member_are_on_record_and_so_is_the_way_back(applied, undone, acme):
    bo = factories.a_subscriber(acme, email="bo@example.com")
    ada = factories.a_subscriber(factories.a_customer("Globex"), email="ada@example.com")

    upload = applied(
        rows("email,customer,role", "bo@example.com,acme,owner", "ada@example.com,acme,owner"),
        kind=ListKind.SUBSCRIBERS,
        people_of_others="join",
    )
    of_bo, of_ada = (Membership.objects.get(subscriber=each, customer=acme) for each in (bo, ada))
    assert events_of(of_bo) == [(Verb.ROLE_CHANGED, {"row": 2, "role": "member → owner"})]
    assert events_of(of_ada) == [
        (Verb.CREATED, {"role": "owner", "belongs_to_as_well": ["Globex"]})
    ]
    event = AuditEvent.objects.about(of_ada).get()
    assert (event.actor, event.target) == (
        factories.an_admin().email,
        "ada@example.com, Owner at Acme",
    )
    assert event.details["upload"] == upload.pk
    assert is_whole()

    undone(upload)
    assert events_of(of_bo)[0] == (
        Verb.ROLE_CHANGED,
        {"row": 2, "undone": True, "role": "owner → member"},
    )
    assert events_of(of_ada)[0] == (Verb.DELETED, {"undone": True, "role": "owner"})
    assert is_whole()


def test_a_holder_who_becomes_a_member_is_on_record(applied, acme):
    ada = factories.a_subscriber(factories.a_customer("Globex"), email="ada@example.com")
    applied(
        rows("customer,name,key,holders", "acme,Orders,the-key-of-orders,ada@example.com"),
        people_of_others="join",
    )
    member = Membership.objects.get(subscriber=ada, customer=acme)
    assert events_of(member) == [
        (Verb.CREATED, {"role": "member", "belongs_to_as_well": ["Globex"]})
    ]


def test_a_key_that_is_taken_over_is_on_record_at_both_ends(applied, undone, acme):
    globex = factories.a_customer("Globex")
    old = factories.a_credential(acme, "the-key-of-orders", name="Orders")
    upload = applied(
        rows("customer,name,key", "globex,Taken,the-key-of-orders"), keys_of_others="take_over"
    )
    new = Credential.objects.get(customer=globex)
    [(verb, details)] = events_of(old)
    assert (verb, details["taken_over_by"], details["customer"], details["hint"]) == (
        Verb.KEY_ENDED,
        "Taken",
        "globex",
        "ders",
    )
    [(verb, details)] = events_of(new)
    assert (verb, details["key_was_of"]) == (Verb.ISSUED, "Orders")

    undone(upload)
    assert events_of(old)[0][0] == Verb.CHANGED
    assert events_of(new)[0][0] == Verb.DELETED
    assert is_whole()


def test_a_key_that_is_used_again_is_on_record_at_both_ends(applied, acme):
    old = factories.a_credential(acme, "the-key-of-orders", name="Orders")
    credentials.revoke_credential(credential=old, reason="Leaked", by=None)
    applied(rows("customer,name,key", "acme,Orders,the-key-of-orders"), revoked_keys="use_again")

    new = Credential.objects.get(revoked_at=None)
    [(verb, details)] = events_of(old)
    assert (verb, details["used_again_for"]) == (Verb.KEY_ENDED, "Orders")
    [(verb, details)] = events_of(new)
    assert (verb, details["key_was_of"]) == (Verb.ISSUED, "Orders")


FIELDS = (
    (ListKind.CREDENTIALS, "name", "Orders", "Bills"),
    (ListKind.CREDENTIALS, "environment", "", "test"),
    (ListKind.CREDENTIALS, "tags", [], ["a", "b"]),
    (ListKind.CREDENTIALS, "expires_at", None, "2040-01-01T00:00:00+00:00"),
    (ListKind.CREDENTIALS, "secret", None, True),
    (ListKind.CREDENTIALS, "holders", None, ["bo@example.com"]),
    (ListKind.CUSTOMERS, "name", "Acme", "Renamed"),
    (ListKind.CUSTOMERS, "email_domains", [], ["example.com"]),
    (ListKind.CUSTOMERS, "tags", [], ["a"]),
    (ListKind.CUSTOMERS, "metadata", {}, {"a": 1}),
    (ListKind.SUBSCRIBERS, "name", "", "Bo"),
    (ListKind.SUBSCRIBERS, "external_key", None, "u-1"),
    (ListKind.SUBSCRIPTIONS, "product", "tiles", "roads"),
    (ListKind.SUBSCRIPTIONS, "name", "Maps", "Other"),
    (
        ListKind.SUBSCRIPTIONS,
        "active_from",
        "2024-01-01T00:00:00+00:00",
        "2024-02-01T00:00:00+00:00",
    ),
    (ListKind.SUBSCRIPTIONS, "active_until", None, "2040-01-01T00:00:00+00:00"),
    (ListKind.SUBSCRIPTIONS, "quota", None, 7),
)
CELLS = {
    "environment": "test",
    "tags": "a|b",
    "expires_at": "2040-01-01",
    "secret": "a-new-secret",
    "holders": "bo@example.com",
    "email_domains": "example.com",
    "metadata": '"{""a"": 1}"',
    "external_key": "u-1",
    "product": "roads",
    "active_from": "2024-02-01",
    "active_until": "2040-01-01",
    "quota": "7",
}


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: f"{field[0]}-{field[1]}")
def test_every_field_that_a_list_changes_has_its_old_and_new_value(applied, acme, field):
    """As each of them is on record when a page changes it."""
    kind, name, old, new = field
    tiles = factories.a_product("Tiles")
    factories.a_product("Roads")
    target = {
        ListKind.CUSTOMERS: acme,
        ListKind.SUBSCRIBERS: factories.a_subscriber(acme, email="bo@example.com"),
        ListKind.SUBSCRIPTIONS: factories.a_subscription(
            acme, external_key="maps", name="Maps", product=tiles
        ),
        ListKind.CREDENTIALS: factories.a_credential(acme, "the-key-of-orders", name="Orders"),
    }[kind]
    known = {
        ListKind.CREDENTIALS: {"customer": "acme", "name": "Orders", "key": "the-key-of-orders"},
        ListKind.CUSTOMERS: {"external_key": "acme", "name": "Acme"},
        ListKind.SUBSCRIBERS: {"email": "bo@example.com"},
        ListKind.SUBSCRIPTIONS: {"external_key": "maps", "customer": "acme", "product": "tiles"},
    }[kind]
    cell = new if isinstance(new, str) and name == "name" else CELLS[name]
    if kind is ListKind.CUSTOMERS and name == "tags":
        cell = "a"
    said = known | {name: cell}

    upload = applied(rows(",".join(said), ",".join(said.values())), kind=kind)

    assert upload.outcome.get("update") == 1, upload.preview
    [(verb, details)] = events_of(target)
    assert verb == Verb.CHANGED
    assert details == {"row": 2, "changed": {name: [old, new]}}
    event = AuditEvent.objects.about(target).first()
    assert undoing.undo_obstacle(event) == undoing.DONE_BY_UPLOAD_MESSAGE
    assert "a-new-secret" not in str(details)


def test_a_move_names_both_subscriptions(applied, acme):
    maps = factories.a_subscription(acme, external_key="maps")
    factories.a_subscription(acme, external_key="routes")
    moved = factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])
    applied(rows("customer,name,key,subscription", "acme,Orders,the-key-of-orders,routes"))
    [(verb, details)] = events_of(moved)
    assert (verb, details["from"], details["to"]) == (Verb.MOVED, "maps", "routes")
    assert details["at"]


def test_what_is_only_created_stays_in_the_changes_of_the_list(applied, acme):
    before = AuditEvent.objects.count()
    upload = applied(rows("customer,name", *(f"acme,Number {n}" for n in range(5))))
    assert upload.changes.count() == 5
    of_upload = AuditEvent.objects.about(Upload.objects.get()).count()
    assert AuditEvent.objects.count() == before + of_upload
