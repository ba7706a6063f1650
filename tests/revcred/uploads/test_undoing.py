from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Membership,
    SealedValue,
    Subscriber,
    Subscription,
    Upload,
)
from revcred.uploads import actions, housekeeping, undoing
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "customer,name,key,secret,subscription,holders,environment,tags,expires_at,assigned_from"
NEW = "customer,name,key,subscription"


def state():
    """All that an upload may touch, but for times of creation."""
    tables = (
        (Customer, ("external_key", "name", "tags", "email_domains", "metadata")),
        (Subscriber, ("email", "name", "external_key")),
        (Membership, ("customer__external_key", "subscriber__email", "role")),
        (Subscription, ("external_key", "product_id", "active_from", "active_until", "quota")),
        (Credential, ("name", "environment", "tags", "expires_at", "holders__email")),
        (ExternalKey, ("fingerprint", "credential__name", "active_from", "active_until")),
        (Assignment, ("credential__name", "subscription_id", "active_from", "active_until")),
        (SealedValue, ("external_key_id", "secret_fingerprint")),
    )
    return {
        model.__name__: sorted(model.objects.values_list(*fields), key=repr)
        for model, fields in tables
    }


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def maps(acme):
    return factories.a_subscription(acme, external_key="maps")


def test_a_whole_upload_of_everything_is_undone(applied, undone, acme, maps, monkeypatch):
    monkeypatch.setattr(undoing, "CHANGES_PER_UNDO_TRANSACTION", 3)
    factories.a_product("P")
    factories.a_subscription(acme, external_key="routes")
    holder = factories.a_subscriber(acme, email="ada@example.com")
    factories.a_credential(
        acme,
        "the-key-of-orders",
        "its secret",
        name="Orders",
        tags=["x"],
        subscriptions=[maps],
        holders=[holder],
    )
    factories.a_credential(factories.a_customer("Other"), "the-key-of-another", name="Theirs")
    before = state()

    upload = applied(
        rows(
            HEADER,
            "acme,Bills,the-key-of-orders,new secret,routes,bo@example.com,test,a|b,2030-01-01,",
            "acme,Ours,the-key-of-another,,maps,,,,,",
            "fresh,A,key-number-01,,fresh-maps,cy@example.com,,,,",
            "fresh,B,key-number-02,,fresh-maps,,,,,",
        ),
        customers="create",
        subscribers="create",
        subscriptions="create",
        product="p",
        keys_of_others="take_over",
    )
    assert upload.outcome == {"move": 2, "create": 2, "meanwhile": 0}
    assert state() != before
    undone(upload)

    assert (upload.state, upload.outcome["kept"]) == (Upload.State.UNDONE, 0)
    assert state() == before
    assert (
        credentials.reveal_key(
            key=ExternalKey.objects.get(credential__name="Orders"),
            field="secret",
            by=factories.a_user(),
        )
        == "its secret"
    )


def test_an_assignment_that_had_never_begun_is_put_back(applied, undone, acme, maps):
    factories.a_subscription(acme, external_key="routes")
    made = factories.a_credential(acme, "the-key-of-orders", name="Orders")
    tomorrow = timezone.now() + timedelta(days=1)
    credentials.assign_subscription(credential=made, subscription=maps, at=tomorrow, by=None)
    before = state()

    upload = applied(rows(NEW, "acme,Orders,the-key-of-orders,routes"))
    assert [each.subscription.external_key for each in made.assignments.all()] == ["routes"]
    undone(upload)

    assert state() == before


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            ListKind.CUSTOMERS,
            rows("external_key,name,tags,metadata", 'acme,New,a,"{""a"": 1}"', "b,B,,"),
        ),
        (
            ListKind.SUBSCRIBERS,
            rows("email,name,customer,role", "ada@example.com,New,acme,owner", "b@b.bb,,acme,"),
        ),
        (
            ListKind.SUBSCRIPTIONS,
            rows("external_key,customer,product,name,quota", "maps,acme,p,New,7", "b,acme,p,,"),
        ),
    ],
)
@pytest.mark.usefixtures("maps")
def test_other_kinds_are_undone_as_well(applied, undone, acme, kind, text):
    factories.a_product("P")
    factories.a_subscriber(acme, email="ada@example.com")
    before = state()

    upload = applied(text, kind=kind)
    assert state() != before
    undone(upload)

    assert upload.state == Upload.State.UNDONE
    assert state() == before


def test_usage_keeps_what_it_hangs_on(applied, acme, maps):
    upload = applied(rows(NEW, "acme,A,key-number-01,maps", "acme,B,key-number-02,maps"))
    factories.settled(factories.a_call("key-number-01"))

    for undo in (actions.check_undoing, partial(actions.undo_upload, by=factories.an_admin())):
        undo(upload=upload)
        worked(upload)

        assert obstacles_of(upload) == [("Transactions have been attributed to it", 1, ["A"])]
        assert (upload.undo_preview["changes"], upload.undo_preview["left"]) == (2, 1)
        assert upload.state == Upload.State.APPLIED


