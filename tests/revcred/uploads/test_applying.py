import os
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from django.db import connection
from django.utils import timezone

from metering.models import Claim, Quarantined, Transaction
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import (
    Assignment,
    AuditEvent,
    Credential,
    Customer,
    ExternalKey,
    Membership,
    SealedValue,
    Subscriber,
    Subscription,
    Upload,
    UploadChange,
)
from revcred.uploads import actions, applying, files
from revcred.uploads.columns import ListKind
from revcred.uploads.housekeeping import delete_expired_uploads
from revcred.uploads.worker import MAX_ATTEMPTS_WITHOUT_PROGRESS, process_waiting_uploads
from tests import factories
from tests.owner import owner_cursor
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "customer,name,key,secret,subscription,holders,environment,tags,expires_at,assigned_from"
DAY = timedelta(days=1)


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def maps(acme):
    return factories.a_subscription(acme, external_key="maps")


def many(count):
    return rows(
        "customer,name,key,secret",
        *(f"acme,Number {each},key-number-{each:06},secret-{each:06}" for each in range(count)),
    )


def revealed(credential, field):
    return credentials.reveal_key(
        key=credential.keys.get(), field=field, by=factories.a_user(is_staff=True)
    )


def rows_for_customers(kind, *customers):
    """A list with a row for each (customer, customer's name)."""
    if kind == ListKind.SUBSCRIPTIONS:
        factories.a_product("Maps")
        header, tail = "external_key,product", ",maps"
    else:
        header, tail = "name", ""
    return rows(
        f"customer,customer_name,{header}",
        *(f"{key},{name},thing-{at}{tail}" for at, (key, name) in enumerate(customers)),
    )


@pytest.mark.parametrize("kind", [ListKind.CREDENTIALS, ListKind.SUBSCRIPTIONS])
def test_new_customers_are_called_as_the_list_says(applied, acme, kind):
    text = rows_for_customers(
        kind, ("new", ""), ("new", "Neue GmbH"), ("acme", "Other"), ("bare", "")
    )

    applied(text, kind=kind, customers="create")

    assert dict(Customer.objects.values_list("external_key", "name")) == {
        "new": "Neue GmbH",
        "acme": "Acme",
        "bare": "bare",
    }


def test_a_new_credential_is_as_one_that_was_issued(applied, acme, maps):
    holder = factories.a_subscriber(email="ada@example.com")
    upload = applied(
        rows(
            HEADER,
            "acme,Orders,the-key-of-orders,its secret,maps,ada@example.com,test,a|b,2030-01-01,",
        )
    )

    assert upload.state == Upload.State.APPLIED
    assert upload.outcome == {"create": 1, "meanwhile": 0}
    made = Credential.objects.get()
    assert (made.customer, made.name, made.environment, made.tags) == (
        acme,
        "Orders",
        "test",
        ["a", "b"],
    )
    assert made.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert list(made.holders.all()) == [holder]
    assert Membership.objects.filter(customer=acme, subscriber=holder).exists()
    key, assignment = made.keys.get(), made.assignments.get()
    assert (key.kind, key.hint, key.gateway, key.active_until) == ("key", "ders", None, None)
    assert timedelta(days=30) < timezone.now() - key.active_from < timedelta(days=32)
    assert (assignment.subscription, assignment.active_from) == (maps, key.active_from)
    assert revealed(made, "value") == "the-key-of-orders"
    assert revealed(made, "secret") == "its secret"


def test_a_key_that_is_not_said_is_generated(applied, acme):
    applied(rows("customer,name", "acme,Orders"))

    assert revealed(Credential.objects.get(), "value").startswith("rck_")


def test_many_chunks_are_applied_and_their_progress_is_true(applied, acme, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 7)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 7)

    upload = applied(many(50))

    assert upload.outcome == {"create": 50, "meanwhile": 0}
    assert (upload.done, upload.to_do, upload.fraction) == (50, 50, 1.0)
    assert (ExternalKey.objects.count(), SealedValue.objects.count()) == (50, 50)
    assert revealed(Credential.objects.get(name="Number 49"), "secret") == "secret-000049"


