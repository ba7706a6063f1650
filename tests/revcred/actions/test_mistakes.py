"""A credential that was issued by mistake can be deleted until a call comes with it."""

import pytest
from django.urls import reverse

from metering.attribution.processing import process_waiting_deliveries
from metering.inbox.calls import public_id_fields
from revcred.actions import credentials, mistakes
from revcred.models import Assignment, AuditEvent, Credential, ExternalKey, SealedValue
from tests import factories
from tests.confirming import confirm

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-a-mistake"


@pytest.fixture
def mistake():
    acme = factories.a_customer("Acme")
    return factories.a_credential(
        acme,
        KEY,
        "its-secret",
        name="Oops",
        subscriptions=[factories.a_subscription(acme)],
        holders=[factories.a_subscriber(acme)],
    )


def test_it_is_gone_with_its_key_and_its_history_stays(mistake):
    mistakes.delete_unused_credential(credential=mistake, by=None)

    for model in (Credential, ExternalKey, SealedValue, Assignment):
        assert not model.objects.exists()
    event = AuditEvent.objects.get(verb="deleted")
    assert (event.target, event.details["customer"]) == ("Oops", "Acme")
    assert KEY not in str(event.details)
    # The name and the key are free again.
    factories.a_credential(mistake.customer, KEY, name="Oops")


def test_it_is_kept_once_a_call_was_charged(mistake):
    factories.settled(factories.a_call(KEY))

    with pytest.raises(mistakes.CredentialUsed, match="It was used last at"):
        mistakes.delete_unused_credential(credential=mistake, by=None)
    assert Credential.objects.exists()


def test_it_is_kept_while_calls_with_its_key_wait(mistake):
    credentials.suspend_credential(credential=mistake, by=None)
    factories.settled(factories.a_call(KEY))
    process_waiting_deliveries()

    with pytest.raises(mistakes.CredentialUsed, match="Revoke it instead"):
        mistakes.delete_unused_credential(credential=mistake, by=None)


def test_it_is_kept_while_calls_with_its_public_id_wait(mistake):
    credentials.suspend_credential(credential=mistake, by=None)
    factories.settled(factories.a_call(**public_id_fields(mistake.public_id)))

    with pytest.raises(mistakes.CredentialUsed, match="1 call came with it"):
        mistakes.delete_unused_credential(credential=mistake, by=None)


def test_its_page_offers_it_asks_and_leads_back_to_the_list(admin_client, mistake):
    page = reverse("admin:revcred_credential_change", args=[mistake.pk])
    address = reverse("admin:revcred_credential_delete-mistake", args=[mistake.pk])
    assert address in admin_client.get(page).content.decode()

    asked = admin_client.post(address)
    assert "is deleted, with 1 key and 1 holder" in asked.content.decode()
    assert Credential.objects.exists()
    done = confirm(admin_client, asked)

    assert done.url == reverse("admin:revcred_credential_changelist")
    assert not Credential.objects.exists()


def test_the_page_of_a_used_one_does_not_offer_it(admin_client, mistake):
    factories.settled(factories.a_call(KEY))

    page = admin_client.get(reverse("admin:revcred_credential_change", args=[mistake.pk]))
    address = reverse("admin:revcred_credential_delete-mistake", args=[mistake.pk])

    assert address not in page.content.decode()
    refused = admin_client.get(address).content.decode()
    assert "Only a credential that no call came with" in refused
    assert "Delete for good" not in refused
