"""Holders and members who belong to another customer: named, refused, and admitted by choice."""

import pytest
from django.core.management import call_command

from revcred.actions import subscribers, users
from revcred.models import Credential, Membership, Subscriber, Upload
from revcred.uploads import actions, applying
from revcred.uploads.columns import ListKind
from tests import factories
from tests.revcred.uploads.conftest import rows, worked

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = "customer,name,key,holders"


@pytest.fixture
def acme():
    return factories.a_customer("Acme")


@pytest.fixture
def ada():
    return factories.a_subscriber(factories.a_customer("Globex"), email="ada@elsewhere.example.org")


# Lists by which Ada becomes a member of Acme, and the reason why that row is rejected.
LISTS = {
    ListKind.CREDENTIALS: (
        rows(HEADER, "acme,Orders,the-key,ada@elsewhere.example.org"),
        "holders",
    ),
    ListKind.SUBSCRIBERS: (rows("email,customer", "ada@elsewhere.example.org,acme"), "customer"),
}


def joins(upload):
    return [
        (each["email"], each["domain"], each["customer"], each["belongs_to"], each["is_rejected"])
        for each in upload.preview["members"]["people"]
    ]


@pytest.mark.parametrize("kind", LISTS)
def test_nobody_of_another_customer_becomes_a_member_unless_that_was_chosen(
    uploaded, acme, ada, kind
):
    text, column = LISTS[kind]
    upload = uploaded(text, kind=kind)

    assert upload.preview["counts"]["rejected"] == 1
    [(refused, reason, count)] = upload.preview["reasons"]
    assert (refused, count) == (column, 1)
    assert "another customer" in reason
    who = ("ada@elsewhere.example.org", "elsewhere.example.org", "Acme", ["Globex"])
    assert joins(upload) == [(*who, True)]
    assert upload.preview["members"]["of_others"] == 1

    actions.recheck_upload(
        upload=upload, by=None, choices=actions.UploadChoices(people_of_others="join")
    )
    worked(upload)
    assert joins(upload) == [(*who, False)]
    assert not acme.memberships.exists()
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    worked(upload)
    assert acme.memberships.get().subscriber == ada


def test_an_existing_credential_hands_its_key_to_nobody_unseen_either(uploaded, acme, ada):
    factories.a_credential(acme, "the-key", name="Orders")
    upload = uploaded(LISTS[ListKind.CREDENTIALS][0])
    assert upload.preview["counts"]["rejected"] == 1
    assert not ada.credentials.exists()


def test_a_member_and_somebody_of_no_customer_need_no_choice(uploaded, acme):
    factories.a_subscriber(acme, email="bo@example.com")
    factories.a_subscriber(email="cy@example.com")
    upload = uploaded(rows(HEADER, "acme,Orders,the-key,bo@example.com|cy@example.com"))
    assert upload.preview["counts"]["create"] == 1
    assert joins(upload) == [("cy@example.com", "example.com", "Acme", [], False)]
    assert upload.preview["members"]["of_others"] == 0


@pytest.mark.parametrize("known", [False, True])
def test_whom_a_list_names_for_two_customers_is_not_taken_for_either(uploaded, acme, known):
    factories.a_customer("Globex")
    if known:
        factories.a_subscriber(email="cy@example.com")
    text = rows(HEADER, "acme,Orders,key-a,cy@example.com", "globex,Bills,key-b,cy@example.com")

    assert uploaded(text, subscribers="create").preview["counts"]["rejected"] == 2
    allowed = uploaded(text, subscribers="create", people_of_others="join")
    assert allowed.preview["counts"]["create"] == 2


def test_who_becomes_somebody_elses_between_preview_and_apply_is_rejected(uploaded, acme):
    cy = factories.a_subscriber(email="cy@example.com")
    upload = uploaded(rows(HEADER, "acme,Orders,the-key,cy@example.com"))
    Membership.objects.create(customer=factories.a_customer("Globex"), subscriber=cy)

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)

    assert upload.outcome["meanwhile"] == 1
    assert not acme.memberships.exists()
    assert not Credential.objects.exists()


