"""What owners do with the people of their customer: told first, on record, by mail."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from revcred.actions import credentials, teams
from revcred.actions.own_credentials import NotAllowed
from revcred.models import (
    AuditEvent,
    AuditVerb,
    Credential,
    Membership,
    OutgoingMail,
    Session,
    Subscriber,
    User,
)
from tests import factories

Role = Membership.Role
RIGHT = {"password": factories.PASSWORD}
TEAM = "/team/"


@pytest.fixture
def olga(customer):
    return factories.a_subscriber(customer, Role.OWNER, "olga@example.com")


@pytest.fixture
def ben(customer, olga):
    ben = factories.a_subscriber(customer, Role.MEMBER, "ben@example.com")
    OutgoingMail.objects.all().delete()
    return ben


@pytest.fixture
def browser(olga, sign_in):
    return sign_in(olga)


def of(person, customer):
    return Membership.objects.get(subscriber=person, customer=customer)


def url_of(verb, person, customer):
    return reverse(f"storefront:member_{verb}", args=[of(person, customer).pk])


def text_of(answer):
    return " ".join(answer.content.decode().split())


def told():
    return sorted(OutgoingMail.objects.values_list("recipient", flat=True))


def invitation(**fields):
    return {"email": "new@example.com", "name": "", "role": "member"} | RIGHT | fields


def test_the_team_is_shown_with_roles_and_states(browser, customer, ben):
    waiting = Subscriber.objects.create(
        email="carla@example.com", invited_at=timezone.now() - timedelta(hours=2)
    )
    late = Subscriber.objects.create(
        email="dora@example.com", invited_at=timezone.now() - timedelta(days=9)
    )
    for person in (waiting, late):
        Membership.objects.create(customer=customer, subscriber=person, role=Role.VIEWER)
    factories.a_credential(customer, holders=[ben])
    factories.a_credential(factories.a_customer(), holders=[])

    page = browser.get(TEAM)

    rows = {
        each.subscriber.email: (each.role, each.held) for each in page.context["page"].object_list
    }
    assert rows == {
        "olga@example.com": ("owner", 0),
        "ben@example.com": ("member", 1),
        "carla@example.com": ("viewer", 0),
        "dora@example.com": ("viewer", 0),
    }
    said = text_of(page)
    assert "Invitation expired" in said
    assert said.count("Can sign in") == 2


@pytest.mark.parametrize("people", [1, 4])
def test_the_team_is_listed_with_the_same_number_of_questions(
    browser, customer, people, django_assert_num_queries
):
    for _ in range(people):
        member = factories.a_subscriber(customer)
        factories.a_credential(customer, holders=[member])

    with django_assert_num_queries(7):
        browser.get(TEAM)


def test_others_are_told_who_manages_the_team(customer, olga, ben, sign_in):
    page = sign_in(ben).get(TEAM)

    assert page.status_code == 200
    assert "Owner is <bdi>olga@example.com</bdi>." in text_of(page)
    assert "Invite somebody" not in text_of(page)


def test_somebody_new_is_invited(browser, customer, olga):
    page = browser.post("/team/invite/", invitation(name="Nora", role="viewer"))

    assert page.status_code == 302
    person = Subscriber.objects.get(email="new@example.com")
    assert (person.name, of(person, customer).role) == ("Nora", "viewer")
    assert person.invited_at is not None
    # One mail with the link, and one that tells of the membership; the owner did it herself.
    assert told() == ["new@example.com"] * 2
    event = AuditEvent.objects.about(of(person, customer)).get()
    assert (event.verb, event.actor) == (AuditVerb.CREATED, olga.email)


def test_somebody_of_another_customer_joins_and_is_sent_no_link_to_a_password(browser, customer):
    person = factories.a_subscriber(factories.a_customer("Other"), email="new@example.com")
    OutgoingMail.objects.all().delete()

    browser.post("/team/invite/", invitation(email="NEW@example.com", name="Not Her Name"))

    person.refresh_from_db()
    assert of(person, customer).role == "member"
    assert person.name != "Not Her Name"
    assert told() == ["new@example.com"]


def test_addresses_that_may_not_be_invited_are_all_answered_alike(browser, customer):
    factories.a_user("staff@example.com", is_staff=True)
    Subscriber.objects.create(email="gone@example.com", erased_at=timezone.now())
    customer.email_domains = ["example.com"]
    customer.save()

    answers = [
        browser.post("/team/invite/", invitation(email=email))
        for email in ("staff@example.com", "gone@example.com", "x@elsewhere.example")
    ]

    for answer in answers:
        assert answer.status_code == 200
        assert "You cannot invite this address." in text_of(answer)
    assert Membership.objects.filter(customer=customer).count() == 1
    assert told() == []


def test_a_member_is_not_invited_twice(browser, customer, ben):
    answer = browser.post("/team/invite/", invitation(email=ben.email))

    assert "This person belongs to the team already." in text_of(answer)


def test_no_more_invitations_are_sent_than_the_limit(browser, customer):
    for n in range(teams.INVITATION_LIMIT.attempts):
        browser.post("/team/invite/", invitation(email=f"new-{n}@example.com"))

    answer = browser.post("/team/invite/", invitation(email="one-more@example.com"))

    assert "Too many invitations" in text_of(answer)
    assert not Subscriber.objects.filter(email="one-more@example.com").exists()


def test_an_invitation_is_sent_again_only_to_who_has_not_signed_up(browser, customer, ben):
    person = Subscriber.objects.create(email="carla@example.com")
    Membership.objects.create(customer=customer, subscriber=person)

    browser.post(url_of("resend", person, customer))
    again = browser.post(url_of("resend", ben, customer))

    assert told() == ["carla@example.com"]
    assert "has accepted an invitation already" in text_of(again)


def test_a_role_is_changed_after_the_password(browser, customer, olga, ben):
    url = url_of("role", ben, customer)

    assert browser.post(url, {"role": "viewer"}).status_code == 403
    assert of(ben, customer).role == "member"
    assert browser.post(url, {"role": "viewer"} | RIGHT).status_code == 302

    assert of(ben, customer).role == "viewer"
    [event] = AuditEvent.objects.filter(verb=AuditVerb.ROLE_CHANGED)
    assert (event.actor, event.details["role"]) == (olga.email, "member → viewer")


def test_the_last_owner_stays(browser, customer, olga):
    asleep = factories.a_subscriber(customer, Role.OWNER)
    User.objects.filter(pk=asleep.user_id).update(is_active=False)

    for verb, sent in (("role", {"role": "member"}), ("remove", {})):
        answer = browser.post(url_of(verb, olga, customer), sent | RIGHT)
        assert "Make somebody else owner first." in text_of(answer)

    assert of(olga, customer).role == "owner"


def test_who_is_removed_holds_and_sees_nothing_and_is_signed_out(
    browser, customer, olga, ben, sign_in
):
    checkout = factories.a_credential(customer, name="checkout", holders=[ben, olga])
    elsewhere = factories.a_credential(factories.a_customer(), holders=[])
    other = elsewhere.customer
    Membership.objects.create(customer=other, subscriber=ben)
    elsewhere.holders.add(ben)
    of_ben = sign_in(ben)
    assert of_ben.get("/").status_code == 200
    OutgoingMail.objects.all().delete()

    page = text_of(browser.get(url_of("remove", ben, customer)))
    browser.post(url_of("remove", ben, customer), RIGHT)

    assert "holds 1 credential now" in page
    assert list(checkout.holders.all()) == [olga]
    # What the person has at another customer is not this owner's business.
    assert list(elsewhere.holders.all()) == [ben]
    assert of_ben.get("/").status_code == 302
    assert not Session.objects.filter(user=ben.user).exists()
    assert told() == ["ben@example.com"]
    details = AuditEvent.objects.about(checkout).first().details
    assert [len(people) for people in details["changed"]["holders"]] == [2, 1]


def test_ownership_is_handed_over(browser, customer, olga, ben):
    browser.post(url_of("hand-over", ben, customer), RIGHT)

    assert (of(ben, customer).role, of(olga, customer).role) == ("owner", "member")
    assert browser.get(url_of("role", ben, customer)).status_code == 404


def test_ownership_is_not_handed_to_who_cannot_sign_in(browser, customer, olga):
    person = Subscriber.objects.create(email="carla@example.com")
    Membership.objects.create(customer=customer, subscriber=person)

    answer = browser.post(url_of("hand-over", person, customer), RIGHT)

    assert "Only somebody else who has accepted" in text_of(answer)
    assert of(olga, customer).role == "owner"


def test_ownership_is_not_handed_to_a_login_that_is_off(browser, customer, olga, ben):
    User.objects.filter(pk=ben.user.pk).update(is_active=False)

    answer = browser.post(url_of("hand-over", ben, customer), RIGHT)

    assert "can sign in" in text_of(answer)
    assert of(olga, customer).role == "owner"


def test_holders_are_changed_in_two_steps(browser, customer, olga, ben):
    checkout = factories.a_credential(customer, name="checkout", holders=[ben])
    backup = factories.a_credential(customer, name="backup", holders=[ben])
    was = f"{checkout.pk}-{ben.pk} {backup.pk}-{ben.pk}"
    box = [f"{checkout.pk}-{olga.pk}", f"{backup.pk}-{ben.pk}"]

    shown = browser.post("/team/holders/", {"was": was, "box": box})

    said = text_of(shown)
    assert "“checkout” is also held by olga@example.com." in said
    assert "“checkout” is no longer held by ben@example.com." in said
    assert "backup" not in said
    assert list(checkout.holders.all()) == [ben]
    sent = {"was": was, "held": " ".join(box), "confirmed": "yes"}
    assert browser.post("/team/holders/", sent).status_code == 403
    assert browser.post("/team/holders/", sent | RIGHT).status_code == 302
    assert list(checkout.holders.all()) == [olga]
    assert list(backup.holders.all()) == [ben]


def test_only_boxes_that_were_changed_change_anything(browser, customer, olga, ben):
    checkout = factories.a_credential(customer, name="checkout", holders=[])
    # Meanwhile somebody else gave it to Ben.
    checkout.holders.add(ben)
    sent = {"was": "", "held": f"{checkout.pk}-{olga.pk}", "confirmed": "yes"}

    browser.post("/team/holders/", sent | RIGHT)

    assert set(checkout.holders.all()) == {ben, olga}


@pytest.mark.parametrize("box", ["1-2-3", "x-y", "-", "99999999999999999999-1", "0-0", "\0"])
def test_boxes_that_are_not_on_the_page_are_ignored(browser, customer, olga, box):
    factories.a_credential(customer)
    foreign = factories.a_credential(factories.a_customer())
    sent = {"was": "", "box": [box, f"{foreign.pk}-{olga.pk}"], "confirmed": "yes"} | RIGHT

    answer = browser.post("/team/holders/", sent)

    assert answer.status_code == 302
    assert not Credential.holders.through.objects.exists()


@pytest.mark.parametrize("number", ["x", "²", "0" * 5_000])
def test_no_credential_has_this_number(browser, customer, olga, number):
    assert browser.get("/team/holders/", {"credential": number}).status_code == 404


def test_reveals_and_rotations_are_listed_for_owners(browser, customer, ben, sign_in):
    key = "a-key-that-is-revealed-R1v2"
    credential = factories.a_credential(customer, key=key, name="checkout", holders=[ben])
    foreign = factories.a_credential(factories.a_customer(), key="a-foreign-key-F1f2")
    credentials.rotate_credential(credential=foreign, overlap=timedelta(days=1), by=None)
    of_ben = sign_in(ben)
    url = reverse("storefront:reveal_key", args=[credential.pk, credential.keys.get().pk])
    of_ben.post(url, RIGHT)
    of_ben.post(url, RIGHT)

    [entry] = browser.get(TEAM).context["key_history"]

    assert (entry.actor, entry.what, entry.times) == (ben.email, "revealed the key …R1v2", 2)
    assert entry.credential == credential.pk


def test_nothing_is_done_where_it_is_not_permitted(browser, customer, olga, ben, settings):
    settings.SUBSCRIBER_ACTIONS = ["rotate"]

    statuses = {
        browser.get(url).status_code
        for url in ("/team/invite/", "/team/holders/", url_of("role", ben, customer))
    }

    assert statuses == {404}
    assert "Invite somebody" not in text_of(browser.get(TEAM))
    with pytest.raises(NotAllowed):
        teams.remove_from_team(membership=of(ben, customer), by=olga.user)


def test_whose_new_address_is_not_confirmed_changes_nothing(browser, customer, olga, ben):
    User.objects.filter(pk=olga.user_id).update(reveals_rest_since=timezone.now())

    answer = browser.post(url_of("remove", ben, customer), RIGHT)

    assert "Confirm that change with your password first." in text_of(answer)
    assert Membership.objects.filter(subscriber=ben).exists()


def test_an_owner_who_was_removed_meanwhile_changes_nothing(customer, olga, ben):
    of(olga, customer).delete()

    with pytest.raises(NotAllowed):
        teams.change_team_role(membership=of(ben, customer), role="owner", by=olga.user)


@pytest.mark.django_db(transaction=True)
def test_two_owners_at_once_do_not_remove_each_other(customer, sign_in):
    owners = [factories.a_subscriber(customer, Role.OWNER) for _ in range(2)]
    clients = [sign_in(each) for each in owners]
    urls = [url_of("remove", each, customer) for each in reversed(owners)]

    def remove(client, url):
        try:
            return client.post(url, RIGHT).status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(remove, clients, urls))

    assert Membership.objects.filter(customer=customer, role=Role.OWNER).count() == 1
    assert 302 in statuses


def test_an_owner_of_two_customers_chooses_between_their_teams(browser, customer, olga):
    other = factories.a_customer("Zeta")
    Membership.objects.create(customer=other, subscriber=olga, role=Role.OWNER)
    foreign = factories.a_customer()

    assert browser.get(TEAM).context["customer"] == customer
    assert browser.get(TEAM, {"customer": other.pk}).context["customer"] == other
    for number in (foreign.pk, "x", "-1", 10**30, "\0"):
        assert browser.get(TEAM, {"customer": number}).status_code == 404
