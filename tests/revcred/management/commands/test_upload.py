"""`manage.py upload`, as a script calls it."""

from io import StringIO

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.utils import timezone

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Quarantined, Transaction
from revcred.management.commands.upload import INTERRUPTED, NOT_DONE, SOME_REJECTED
from revcred.models import AuditEvent, Credential, Customer, Upload
from revcred.uploads.worker import process_waiting_uploads
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-orders-1a2b"
GOOD = f"customer,name,key\nacme,Orders,{KEY}\n"
MIXED = f"{GOOD}nobody,Bills,the-key-of-bills-3c4d\n"


@pytest.fixture(autouse=True)
def _place(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"


@pytest.fixture(autouse=True)
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def upload(tmp_path):
    """What it ended with, and what it said: `upload(GOOD, "--check")`."""

    def upload(text, *options, name="keys.csv"):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        said, complained = StringIO(), StringIO()
        if "--apply" in options and "--by" not in options:
            options = (*options, "--by", factories.an_admin().email)
        try:
            call_command("upload", str(file), *options, stdout=said, stderr=complained)
        except SystemExit as end:
            return end.code, said.getvalue(), complained.getvalue()
        except CommandError as error:
            return error.returncode, said.getvalue(), str(error)
        return 0, said.getvalue(), complained.getvalue()

    return upload


def test_check_says_what_it_would_do_and_leaves_nothing(upload, settings):
    code, said, complained = upload(GOOD, "--check")

    assert code == 0
    assert "1 rows: 1 create, 0 update, 0 move, 0 unchanged, 0 rejected." in said
    assert complained == ""
    assert not Credential.objects.exists()
    assert Upload.objects.get().state == Upload.State.CANCELLED
    assert [*settings.UPLOADS_DIR.iterdir()] == []


def test_apply_does_it_for_whom_it_was_said(upload):
    user = factories.a_user("ops@example.com", is_staff=True)

    code, said, complained = upload(GOOD, "--apply", "--by", "ops@example.com")
    assert code == NOT_DONE
    assert "Issue credentials" in complained
    assert not Credential.objects.exists()

    rights = Permission.objects.filter(codename__in=["apply_upload", "add_credential"])
    user.user_permissions.set(rights)
    code, said, _ = upload(GOOD, "--apply", "--by", "ops@example.com")

    assert code == 0
    assert "Applied: 1 created, in " in said
    assert Credential.objects.get().name == "Orders"
    assert AuditEvent.objects.about(Upload.objects.first()).first().actor == user.email


def test_nothing_is_applied_on_nobodys_behalf(tmp_path):
    file = tmp_path / "keys.csv"
    file.write_text(GOOD)
    with pytest.raises(CommandError, match="--by EMAIL") as error:
        call_command("upload", str(file), "--apply")
    assert error.value.returncode == NOT_DONE
    assert not Upload.objects.exists()


def test_some_rows_are_refused_and_written_to_a_file(upload, tmp_path):
    rejected = tmp_path / "rejected.csv"

    code, said, complained = upload(MIXED, "--apply", "--rejected", str(rejected))

    assert code == SOME_REJECTED
    assert "Row 3, customer nobody: No customer has this external key." in complained
    assert rejected.read_text().splitlines() == [
        "error,customer,name,key",
        '"Row 3: customer: No customer has this external key.",nobody,Bills,the-key-of-bills-3c4d',
    ]
    assert str(rejected) in said
    assert Credential.objects.count() == 1


def test_refused_rows_are_written_of_a_check_as_well(upload, tmp_path):
    rejected = tmp_path / "rejected.csv"

    code, _, _ = upload(MIXED, "--check", "--rejected", str(rejected))

    assert code == SOME_REJECTED
    assert len(rejected.read_text().splitlines()) == 2


def test_corrected_rows_have_the_settings_of_their_list(upload):
    upload(MIXED, "--check", "--create-customers")
    first = Upload.objects.get()

    code, said, _ = upload(MIXED, "--check", "--like", str(first.pk))
    assert (code, "2 create" in said) == (0, True)
    code, _, complained = upload(MIXED, "--check", "--like", str(first.pk), "--take-over")
    assert code == NOT_DONE
    assert complained == "--like brings its own settings. Leave out --take-over."
    code, _, complained = upload(MIXED, "--check", "--like", "0")
    assert (code, complained) == (NOT_DONE, "There is no upload 0.")


def test_all_or_nothing_is_nothing_if_a_row_is_rejected(upload):
    code, _, complained = upload(MIXED, "--apply", "--all-or-nothing")

    assert code == NOT_DONE
    assert "Nothing was applied" in complained
    assert not Credential.objects.exists()
    assert Upload.objects.get().state == Upload.State.CANCELLED


def test_what_is_not_known_is_created_if_asked_for(upload):
    factories.a_product("Maps")
    text = "customer,name,subscription,holders\nglobex,Orders,globex-maps,ada@example.com\n"

    code, said, _ = upload(
        text,
        *("--apply", "--create-customers", "--create-subscribers"),
        *("--create-subscriptions", "maps", "--generate-keys"),
    )

    assert code == 0, said
    assert "In addition, 1 customers would be created." in said
    globex = Customer.objects.get(external_key="globex")
    assert globex.subscriptions.get().product.external_key == "maps"


def test_columns_are_named(upload):
    text = f"whose,what it is,string\nacme,Orders,{KEY}\n"
    columns = ("--column", "whose=customer", "--column", "what it is=name")

    code, _, complained = upload(text, "--check")
    assert code == NOT_DONE
    assert complained.startswith("No column was recognised for: customer, name.")

    assert upload(text, "--apply", *columns, "--column", "string=key")[0] == 0
    assert Credential.objects.get().keys.get().hint == KEY[-4:]


def test_the_same_list_again_is_applied_and_changes_nothing(upload):
    upload(GOOD, "--apply")

    code, said, _ = upload(GOOD, "--apply")

    assert code == 0
    assert said.splitlines()[-1].startswith("Applied: nothing had to be changed, in ")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--by", "nobody@example.com"), "Nobody signs in as nobody@example.com."),
        (("--create-subscriptions", "cats"), "There is no product cats."),
        (("--column", "cats=key"), "The file has no column “cats”."),
        (("--column", "name=cats"), "“cats” is not one of customer, customer_name"),
    ],
)
def test_what_cannot_be_is_told(upload, options, reason):
    code, _, complained = upload(GOOD, "--check", *options)

    assert code == NOT_DONE
    assert complained.startswith(reason)


