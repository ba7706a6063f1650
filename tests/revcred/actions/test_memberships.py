"""New members and the owners are told, whichever page, action or list added the member."""

from io import BytesIO

import pytest
from django.urls import reverse

from revcred.models import AuditEvent, Membership, OutgoingMail, Subscriber
from revcred.uploads import actions
from revcred.uploads.columns import ListKind
from revcred.uploads.worker import process_waiting_uploads
from tests import factories
from tests.confirming import asked, post
from tests.revcred.admin_toolkit.test_confirmation import fields_of

pytestmark = pytest.mark.django_db(transaction=True)

NEW, BOSS = "new@example.com", "boss@example.com"


@pytest.fixture(autouse=True)
def acme(settings, tmp_path):
    settings.UPLOADS_DIR = tmp_path / "uploads"
    customer = factories.a_customer("Acme")
    factories.a_subscriber(customer, Membership.Role.OWNER, email=BOSS)
    Subscriber.objects.create(email=NEW)
    return customer


def by_membership_page(client, acme, new):
    typed = {"customer": acme.pk, "subscriber": new.pk, "role": "member"}
    return post(client, reverse("admin:revcred_membership_add"), typed)


def _row(count, **typed):
    names = {f"memberships-{count}-{name}": value for name, value in typed.items()}
    return {"memberships-TOTAL_FORMS": count + 1, "memberships-INITIAL_FORMS": count} | names


def by_customer_page(client, acme, new):
    address = reverse("admin:revcred_customer_change", args=[acme.pk])
    typed = _row(1, customer=acme.pk, subscriber=new.pk, role="member")
    return post(client, address, fields_of(client, address) | typed)


def by_subscriber_page(client, acme, new):
    address = reverse("admin:revcred_subscriber_change", args=[new.pk])
    typed = _row(0, customer=acme.pk, subscriber=new.pk, role="member")
    return post(client, address, fields_of(client, address) | typed)


def by_issuing(client, acme, new):
    typed = {"customer": acme.pk, "name": "Orders", "holders": [new.pk]}
    return post(client, reverse("admin:revcred_credential_add"), typed)


def by_list(client, acme, new):
    upload = actions.receive_upload(
        kind=ListKind.SUBSCRIBERS,
        file=BytesIO(f"email,customer\n{NEW},acme\n".encode()),
        name="list.csv",
        by=None,
    )
    process_waiting_uploads()
    upload.refresh_from_db()
    actions.apply_upload(upload=upload, by=factories.an_admin(), all_or_nothing=True)
    process_waiting_uploads()


DOORS = {
    door.__name__: door
    for door in (by_membership_page, by_customer_page, by_subscriber_page, by_issuing, by_list)
}


@pytest.mark.parametrize("door", DOORS)
def test_a_new_member_and_the_owners_are_told(admin_client, acme, door):
    new = Subscriber.objects.get(email=NEW)

    response = DOORS[door](admin_client, acme, new)

    assert response is None or response.status_code == 302
    membership = Membership.objects.get(subscriber=new, customer=acme)
    told = {mail.recipient: mail.unseal() for mail in OutgoingMail.objects.all()}
    assert told.keys() == {NEW, BOSS}
    assert "member of Acme" in told[NEW]
    assert NEW in told[BOSS]
    event = AuditEvent.objects.about(membership).get()
    assert (event.verb, event.details["role"]) == ("created", "member")


@pytest.mark.parametrize("page", ["membership", "customer", "subscriber"])
def test_a_leaving_member_holds_nothing_and_the_owners_are_told(admin_client, client, acme, page):
    new = Subscriber.objects.get(email=NEW)
    membership = Membership.objects.create(customer=acme, subscriber=new)
    new.user = factories.a_user(NEW)
    new.save()
    credential = factories.a_credential(acme)
    credential.holders.add(new)
    client.force_login(new.user)
    if page == "membership":
        address = reverse("admin:revcred_membership_delete", args=[membership.pk])
        typed = {"post": "yes"}
    else:
        thing = {"customer": acme, "subscriber": new}[page]
        address = reverse(f"admin:revcred_{page}_change", args=[thing.pk])
        typed = fields_of(admin_client, address)
        (row,) = {
            name[:-3]
            for name, value in typed.items()
            if value == membership.pk and name.endswith("-id")
        }
        typed |= {f"{row}-DELETE": "on"}
    response = admin_client.post(address, typed)
    assert asked(response)
    assert f"{NEW} no longer belongs to Acme" in response.text
    assert "holds 1 credential of it, and none afterwards" in " ".join(response.text.split())

    post(admin_client, address, typed)

    told = {mail.recipient: mail.unseal() for mail in OutgoingMail.objects.all()}
    assert told.keys() == {NEW, BOSS}
    assert "no longer belong" in told[NEW]
    assert not credential.holders.exists()
    assert client.get(reverse("storefront:home")).status_code == 302  # to sign in
    event = AuditEvent.objects.filter(target_type="revcred.membership", verb="deleted").get()
    assert factories.details_of(event) == {"role": "member"}