def test_no_row_is_left_out_where_the_number_of_rows_is_not_known(uploaded, acme, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    upload = uploaded(many(5))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    Upload.objects.update(to_do=None)
    worked(upload)

    assert (upload.state, upload.outcome) == ("applied", {"create": 5, "meanwhile": 0})


def test_a_change_leaves_what_is_blank_as_it_was(applied, acme, maps):
    made = factories.a_credential(
        acme, "the-key-of-orders", "old", name="Orders", tags=["a"], subscriptions=[maps]
    )
    applied(rows(HEADER, "acme,Bills,the-key-of-orders,new secret,,,,,,"))

    made.refresh_from_db()
    assert (made.name, made.tags) == ("Bills", ["a"])
    assert made.assignments.get().active_until is None
    assert revealed(made, "value") == "the-key-of-orders"
    assert revealed(made, "secret") == "new secret"


def test_a_move_ends_one_assignment_and_begins_another(applied, acme, maps):
    routes = factories.a_subscription(acme, external_key="routes")
    made = factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])
    at = datetime(2026, 2, 1, tzinfo=UTC)

    applied(
        rows(
            "customer,name,key,subscription,assigned_from",
            "acme,Orders,the-key-of-orders,routes,2026-02-01",
        )
    )

    told = [
        (each.subscription, each.active_from, each.active_until)
        for each in made.assignments.order_by("active_from")
    ]
    assert told == [(maps, factories.LONG_AGO, at), (routes, at, None)]


def test_a_key_is_taken_over_from_another_customer_only_if_chosen(applied, acme):
    other = factories.a_customer("Other")
    theirs = factories.a_credential(other, "the-key-of-orders", name="Theirs")

    upload = applied(
        rows("customer,name,key", "acme,Ours,the-key-of-orders"), keys_of_others="take_over"
    )

    assert upload.outcome == {"move": 1, "meanwhile": 0}
    ended, begun = theirs.keys.get(), Credential.objects.get(name="Ours").keys.get()
    assert ended.active_until == begun.active_from == upload.applied_at
    assert ended.fingerprint == begun.fingerprint


def test_what_is_named_is_created_first(applied):
    factories.a_product("Maps")
    upload = applied(
        rows(
            "customer,name,key,subscription,holders",
            "acme,A,key-number-01,acme-maps,ada@example.com",
            "acme,B,key-number-02,acme-maps|acme-more,ada@example.com|bo@example.com",
        ),
        customers="create",
        subscribers="create",
        subscriptions="create",
        product="maps",
    )

    assert upload.state == Upload.State.APPLIED, upload.error
    assert [each.external_key for each in Customer.objects.all()] == ["acme"]
    assert Subscription.objects.filter(customer__external_key="acme").count() == 2
    assert Subscriber.objects.count() == 2
    assert sorted(Assignment.objects.values_list("credential__name", flat=True)) == ["A", "B", "B"]


def test_waiting_usage_is_claimed_once_for_the_whole_upload(applied, acme, maps):
    factories.settled(factories.a_call("key-number-000001"), factories.a_call("key-number-000002"))
    applied(
        rows(
            "customer,name,key,subscription",
            *(f"acme,N{each},key-number-{each:06},maps" for each in range(3)),
        )
    )

    reattribution.work_through_claims()

    assert (Quarantined.objects.count(), Transaction.objects.count()) == (0, 2)
    claim = Claim.objects.get()
    assert (claim.attributed, claim.finished_at is not None) == (2, True)


def test_a_move_into_the_past_takes_usage_along(applied, acme, maps):
    routes = factories.a_subscription(acme, external_key="routes")
    factories.a_credential(acme, "the-key-of-orders", name="Orders", subscriptions=[maps])
    factories.settled(factories.a_call("the-key-of-orders", ago=DAY))

    applied(
        rows(
            "customer,name,key,subscription,assigned_from",
            f"acme,Orders,the-key-of-orders,routes,{timezone.now() - 2 * DAY:%Y-%m-%d}",
        )
    )
    reattribution.work_through_claims()

    standing = Transaction.objects.filter(sign=1).order_by("-pk").first()
    assert standing.subscription == routes


def test_what_happened_meanwhile_is_noticed_and_not_overwritten(uploaded, acme):
    made = factories.a_credential(acme, "the-key-of-orders", name="Orders")
    upload = uploaded(
        rows(
            "customer,name,key",
            "acme,Bills,the-key-of-orders",
            "acme,Other,key-number-01",
            "acme,Good,key-number-02",
        )
    )
    made.name = "Meanwhile"
    credentials.change_credential(credential=made, by=None)
    factories.a_credential(acme, "key-number-01", name="Quicker")

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)

    assert upload.outcome == {"create": 1, "meanwhile": 2}
    assert sorted(Credential.objects.values_list("name", flat=True)) == [
        "Good",
        "Meanwhile",
        "Quicker",
    ]
    told = [(each.row, each.message) for each in actions.list_row_problems(upload=upload)]
    assert told == [
        (2, "It has been changed since the list was checked."),
        (3, "It has been changed since the list was checked."),
    ]