def test_a_file_that_is_not_there_or_no_list(upload):
    assert upload(None, "--check", name="nowhere.csv")[0] == NOT_DONE
    code, _, complained = upload("%PDF-1.7", "--check")
    assert code == NOT_DONE
    assert complained == "This is a PDF. Only tables of text are read."


def test_progress_is_drawn_where_somebody_looks(upload):
    *_, silent = upload(GOOD, "--check")
    *_, drawn = upload(GOOD, "--check", "--progress")

    assert "█" not in silent
    assert "100%" in drawn or "80%" in drawn
    assert "1 rows" in drawn


def test_an_interrupted_one_is_cancelled(upload, monkeypatch):
    real, calls = process_waiting_uploads, []

    def interrupted(**how):
        calls.append(how)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(**how)

    monkeypatch.setattr("revcred.management.commands.upload.process_waiting_uploads", interrupted)

    code, _, complained = upload(GOOD, "--apply")

    assert code == INTERRUPTED
    assert "Interrupted: nothing was written." in complained
    assert Upload.objects.get().state == Upload.State.CANCELLED
    assert not Credential.objects.exists()


def test_what_every_row_has_is_said_beside_the_file(upload):
    code, said, _ = upload("name,key\nOrders,the-key-of-orders-1a2b\n", "--check")
    assert code == 2
    code, said, _ = upload(
        "Client,name,key\nbeta,Orders,the-key-of-orders-1a2b\n",
        *("--check", "--column", "Client=customer", "--fixed-value", "customer=acme"),
    )

    assert (code, "1 create" in said) == (0, True)
    assert Upload.objects.first().fixed_values == {"customer": "acme"}


