"""Lists of usage: counted like what gateways post, once, and taken back by reversals."""

from collections import Counter
from datetime import UTC, timedelta
from io import BytesIO

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.intake import accept_calls
from metering.ledger.receipts import find_receipt, receipt_of_row
from metering.models import Delivery, Quarantined, SeenTransaction, Transaction, Usage
from metering.quarantine import reattribution
from revcred.actions import credentials
from revcred.models import Gateway, Upload
from revcred.models.gateways import max_accepted_days
from revcred.uploads import actions, applying
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.metering.attribution.test_processing import no_differences
from tests.revcred.uploads.conftest import counts, problems

pytestmark = pytest.mark.django_db(transaction=True)

KEY, DAY = "the-key-of-orders", timedelta(days=1)
HEADER = "transaction_id,occurred_at,gateway,key,path,calls"


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture
def maps():
    factories.a_gateway("edge")
    acme = factories.a_customer("Acme")
    subscription = factories.a_subscription(acme, external_key="maps")
    factories.a_credential(acme, KEY, name="Orders", subscriptions=[subscription])
    return subscription


def rows(*lines, header=HEADER):
    return "\n".join([header, *lines, ""])


def row(name, *, ago=DAY, key=KEY, path="/tiles", calls=""):
    return f"{name},{(timezone.now() - ago).isoformat()},edge,{key},{path},{calls}"


def worked(upload):
    process_waiting_uploads()
    upload.refresh_from_db()
    return upload


def checked(text, **choices):
    return worked(
        actions.receive_upload(
            kind=ListKind.USAGE,
            file=BytesIO(text.encode()),
            name="calls.csv",
            by=None,
            choices=actions.UploadChoices(**choices),
        )
    )


def applied(text, *, whole=False):
    upload = checked(text)
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=whole)
    worked(upload)
    process_waiting_deliveries()
    return upload


def undone(upload):
    actions.undo_upload(upload=upload, by=upload.applied_by)
    return worked(upload)


def calls_of(subscription):
    usage = Usage.objects.filter(subscription=subscription, element="calls")
    return sum(each.quantity for each in usage)


def test_rows_are_counted_once_and_shown_by_customer_and_month(maps):
    old = (timezone.now() - 40 * DAY).astimezone(UTC)
    credentials.issue_credential(
        customer=maps.customer,
        name="Old",
        by=None,
        new_key=credentials.NewKey(key="the-old-key-of-acme", active_from=old - DAY),
        subscriptions=[maps],
    )
    maps.active_from = old - DAY
    maps.save()
    maps.customer.credentials.get(name="Old").assignments.update(active_from=old - DAY)
    text = rows(
        row("one"),
        row("two", calls=18250),
        row("three", ago=40 * DAY, key="the-old-key-of-acme"),
        row("four", key="nobodys-key-0001"),
    )

    upload = checked(text)

    recent = (timezone.now() - DAY).astimezone(UTC)
    shown = Counter()
    for each in upload.preview["calls"]["months"]:
        shown[each["customer"] or each["reason"], each["month"]] += each["calls"]
    assert shown == {
        ("No credential has this key", f"{recent:%Y-%m}"): 1,
        ("Acme", f"{recent:%Y-%m}"): 18251,
        ("Acme", f"{old:%Y-%m}"): 1,
    }
    assert (upload.preview["calls"]["rows"], upload.preview["calls"]["waiting"]) == (4, 1)
    assert not Delivery.objects.exists()

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)
    process_waiting_deliveries()

    assert upload.outcome["create"] == 4
    assert calls_of(maps) == 18252
    assert [each.reason for each in Quarantined.objects.all()] == ["unknown_key"]
    assert no_differences()
    again = checked(text)
    assert counts(again) == {"unchanged": 4}
    actions.apply_upload(upload=again, by=factories.an_admin(), all_or_nothing=False)
    worked(again)
    process_waiting_deliveries()
    assert calls_of(maps) == 18252


def test_a_call_that_its_gateway_posts_as_well_is_one_call(maps):
    moment = timezone.now() - DAY
    call = factories.a_call(KEY, occurred_at=moment, path="/tiles")
    line = f"{call.transaction_id},{moment.isoformat()},edge,{KEY},/tiles,"
    accept_calls(Gateway.objects.get(name="edge"), [call])
    process_waiting_deliveries()

    assert counts(checked(rows(line))) == {"unchanged": 1}
    other = checked(rows(line.replace("/tiles", "/routes")))
    assert problems(other) == [
        (2, "transaction_id", "This call has been counted already, with other content.")
    ]
    assert calls_of(maps) == 1


