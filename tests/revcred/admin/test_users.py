"""Users, groups and subscribers in the administration: what its pages let whom do."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.urls import reverse

from revcred.actions.addresses import AddressTaken
from revcred.models import AddressChange, AuditEvent, Membership, Subscriber, User, UserToken
from tests import factories
from tests.confirming import post
from tests.revcred.admin.test_customers import memberships

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_staff(client):
    """A browser of staff with these rights."""

    def signed_in(*rights):
        user = factories.a_user(is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=rights))
        client.force_login(user)
        return client

    return signed_in


def text_of(page):
    return " ".join(page.content.decode().split())


def url_of(row, page="change"):
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}", args=[row.pk])


def test_there_is_no_page_to_set_a_password(admin_client):
    user = factories.a_user(is_staff=True)

    assert admin_client.get(f"/admin/revcred/user/{user.pk}/password/").status_code in (302, 404)
    for page in (reverse("admin:revcred_user_add"), url_of(user), url_of(user, "password-link")):
        assert 'type="password"' not in admin_client.get(page).content.decode()


def test_the_login_of_an_equal_or_somebody_above_is_read_only(as_staff):
    browser = as_staff("change_user", "view_user", "delete_user")
    boss = factories.a_user(is_superuser=True, is_staff=True)
    equal = factories.a_user(is_staff=True)
    equal.user_permissions.add(Permission.objects.get(codename="change_user"))

    for user in (boss, equal):
        assert 'name="_save"' not in browser.get(url_of(user)).content.decode()
        for page in ("change", "delete", "password-link", "cancel-address"):
            assert browser.post(url_of(user, page), {"post": "yes"}).status_code == 403


def test_a_manager_switches_off_staff_below(as_staff):
    browser = as_staff("change_user", "view_user")
    staff = factories.a_user(is_staff=True)

    browser.post(url_of(staff), {"name": "Ann", "is_superuser": "on", "email": "x@example.com"})

    staff.refresh_from_db()
    assert (staff.name, staff.is_active, staff.is_superuser) == ("Ann", False, False)
    verbs = AuditEvent.objects.about(staff).values_list("verb", flat=True)
    assert sorted(verbs) == ["changed", "deactivated"]


def test_a_login_of_a_subscriber_is_not_made_staff(admin_client):
    user = factories.a_subscriber().user
    said = {"email": user.email, "is_active": "on", "is_staff": "on"}

    page = admin_client.post(url_of(user), said)

    assert "Staff and subscribers do not share a login" in text_of(page)
    user.refresh_from_db()
    assert not user.is_staff


def test_staff_is_not_added_with_a_subscribers_address(admin_client):
    subscriber = Subscriber.objects.create(email="ann@example.com")

    page = admin_client.post(
        reverse("admin:revcred_user_add"), {"email": "Ann@example.com", "is_staff": "on"}
    )

    assert "Staff and subscribers do not share a login" in text_of(page)
    assert not User.objects.filter(email=subscriber.email).exists()


def test_a_superuser_sends_staff_a_link(admin_client, sent_mail):
    staff = factories.a_user(is_staff=True)

    page = admin_client.post(url_of(staff, "password-link"), follow=True)

    assert f"A link was sent to {staff.email}." in text_of(page)
    assert [each.to for each in sent_mail()] == [[staff.email]]
    assert AuditEvent.objects.about(staff).get().verb == "reset_asked"


def test_a_new_address_waits_is_shown_and_may_be_cancelled(as_staff):
    browser = as_staff("change_subscriber", "view_subscriber")
    ann = factories.a_subscriber(factories.a_customer(), email="ann@example.com")
    said = {"email": "New@example.com", "name": "Ann"} | memberships()

    page = browser.post(url_of(ann), said, follow=True)

    assert "A link was sent to new@example.com" in text_of(page)
    ann.refresh_from_db()
    assert (ann.email, ann.user.email, ann.name) == ("ann@example.com", "ann@example.com", "Ann")
    page = text_of(browser.get(url_of(ann)))
    assert "new@example.com, asked for by" in page
    assert "Cancel the new address" in page
    browser.post(url_of(ann, "cancel-address"))
    assert not AddressChange.objects.open().exists()
    assert "Cancel the new address" not in text_of(browser.get(url_of(ann)))
    assert "No new address is waiting" in text_of(browser.post(url_of(ann, "cancel-address")))


def test_of_a_login_it_is_the_same(admin_client):
    staff = factories.a_user("ann@example.com", is_staff=True)
    said = {"email": "new@example.com", "is_active": "on", "is_staff": "on"}

    page = admin_client.post(url_of(staff), said, follow=True)

    assert "A link was sent to new@example.com" in text_of(page)
    staff.refresh_from_db()
    assert staff.email == "ann@example.com"
    assert "new@example.com, asked for by" in text_of(admin_client.get(url_of(staff)))
    admin_client.post(url_of(staff, "cancel-address"))
    assert not AddressChange.objects.open().exists()


@pytest.mark.parametrize("rights", [{"is_staff": True}, {"is_superuser": True}])
def test_a_subscriber_is_not_given_the_address_of_staff(admin_client, rights):
    staff = factories.a_user("boss@example.com", **rights)
    with_login = factories.a_subscriber(factories.a_customer())
    without = Subscriber.objects.create(email="ann@example.com")
    said = {"email": "Boss@example.com"} | memberships()

    for url in (reverse("admin:revcred_subscriber_add"), url_of(with_login), url_of(without)):
        assert "A member of staff signs in" in text_of(admin_client.post(url, said))

    assert not Subscriber.objects.filter(email__iexact=staff.email).exists()


def test_what_is_refused_only_as_it_is_written_is_said_in_words(admin_client, monkeypatch):
    """Somebody else was quicker: another has the address by now."""
    ann, staff = factories.a_subscriber(factories.a_customer()), factories.a_user(is_staff=True)

    def refuse(**_):
        raise AddressTaken

    monkeypatch.setattr("revcred.actions.addresses.request_address_change", refuse)

    for row, said in ((ann, memberships()), (staff, {"is_staff": "on", "is_active": "on"})):
        said |= {"email": "new@example.com", "name": "Another"}
        page = admin_client.post(url_of(row), said, follow=True)
        assert "Somebody else has this address" in text_of(page)
        row.refresh_from_db()
        assert row.name == ""


def test_address_and_rights_are_changed_by_one_save(admin_client):
    staff = factories.a_user(is_staff=True)
    said = {"email": "new@example.com", "is_active": "on", "is_staff": "on", "is_superuser": "on"}

    post(admin_client, url_of(staff), said)

    staff.refresh_from_db()
    assert staff.is_superuser
    assert AddressChange.objects.open().get().new_email == "new@example.com"


def test_groups_are_for_superusers(as_staff):
    group = Group.objects.create(name="Night shift")
    browser = as_staff("add_group", "change_group", "delete_group", "view_group")

    assert browser.get(url_of(group)).status_code == 200
    for url in (url_of(group), url_of(group, "delete"), reverse("admin:auth_group_add")):
        assert browser.post(url, {"name": "Mine", "post": "yes"}).status_code == 403


def test_the_permissions_of_a_group_are_on_record(admin_client):
    group = Group.objects.create(name="Night shift")
    permission = Permission.objects.get(codename="view_customer")

    post(admin_client, url_of(group), {"name": "Night shift", "permissions": [permission.pk]})

    event = AuditEvent.objects.about(group).get(verb="rights_changed")
    assert factories.details_of(event) == {"permissions": "+revcred.view_customer"}


def test_a_token_of_somebody_above_is_not_revoked(as_staff):
    boss = factories.a_user(is_superuser=True, is_staff=True)
    token, _ = UserToken.issue(boss, name="A script", scopes=[])
    browser = as_staff("change_usertoken", "view_usertoken")

    page = browser.post(url_of(token, "revoke"))

    assert "You may not change this login" in text_of(page)
    token.refresh_from_db()
    assert token.revoked_at is None


# --- Memberships ----------------------------------------------------------------------------------


def by_inline_of_customer(browser, membership, role):
    customer = membership.customer
    membership.role = role
    said = {"name": customer.name, "external_key": customer.external_key, "metadata": "{}"}
    return post(browser, url_of(customer), said | memberships(existing=[membership]))


def by_inline_of_subscriber(browser, membership, role):
    membership.role = role
    said = {"email": membership.subscriber.email} | memberships(existing=[membership])
    return post(browser, url_of(membership.subscriber), said)


def by_its_page(browser, membership, role):
    return post(browser, url_of(membership), {"role": role})


@pytest.mark.parametrize("change", [by_inline_of_customer, by_inline_of_subscriber, by_its_page])
def test_another_role_has_its_own_event_and_the_owners_are_told(admin_client, change, sent_mail):
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    membership = factories.a_subscriber(customer).memberships.get()

    assert change(admin_client, membership, "owner").status_code == 302

    event = AuditEvent.objects.about(membership).get()
    said = {"role": "member → owner", "undo": {"role": ["member", "owner"]}}
    assert (event.verb, factories.details_of(event)) == ("role_changed", said)
    assert (event.actor, event.address) == ("admin@example.com", "127.0.0.1")
    recipients = {each.to[0] for each in sent_mail()}
    assert owner.email in recipients
    assert "is now owner of Acme, and was member before" in sent_mail()[0].body


def test_a_new_member_has_its_own_event_and_the_owners_are_told(admin_client, sent_mail):
    customer = factories.a_customer("Acme")
    owner = factories.a_subscriber(customer, Membership.Role.OWNER)
    new, newer = factories.a_subscriber(), factories.a_subscriber()
    said = {"name": "Acme", "external_key": "acme", "metadata": "{}"}

    inline = memberships((new.pk, "owner"), existing=[*customer.memberships.all()])
    post(admin_client, url_of(customer), said | inline)
    page = {"customer": customer.pk, "subscriber": newer.pk, "role": "viewer"}
    post(admin_client, reverse("admin:revcred_membership_add"), page)

    for subscriber, role in ((new, "owner"), (newer, "viewer")):
        event = AuditEvent.objects.about(subscriber.memberships.get()).get()
        assert (event.verb, factories.details_of(event)) == ("created", {"role": role})
    told = [(each.to[0], each.subject) for each in sent_mail()]
    assert (owner.email, "Acme has a new owner") in told
    assert (owner.email, "Acme has a new viewer") in told


def test_the_end_of_a_membership_has_its_own_event(admin_client):
    customer = factories.a_customer("Acme")
    membership = factories.a_subscriber(customer).memberships.get()
    said = {"name": "Acme", "external_key": "acme", "metadata": "{}"}
    inline = memberships(existing=[membership]) | {"memberships-0-DELETE": "on"}

    post(admin_client, url_of(customer), said | inline)

    assert not customer.memberships.exists()
    assert AuditEvent.objects.about(membership).get().verb == "deleted"
