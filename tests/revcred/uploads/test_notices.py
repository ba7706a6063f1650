"""Who is told by mail of what a list changed: one mail for each person and list."""

import pytest

from revcred.models import Membership, OutgoingMail
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

Role = Membership.Role


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


def mails():
    found = OutgoingMail.objects.order_by("pk")
    assert len({each.recipient for each in found}) == len(found), "more than one mail to somebody"
    return {each.recipient: each.unseal() for each in found}


def test_new_owners_and_members_and_the_owners_before_are_told(applied, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    factories.a_subscriber(acme, email="bo@example.com")
    globex = factories.a_customer("Globex")
    factories.a_subscriber(globex, Role.OWNER, email="ada@example.com")

    applied(
        rows(
            "email,customer,role",
            "bo@example.com,acme,owner",
            "ada@example.com,acme,owner",
            "new@example.com,acme|globex,viewer",
        ),
        kind=ListKind.SUBSCRIBERS,
        people_of_others="join",
    )

    told = mails()
    people = ("boss", "bo", "ada", "new")
    assert told.keys() == {f"{each}@example.com" for each in people}
    assert "owner of Acme" in told["ada@example.com"]
    assert "new@example.com is viewer of Globex" in told["ada@example.com"]
    assert "bo@example.com is owner of Acme, and was member before" in told["boss@example.com"]
    assert "ada@example.com is owner of Acme" in told["boss@example.com"]
    assert "owner of Acme" in told["bo@example.com"]
    assert "viewer of Acme" in told["new@example.com"]
    assert "viewer of Globex" in told["new@example.com"]
    assert factories.an_admin().email in told["boss@example.com"]


def test_a_holder_of_another_customer_and_the_owners_are_told(applied, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    factories.a_subscriber(factories.a_customer("Globex"), email="ada@example.com")
    text = rows(
        "customer,name,key,holders",
        *(f"acme,Number {n},key-number-{n:05},ada@example.com" for n in range(3)),
    )

    applied(text, people_of_others="join")

    told = mails()
    assert told.keys() == {"boss@example.com", "ada@example.com"}
    assert "Globex" not in told["boss@example.com"]
    assert "key-number" not in str(told)


def test_owners_at_both_ends_are_told_of_a_key_and_of_no_other_customer(applied, acme):
    globex = factories.a_customer("Globex")
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    factories.a_subscriber(globex, Role.OWNER, email="chief@example.com")
    factories.a_credential(acme, "the-key-of-orders", name="Orders")

    applied(rows("customer,name,key", "globex,Taken,the-key-of-orders"), keys_of_others="take_over")

    told = mails()
    assert "…ders of “Orders” at Acme belongs to another" in told["boss@example.com"]
    assert "…ders belongs to Globex, as “Taken”" in told["chief@example.com"]
    assert "Globex" not in told["boss@example.com"]
    assert "Acme" not in told["chief@example.com"]


def test_a_long_list_is_summed_up(applied, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    text = rows("email,customer", *(f"person-{n:03}@example.com,acme" for n in range(50)))

    applied(text, kind=ListKind.SUBSCRIBERS)

    told = mails()
    assert len(told) == 51
    assert "- and 30 more" in told["boss@example.com"]
    assert told["boss@example.com"].count("person-") == 20


def test_what_is_taken_back_by_itself_tells_nobody(uploaded, acme):
    upload = uploaded(rows("email,customer", "new@example.com,acme"), kind=ListKind.SUBSCRIBERS)
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    actions.cancel_upload(upload=upload, by=factories.an_admin())
    process_waiting_uploads()
    upload.refresh_from_db()

    assert upload.state in {"failed", "cancelled"}
    assert not Membership.objects.exists()
    assert mails() == {}


def test_plain_new_credentials_tell_nobody(applied, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    applied(rows("customer,name", "acme,Orders"))
    assert mails() == {}


def forget_mails():
    OutgoingMail.objects.all().delete()


def test_undoing_tells_everybody_whom_applying_told(applied, undone, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    factories.a_subscriber(acme, email="bo@example.com")
    upload = applied(
        rows(
            "email,customer,role",
            "bo@example.com,acme,owner",
            "new@example.com,acme,viewer",
        ),
        kind=ListKind.SUBSCRIBERS,
    )
    told = mails().keys()
    forget_mails()

    undone(upload)

    again = mails()
    assert again.keys() == told
    assert "bo@example.com is member of Acme again" in again["boss@example.com"]
    assert "new@example.com no longer belongs to Acme" in again["boss@example.com"]
    assert "- member of Acme again" in again["bo@example.com"]
    assert "- no longer a member of Acme" in again["new@example.com"]
    assert factories.an_admin().email in again["boss@example.com"]


def test_undoing_tells_owners_at_both_ends_of_a_key(applied, undone, acme):
    globex = factories.a_customer("Globex")
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    factories.a_subscriber(globex, Role.OWNER, email="chief@example.com")
    factories.a_credential(acme, "the-key-of-orders", name="Orders")
    upload = applied(
        rows("customer,name,key", "globex,Taken,the-key-of-orders"), keys_of_others="take_over"
    )
    forget_mails()

    undone(upload)

    told = mails()
    assert "…ders belongs to Acme again, as “Orders”" in told["boss@example.com"]
    assert (
        "…ders of “Taken” at Globex belongs to another customer again" in told["chief@example.com"]
    )
    assert "Globex" not in told["boss@example.com"]
    assert "Acme" not in told["chief@example.com"]


def test_what_undoing_would_do_is_told_to_nobody(applied, acme):
    factories.a_subscriber(acme, Role.OWNER, email="boss@example.com")
    upload = applied(rows("email,customer", "new@example.com,acme"), kind=ListKind.SUBSCRIBERS)
    forget_mails()

    actions.check_undoing(upload=upload)
    worked(upload)

    assert mails() == {}