@pytest.mark.parametrize("rows_per_chunk", [2, 4_000])
def test_undoing_takes_back_what_was_counted_and_what_waits(maps, monkeypatch, rows_per_chunk):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", rows_per_chunk)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", rows_per_chunk)
    factories.settled(factories.a_call(KEY, ago=DAY))
    text = rows(*(row(f"call-{n}") for n in range(5)), row("waiting", key="nobodys-key-0001"))
    upload = applied(text)
    assert (calls_of(maps), Quarantined.objects.count()) == (6, 1)
    ledger = Transaction.objects.count()

    undone(upload)

    assert (upload.state, upload.outcome["undone"]) == (Upload.State.UNDONE, 6)
    assert (calls_of(maps), Quarantined.objects.count()) == (1, 0)
    # Nothing of the ledger is deleted: each call is taken back by a row of its own.
    assert Transaction.objects.count() == ledger + 5
    assert Transaction.objects.filter(sign=-1).count() == 5
    assert no_differences()
    call_command("verify_usage")
    first = Transaction.objects.get(transaction_id="call-0", sign=1)
    receipt = receipt_of_row(first)
    assert receipt.state == "taken_back"
    assert receipt.history[-1].what == "Taken back: the list that brought it was undone"
    assert find_receipt(Gateway.objects.get(name="edge"), "call-0") is None
    # The same list counts again.
    applied(text)
    assert (calls_of(maps), Quarantined.objects.count()) == (6, 1)


def test_what_was_corrected_meanwhile_is_taken_back_where_it_is_now(maps):
    upload = applied(rows(row("moved"), row("stays"), row("to-quarantine")))
    routes = factories.a_subscription(maps.customer, external_key="routes")
    credential = maps.customer.credentials.get()
    credentials.move_credential(
        credential=credential, subscription=maps, to=routes, by=None, at=timezone.now() - 3 * DAY
    )
    reattribution.work_through_claims()
    assert (calls_of(maps), calls_of(routes)) == (0, 3)
    credentials.end_key(key=credential.keys.get(), by=None, at=timezone.now() - 2 * DAY)
    reattribution.work_through_claims()
    assert (calls_of(routes), Quarantined.objects.count()) == (0, 3)

    undone(upload)

    assert upload.outcome["undone"] == 3
    assert (calls_of(maps), calls_of(routes), Quarantined.objects.count()) == (0, 0, 0)
    assert no_differences()
    assert not SeenTransaction.objects.exists()


def test_a_list_that_waits_in_the_inbox_is_counted_before_it_is_taken_back(maps):
    upload = checked(rows(row("one"), row("two")))
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    worked(upload)
    assert Delivery.objects.count() == 1

    undone(upload)

    assert upload.state == Upload.State.UNDONE
    assert (calls_of(maps), Delivery.objects.count()) == (0, 0)


def test_a_repeat_that_came_in_between_is_not_taken_back(maps):
    moment = timezone.now() - DAY
    call = factories.a_call(KEY, occurred_at=moment, path="/tiles")
    upload = checked(rows(f"{call.transaction_id},{moment.isoformat()},edge,{KEY},/tiles,"))
    accept_calls(Gateway.objects.get(name="edge"), [call])
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)
    process_waiting_deliveries()
    assert calls_of(maps) == 1

    undone(upload)

    # It is the gateway's, which posted it first.
    assert calls_of(maps) == 1


def test_faults_name_the_row_and_the_field(maps):
    days = max_accepted_days()
    text = rows(
        row("old", ago=(days + 1) * DAY),
        row("early", ago=-DAY),
        row("nobody", key=""),
        row("here").replace(",edge,", ",nowhere,"),
        row("twice"),
        row("twice"),
        row("many", calls="many"),
        row(""),
    )

    upload = checked(text)

    assert problems(upload) == [
        (2, "occurred_at", f"It is more than {days} days ago."),
        (3, "occurred_at", "It is more than 60 minutes ahead."),
        (4, "key", "A key or a subscription is required."),
        (5, "gateway", "No gateway has this name."),
        (6, "transaction_id", "The same call is also in row 7."),
        (7, "transaction_id", "The same call is also in row 6."),
        (8, "calls", "This is not a whole number of 0 or more."),
        (9, "transaction_id", "A value is required."),
    ]
    assert counts(checked(text, duplicates="first")) == {"create": 1, "unchanged": 1, "rejected": 6}


def test_no_key_of_a_row_is_kept(maps, admin_client):
    secret = "a-secret-key-of-nobody-77"
    upload = checked(rows(row("one", key=secret, path=f"/v1/{secret}/tiles?key={secret}")))

    page = admin_client.get(reverse("admin:revcred_upload_change", args=[upload.pk])).text
    assert "Calls by customer and month" in page
    assert secret not in page
    assert secret not in str(Upload.objects.filter(pk=upload.pk).values().get())
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)
    assert secret not in Delivery.objects.get().body
    process_waiting_deliveries()
    waiting = Quarantined.objects.get()
    assert secret not in str(Quarantined.objects.values().get())
    assert waiting.hint == "y-77"