def test_what_no_row_can_have(upload):
    code, _, complained = upload(GOOD, "--check", "--fixed-value", "key=the-same")

    assert code == 2
    assert "--fixed-value “key” is not one of customer," in complained


def test_a_file_that_is_missing_or_too_large_is_named(upload, settings, monkeypatch):
    code, _, complained = upload(None, "--check", name="nowhere.csv")
    assert code == NOT_DONE
    assert complained.endswith("nowhere.csv: No such file or directory.")

    monkeypatch.setattr("revcred.uploads.actions.MAX_FILE_BYTES", 10)
    code, _, complained = upload(GOOD, "--check")
    assert (code, complained) == (NOT_DONE, "The file is too large.")
    assert [*settings.UPLOADS_DIR.iterdir()] == []


def test_rejected_rows_that_cannot_be_written_are_said_so(upload, tmp_path):
    nowhere = tmp_path / "nowhere" / "rejected.csv"

    code, _, complained = upload(MIXED, "--check", "--rejected", str(nowhere))

    assert code == NOT_DONE
    assert complained == f"{nowhere}: No such file or directory."


def test_every_choice_of_the_page_is_an_option(upload):
    text = (
        "Keys of acme,,,,,\ncustomer,name,key,plan,expires,state\n"
        "acme,A,key-of-number-one,Gold,03/04/2030,ruht\n"
        "acme,A,key-of-number-two,Gold,03/04/2030,ruht\nacme,B,,Gold,,\n"
    )

    code, said, _ = upload(
        text,
        *(
            "--apply",
            "--create-plans",
            "--create-subscriptions",
            "--plan-keys",
            "{plan}.{customer}",
        ),
        *("--generate-keys", "--keep-inactive", "--states", "ruht=suspended", "--header-row", "2"),
        *("--day-order", "day_first", "--time-zone", "Europe/Berlin", "--duplicates", "last"),
    )

    assert code == 0, said
    assert "2 created" in said
    assert "1 rows are left out" in said
    one = Credential.objects.get(name="A")
    assert (one.expires_at.isoformat(), one.suspensions.count()) == ("2030-04-02T22:00:00+00:00", 1)
    assert one.assignments.get().subscription.external_key == "Gold.acme"


def test_a_choice_that_cannot_be_is_named(upload):
    code, _, complained = upload(GOOD, "--check", "--time-zone", "Berlin")

    assert code == NOT_DONE
    assert complained == "--time-zone: This is no time zone such as Europe/Berlin."


def test_two_columns_that_could_be_the_key_are_asked_about(upload):
    text = f"customer,name,API key,client id\nacme,Orders,{KEY},client-0001\n"

    code, _, complained = upload(text, "--check")

    assert code == NOT_DONE
    assert "More than one column could be the key: API key, client id." in complained
    assert upload(text, "--check", "--column", "client id=key")[0] == 0


def test_calls_are_counted_by_customer_and_month(upload, acme):
    factories.a_gateway("edge")
    maps = factories.a_subscription(acme, external_key="maps")
    factories.a_credential(acme, KEY, name="Orders", subscriptions=[maps])
    now = timezone.now()
    lines = [f"{n},{now.isoformat()},{key}" for n, key in enumerate([KEY, KEY, "nobodys-key-1"])]
    text = "\n".join(["transaction_id,occurred_at,key", *lines, ""])
    options = ("--kind", "usage", "--fixed-value", "gateway=edge")

    code, said, _ = upload(text, "--check", *options)

    assert code == 0
    assert "3 rows would be counted, 1 of them would wait in quarantine." in said
    assert f"{now:%Y-%m}, Acme: 2 calls" in said
    assert f"{now:%Y-%m}, quarantine (No credential has this key): 1 calls" in said

    assert upload(text, "--apply", *options)[0] == 0
    process_waiting_deliveries()
    assert (Transaction.objects.count(), Quarantined.objects.count()) == (2, 1)
    assert upload(text, "--apply", *options)[0] == 0  # as a script does it again
    process_waiting_deliveries()
    assert (Transaction.objects.count(), Quarantined.objects.count()) == (2, 1)