def test_who_loses_a_membership_between_preview_and_apply_does_not_get_it_back(uploaded, acme):
    """The preview said nothing of a new member."""
    bo = factories.a_subscriber(acme, email="bo@example.com")
    upload = uploaded(rows(HEADER, "acme,Orders,the-key,bo@example.com"))
    bo.memberships.all().delete()

    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=False)
    worked(upload)

    assert upload.outcome["meanwhile"] == 1
    assert not acme.memberships.exists()


def test_one_who_holds_many_keys_joins_once(applied, acme, ada, monkeypatch):
    monkeypatch.setattr(applying, "MIN_ROWS_PER_CHUNK", 1)
    monkeypatch.setattr(applying, "MAX_ROWS_PER_CHUNK", 1)
    lines = (f"acme,Number {n},key-number-{n},{ada.email}" for n in range(4))
    upload = applied(rows(HEADER, *lines), people_of_others="join")
    assert (upload.outcome["create"], upload.outcome["meanwhile"]) == (4, 0)
    assert acme.memberships.count() == 1


def test_the_command_names_them_and_has_a_choice_of_its_own(acme, ada, tmp_path, settings, capsys):
    file = tmp_path / "list.csv"
    file.write_text(LISTS[ListKind.CREDENTIALS][0])
    with pytest.raises(SystemExit):
        call_command("upload", str(file), "--check", "--no-progress")
    said = capsys.readouterr().out
    assert "ada@elsewhere.example.org (domain elsewhere.example.org, belongs to Globex)" in said
    assert "is rejected as member of Acme" in said

    by = factories.an_admin().email
    options = ("--apply", "--join-people-of-others", "--by", by, "--no-progress")
    call_command("upload", str(file), *options)
    assert "would become member of Acme" in capsys.readouterr().out
    assert acme.memberships.get().subscriber == ada


# --- Addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("whose", ["staff", "another subscriber"])
def test_an_address_that_could_not_be_invited_makes_no_subscriber(uploaded, acme, kind, whose):
    """As the page of a new subscriber refuses it."""
    login = factories.a_user("boss@example.com", is_staff=whose == "staff")
    if whose == "another subscriber":
        Subscriber.objects.create(email="other@example.com", user=login)
    with pytest.raises(users.LoginActionError):
        subscribers.check_login_available(email="boss@example.com")

    text = LISTS[kind][0].replace("ada@elsewhere.example.org", "boss@example.com")
    upload = uploaded(text, kind=kind, subscribers="create", people_of_others="join")

    assert upload.preview["counts"]["rejected"] == 1
    assert upload.state == Upload.State.READY


# --- One string at several gateways ---------------------------------------------------------------


def test_one_string_at_two_gateways_is_two_keys_as_for_the_action(applied, acme):
    globex = factories.a_customer("Globex")
    for name in ("edge", "core"):
        factories.a_gateway(name)
    upload = applied(
        rows(
            "customer,name,key,gateway",
            "acme,Orders,the-key,edge",
            "globex,Bills,the-key,core",
        )
    )
    assert upload.outcome == {"create": 2, "meanwhile": 0}
    again = applied(rows("customer,name,key,gateway,environment", "globex,Bills,the-key,core,test"))
    assert again.outcome == {"update": 1, "meanwhile": 0}
    assert globex.credentials.get().environment == "test"


def test_without_a_gateway_it_is_asked_which(uploaded, applied, acme):
    for name in ("edge", "core"):
        factories.a_gateway(name)
    header = "customer,name,key,gateway"
    applied(rows(header, "acme,Orders,the-key,edge", "acme,Bills,the-key,core"))
    upload = uploaded(rows(header, "acme,Orders,the-key,"))
    [(column, message, _)] = upload.preview["reasons"]
    assert (column, message.rsplit(". ", 1)[1]) == ("gateway", "Name the gateway.")


@pytest.mark.parametrize("gateways", [("edge", "edge"), ("edge", ""), ("", "")])
def test_at_the_same_gateway_or_at_any_it_is_twice_the_same(uploaded, acme, gateways):
    factories.a_gateway("edge")
    first, second = gateways
    header = "customer,name,key,gateway"
    text = rows(header, f"acme,A,the-key,{first}", f"acme,B,the-key,{second}")
    assert uploaded(text).preview["counts"]["rejected"] == 2