def test_all_or_nothing_is_nothing_if_it_was_overtaken(uploaded, acme):
    upload = uploaded(many(3))
    factories.a_credential(acme, "key-number-000001", name="Quicker")

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    worked(upload)

    assert upload.state == Upload.State.FAILED
    assert [each.name for each in Credential.objects.all()] == ["Quicker"]


def test_all_or_nothing_undoes_what_it_has_begun(uploaded, acme, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 2)
    upload = uploaded(many(6))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)

    def overtake(upload):
        if upload.done == 2:
            factories.a_credential(acme, "key-number-000005", name="Quicker")

    process_waiting_uploads(only=upload, on_progress=overtake)
    upload.refresh_from_db()

    assert (upload.state, upload.outcome["undone"]) == (Upload.State.FAILED, 4)
    assert upload.error
    assert [each.name for each in Credential.objects.all()] == ["Quicker"]


def test_all_or_nothing_is_not_begun_with_refused_rows(uploaded, acme):
    upload = uploaded(rows("customer,name,key", "acme,A,key-number-01", "nobody,B,key-number-02"))

    with pytest.raises(actions.SomeRowsRejected):
        actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)


def test_nothing_is_applied_where_every_row_is_rejected(uploaded, acme):
    upload = uploaded(rows("customer,name,key", "nobody,A,key-number-01"))

    with pytest.raises(actions.NothingToApply):
        actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)


def test_a_list_that_changes_nothing_is_applied_all_the_same(applied, acme):
    factories.a_credential(acme, "key-number-01", name="A")

    upload = applied(rows("customer,name,key", "acme,A,key-number-01"))

    assert (upload.state, upload.outcome) == (Upload.State.APPLIED, {})
    assert not upload.changes.exists()


def test_a_cancelled_one_stops_at_the_end_of_a_row_and_says_what_it_did(
    uploaded, acme, monkeypatch
):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 2)
    upload = uploaded(many(6))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)

    def cancel(upload):
        if upload.done == 4:
            actions.cancel_upload(upload=Upload.objects.get(pk=upload.pk), by=None)

    process_waiting_uploads(only=upload, on_progress=cancel)
    upload.refresh_from_db()

    assert (upload.state, upload.outcome["create"]) == (Upload.State.CANCELLED, 4)
    assert Credential.objects.count() == 4
    assert Claim.objects.count() == 1


def test_a_cancelled_all_or_nothing_is_nothing(uploaded, acme, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 2)
    upload = uploaded(many(6))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)

    def cancel(upload):
        if upload.state == Upload.State.APPLYING and upload.done == 4:
            actions.cancel_upload(upload=Upload.objects.get(pk=upload.pk), by=None)

    process_waiting_uploads(only=upload, on_progress=cancel)
    upload.refresh_from_db()

    assert (upload.state, upload.outcome["undone"]) == (Upload.State.FAILED, 4)
    assert upload.error == "It was cancelled. No changes were kept."
    assert not Credential.objects.exists()


def test_a_worker_that_is_lost_leaves_whole_chunks_and_another_goes_on(uploaded, acme, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 2)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 2)
    upload = uploaded(many(7))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)

    class LostError(Exception):
        pass

    def lose(upload):
        raise LostError

    for _ in range(3):
        with pytest.raises(LostError):
            process_waiting_uploads(only=upload, on_progress=lose)
    worked(upload)

    assert (upload.state, upload.outcome) == ("applied", {"create": 7, "meanwhile": 0})
    assert Credential.objects.count() == 7
    assert UploadChange.objects.filter(target_type="revcred.credential").count() == 7


def test_one_that_breaks_off_again_and_again_is_given_up(uploaded, acme, monkeypatch):
    upload = uploaded(many(1))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)

    class BrokenError(Exception):
        pass

    def broken(*_, **__):
        raise BrokenError

    monkeypatch.setattr(applying, "apply_chunks", broken)
    for _ in range(MAX_ATTEMPTS_WITHOUT_PROGRESS):
        with pytest.raises(BrokenError):
            process_waiting_uploads()
    worked(upload)

    assert upload.state == Upload.State.FAILED
    assert "without progress" in upload.error


def test_the_file_is_gone_when_it_ends_and_the_refused_rows_are_kept_apart(applied, acme):
    upload = applied(
        rows("customer,name,key,secret", "acme,A,key-number-01,s", "nobody,B,key-number-02,hush")
    )

    assert not files.list_file_path(upload.pk).exists()
    assert actions.rejected_file_of(upload=upload).name == "list-rejected.csv"
    to = BytesIO()
    actions.write_rejected_rows(upload=upload, to=to)
    assert to.getvalue().decode().splitlines() == [
        "error,customer,name,key,secret",
        '"Row 3: customer: No customer has this external key.",nobody,B,key-number-02,hush',
    ]