def obstacles_of(upload):
    return [
        (each["reason"], each["count"], each["first"]) for each in upload.undo_preview["obstacles"]
    ]


def test_the_others_are_undone_if_that_is_asked_for(applied, acme, maps):
    upload = applied(rows(NEW, "acme,A,key-number-01,maps", "acme,B,key-number-02,maps"))
    factories.settled(factories.a_call("key-number-01"))

    actions.undo_upload(upload=upload, by=factories.an_admin(), keep_depended=True)
    worked(upload)

    assert (upload.state, upload.outcome["undone"], upload.outcome["kept"]) == ("undone", 1, 1)
    assert upload.undo_preview["kept"] == upload.undo_preview["obstacles"]
    assert [each.name for each in Credential.objects.all()] == ["A"]


def test_so_does_usage_that_was_claimed(applied, acme, maps):
    factories.settled(factories.a_call("key-number-01"))
    upload = applied(rows(NEW, "acme,A,key-number-01,maps"))
    reattribution.work_through_claims()

    actions.check_undoing(upload=upload)
    assert [count for _, count, _ in obstacles_of(worked(upload))] == [1]


def test_acts_and_later_uploads_are_told(applied, acme, maps):
    upload = applied(rows(NEW, "acme,A,key-number-01,", "acme,B,key-number-02,"))
    credentials.suspend_credential(credential=Credential.objects.get(name="A"), by=None)
    applied(rows(NEW, "acme,C,key-number-02,"))

    actions.check_undoing(upload=upload)
    told = [(reason, first) for reason, _, first in obstacles_of(worked(upload))]
    assert told == [("Somebody has changed it since", ["A"]), ("A later upload changed it", ["C"])]


def test_what_was_created_is_kept_while_others_use_it(applied, acme):
    factories.a_product("P")
    upload = applied(rows("external_key,name", "fresh,Fresh"), kind=ListKind.CUSTOMERS)
    factories.a_credential(Customer.objects.get(external_key="fresh"))

    actions.check_undoing(upload=upload)
    told = [(reason, first) for reason, _, first in obstacles_of(worked(upload))]
    assert told == [("The customer has other credentials", ["Fresh"])]


def test_what_is_depended_on_while_it_is_undone_is_kept(applied, acme, maps, monkeypatch):
    upload = applied(rows(NEW, "acme,A,key-number-01,maps", "acme,B,key-number-02,maps"))
    actions.undo_upload(upload=upload, by=factories.an_admin())
    find = undoing.find_undo_obstacles

    def found_before_it_is_used(upload):
        found = find(upload)
        factories.settled(factories.a_call("key-number-01"))
        return found

    monkeypatch.setattr(undoing, "find_undo_obstacles", found_before_it_is_used)
    worked(upload)

    assert (upload.state, upload.outcome["undone"], upload.outcome["kept"]) == ("undone", 1, 1)
    assert [(each["count"], each["first"]) for each in upload.undo_preview["kept"]] == [(1, ["A"])]
    assert [each.name for each in Credential.objects.all()] == ["A"]


def test_an_upload_is_undone_once(applied, undone, acme):
    upload = applied(rows(NEW, "acme,A,key-number-01,"))
    undone(upload)

    with pytest.raises(actions.WrongUploadState):
        actions.undo_upload(upload=upload, by=factories.an_admin())


def test_an_undone_list_can_be_applied_again(applied, undone, acme):
    text = rows(NEW, "acme,A,key-number-01,")
    undone(applied(text))

    assert applied(text).outcome == {"create": 1, "meanwhile": 0}


def test_undo_data_goes_after_its_time_and_replaced_secrets_with_it(applied, acme, maps, settings):
    factories.a_credential(acme, "the-key-of-orders", "its secret", name="Orders")
    line = "acme,Orders,the-key-of-orders,another secret"
    upload, later = (applied(rows("customer,name,key,secret", line + n)) for n in ("", " 2"))
    assert upload.changes.get().secret
    Upload.objects.filter(pk=upload.pk).update(ended_at=timezone.now() - timedelta(days=91))

    assert housekeeping.drop_undo_data(except_of=[upload.pk]) == 0
    assert housekeeping.drop_undo_data() == 1

    upload.refresh_from_db()
    assert (upload.may_be_undone, upload.undoable_until) == (False, None)
    with pytest.raises(actions.WrongUploadState):
        actions.undo_upload(upload=upload, by=factories.an_admin())
    assert later.undoable_until == later.ended_at + timedelta(days=90)

    settings.MAX_UPLOAD_CHANGES = 1
    assert (housekeeping.drop_undo_data(), later.changes.count()) == (0, 1)
    settings.MAX_UPLOAD_CHANGES = 0
    assert (housekeeping.drop_undo_data(), later.changes.count()) == (1, 0)
