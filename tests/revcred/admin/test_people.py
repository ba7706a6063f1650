"""The pages on which a person is erased and exported."""

import pytest
from django.urls import reverse

from revcred.models import AuditEvent, Subscriber
from tests import factories
from tests.confirming import asked, confirm

pytestmark = pytest.mark.django_db


def page_of(row, page):
    return reverse(f"admin:revcred_{row._meta.model_name}_{page}", args=[row.pk])


def test_it_asks_for_the_address_then_shows_what_it_does_and_only_then_does_it(admin_client):
    customer = factories.a_customer("Aviary")
    ada = factories.a_subscriber(customer, email="ada@example.com")
    factories.a_credential(customer, name="Bird", holders=[ada])
    address = page_of(ada, "erase")

    wrong = admin_client.post(address, {"email": "bob@example.com"})
    assert "This is not the address of this person." in wrong.content.decode()
    preview = admin_client.post(address, {"email": "Ada@example.com"})

    text = preview.content.decode()
    assert asked(preview)
    assert "no longer a member of Aviary" in text
    assert "Nobody holds these credentials any more: Bird." in text
    assert "This cannot be undone." in text
    assert Subscriber.objects.get(pk=ada.pk).email == "ada@example.com"

    done = confirm(admin_client, preview)

    assert done.status_code == 302
    page = admin_client.get(done["Location"]).content.decode()
    assert f"erased-{ada.pk}@invalid" in page
    assert "ada@example.com" not in page
    assert page_of(ada, "erase") not in page
    assert page_of(ada, "invite") not in page
    assert AuditEvent.objects.filter(verb="erased").count() == 1


def test_the_export_is_downloaded_and_on_record(admin_client):
    ada = factories.a_subscriber(email="ada@example.com")

    for row in (ada, ada.user):
        response = admin_client.post(page_of(row, "export"))
        assert response["Content-Type"] == "application/json"
        assert response["Content-Disposition"].startswith("attachment")
        assert response.json()["login"]["email"] == "ada@example.com"

    assert AuditEvent.objects.filter(verb="exported").count() == 2
