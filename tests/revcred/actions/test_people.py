"""Erasing a person, and exporting what is held about one. Where it looks: metering's test of it."""

import json

import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.db import connection

from metering.models import Quarantined
from revcred import roles
from revcred.actions import people, subscribers, users
from revcred.models import AuditEvent, FormerName, Membership, Subscriber, Upload, User, UserToken
from tests import factories
from tests.second_factors import an_app

pytestmark = pytest.mark.django_db


@pytest.fixture
def by():
    roles.sync_roles()
    return staff_with("Administrator")


def staff_with(role):
    user = factories.a_user(is_staff=True)
    user.groups.set(Group.objects.filter(name=role))
    return user


def erase(row, by):
    return people.erase_person(person=people.find_person(row), by=by)


def test_an_erased_person_cannot_sign_in_and_the_address_may_be_invited_anew(by, client, rf):
    ada = factories.a_subscriber(factories.a_customer(), email="ada@example.com")
    client.force_login(ada.user)

    erase(ada.user, by)

    assert client.get("/").status_code == 302
    assert not client.login(username="ada@example.com", password=factories.PASSWORD)
    again = Subscriber.objects.create(email="ada@example.com")
    subscribers.invite_subscriber(subscriber=again, by=by, request=rf.get("/"))
    with pytest.raises(users.PersonErased):
        subscribers.invite_subscriber(subscriber=ada, by=by, request=rf.get("/"))


def test_a_member_of_staff_is_erased(by):
    ada = factories.a_user("ada@staff.example.com", is_staff=True, name="Ada King")
    event = AuditEvent.objects.record("changed", target=factories.a_customer(), by=ada)

    erase(ada, by)

    ada.refresh_from_db()
    assert (ada.email, ada.is_active, ada.is_staff) == (
        f"erased-login-{ada.pk}@invalid",
        False,
        False,
    )
    assert AuditEvent.objects.get(pk=event.pk).actor == ada.email
    assert AuditEvent.objects.first_broken() is None


def test_nobody_is_erased_twice(by):
    ada = factories.a_subscriber()
    erase(ada, by)

    with pytest.raises(users.PersonErased):
        erase(Subscriber.objects.get(pk=ada.pk), by)


def test_whoever_has_no_right_erases_and_exports_nobody(by):
    support = staff_with("Support")
    ada = people.find_person(factories.a_subscriber())

    for action in (people.erase_person, people.export_person):
        with pytest.raises(people.ErasureRightRequired):
            action(person=ada, by=support)


def test_nobody_erases_an_equal_or_a_superuser(by):
    boss = factories.a_user(is_staff=True, is_superuser=True)

    with pytest.raises(users.LoginRankTooHigh):
        erase(staff_with("Administrator"), by)
    with pytest.raises(people.SuperuserNotErased):
        erase(boss, factories.an_admin())


def test_a_list_that_waits_may_not_name_the_person(by):
    ada, bob = factories.a_subscriber(), factories.a_subscriber()
    upload = Upload.objects.create(kind="subscribers", state="ready", file_name="x.csv", size=1)
    with connection.cursor() as cursor:
        table = f"{settings.STAGING_SCHEMA}.revcred_uploadrow_{upload.pk}"
        cursor.execute(f"CREATE TABLE {table} AS SELECT %s AS email", [ada.email])

    with pytest.raises(people.ListsWithPeopleWaiting, match=f"#{upload.pk}"):
        erase(ada, by)
    erase(bob, by)
    Upload.objects.update(state="unmapped")
    with pytest.raises(people.ListsWithPeopleWaiting):
        erase(factories.a_subscriber(), by)


def test_texts_that_mean_somebody_or_something_else_stay(by):
    ada = factories.a_subscriber(email="ada@example.com")
    User.objects.filter(pk=ada.user.pk).update(name="Ada King")
    Subscriber.objects.filter(pk=ada.pk).update(name="Ada")
    namesake = factories.a_user("king@example.com", name="Ada King")
    FormerName.objects.create(
        kind="subscriber_email",
        target_id=ada.pk,
        name="king@example.com",
        former_since="2026-01-01T00:00Z",
    )
    customer = factories.a_customer("ada@example.com")
    credential = factories.a_credential(customer, name="Ada, of Ada King <ada@example.com>")
    factories.settled(factories.a_call(names={"subscriber": "king@example.com"}))

    done = erase(Subscriber.objects.get(pk=ada.pk), by)

    for row in (namesake, customer, credential):
        before = str(row)
        row.refresh_from_db()
        assert str(row) == before
    assert namesake.name == "Ada King"
    assert Quarantined.objects.get().names["subscriber"] == "king@example.com"
    assert done.still_named == {"revcred_credential": 1, "revcred_customer": 1}


def test_the_export_holds_what_is_held_and_no_secrets(by):
    customer = factories.a_customer("Aviary")
    ada = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")
    factories.a_credential(customer, "a-key-of-ada-0001", name="Bird", holders=[ada])
    an_app(ada.user)
    record, token = UserToken.issue(ada.user, name="Script", scopes=[])
    session = ada.user.sessions.create(digest=b"1" * 32, data="x", address="192.0.2.7")
    AuditEvent.objects.record(
        "signed_in", target=ada.user, by=ada.user, details={"digest": "d" * 64}, address="192.0.2.7"
    )

    document = people.export_person(person=people.find_person(ada), by=by)

    assert document["subscriber"]["memberships"] == [{"customer": "Aviary", "role": "owner"}]
    assert document["subscriber"]["credentials_held"] == [{"customer": "Aviary", "name": "Bird"}]
    assert document["login"]["sessions"][0]["address"] == "192.0.2.7"
    assert document["login"]["tokens"][0]["name"] == "Script"
    assert {"authenticator app"} <= {each["kind"] for each in document["login"]["second_factors"]}
    text = json.dumps(document)
    secrets = (ada.user.password, "a-key-of-ada", token, str(record.digest), record.hint, "d" * 64)
    assert [secret for secret in (*secrets, str(session.digest)) if secret in text] == []
    assert AuditEvent.objects.get(verb="exported").actor == by.email