def test_refused_rows_are_taken_once_what_they_lacked_is_there(applied, uploaded):
    upload = uploaded(rows("customer,name,key", "acme,A,key-number-01"))
    to = BytesIO()
    actions.write_rejected_rows(upload=upload, to=to)
    factories.a_customer("Acme")

    assert applied(to.getvalue().decode("utf-8-sig")).outcome == {"create": 1, "meanwhile": 0}


def test_no_key_and_no_secret_reaches_a_table_or_the_record(applied, acme):
    applied(
        rows(
            "customer,name,key,secret",
            "acme,A,the-key-of-orders,the-secret-of-orders",
            "nobody,B,the-key-of-bills,the-secret-of-bills",
        )
    )

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND NOT relispartition"
            " AND relnamespace::regnamespace::text IN ('public', 'revcred_staging')"
        )
        tables = [name for (name,) in cursor.fetchall()]
        cursor.execute(
            " UNION ALL ".join(f"SELECT t::text FROM {table} t" for table in sorted(tables))
        )
        said = "\n".join(text for (text,) in cursor.fetchall())
    assert "A" in said
    for hidden in ("the-key-of-orders", "the-secret-of", "the-key-of-bills"):
        assert hidden not in said


def test_the_run_is_on_record_once(applied, acme):
    admin = factories.a_user(is_staff=True)
    upload = applied(many(3), by=admin)

    told = AuditEvent.objects.about(upload).order_by("pk").values_list("verb", "details")
    assert list(told) == [
        ("uploaded", {"digest": upload.digest, "bytes": upload.size}),
        ("applied", {"digest": upload.digest, "from": "applying", "create": 3, "meanwhile": 0}),
    ]
    assert AuditEvent.objects.count() == 2


def test_other_kinds_are_applied_the_same_way(applied, acme):
    factories.a_product("Maps")
    ada = factories.a_subscriber(acme, email="ada@example.com")

    for kind, text in (
        (ListKind.CUSTOMERS, rows("external_key,name,tags", "acme,Acme Ltd.,a|b", "new,New,")),
        (
            ListKind.SUBSCRIBERS,
            rows(
                "email,name,customer,role",
                "ada@example.com,Ada,acme|new,owner",
                "bo@example.com,,new,",
            ),
        ),
        (
            ListKind.SUBSCRIPTIONS,
            rows("external_key,customer,product,quota", "maps,acme,maps,1000", "more,new,maps,"),
        ),
    ):
        upload = applied(text, kind=kind, people_of_others="join")
        assert (upload.state, upload.error) == ("applied", "")

    acme.refresh_from_db()
    ada.refresh_from_db()
    assert (acme.name, acme.tags, ada.name) == ("Acme Ltd.", ["a", "b"], "Ada")
    told = Membership.objects.order_by("pk").values_list(
        "subscriber__email", "customer__external_key", "role"
    )
    assert sorted(told) == [
        ("ada@example.com", "acme", "owner"),
        ("ada@example.com", "new", "owner"),
        ("bo@example.com", "new", "member"),
    ]
    assert Subscription.objects.get(external_key="maps").quota == 1000
    assert Subscription.objects.get(external_key="more").customer.name == "New"


def test_what_is_a_day_old_is_tidied_away(uploaded, acme):
    upload = uploaded(many(1))
    Upload.objects.update(created_at=timezone.now() - 2 * DAY)
    stray = files.uploads_directory() / "999"
    stray.write_text("of nobody")
    os.utime(stray, (0, 0))

    delete_expired_uploads()
    upload.refresh_from_db()

    assert upload.state == Upload.State.CANCELLED
    assert list(files.uploads_directory().iterdir()) == []


def credentials_read():
    """Return how many entries of indexes of credentials were read so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute(
            "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"
            " WHERE relname = 'revcred_credential'"
        )
        return int(cursor.fetchone()[0])


def test_plans_for_the_empty_tables_of_a_new_installation_are_not_kept(uploaded, acme, monkeypatch):
    """With these, every row would read all credentials that were written before it."""
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 250)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 250)
    names = range(1_500)
    upload = uploaded(rows("customer,name,key", *(f"acme,{n},key-of-number-{n}" for n in names)))
    with owner_cursor() as cursor:
        # What was tried out left dead rows, which autovacuum takes away soon afterwards.
        for table in ("credential", "externalkey", "assignment", "sealedvalue", "uploadchange"):
            cursor.execute(f"VACUUM revcred_{table}")
    before = credentials_read()

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    worked(upload)

    assert upload.outcome["create"] == len(names)
    found = credentials_read() - before
    assert found < 10 * len(names)
