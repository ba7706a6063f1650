"""Subscribers find the receipt of a refused call by its id, if it is of their own credential."""

import pytest
from django.urls import reverse

from metering.models import RefusedCall
from revcred.models import Customer
from storefront.refused_calls import find_own_receipt
from tests import factories
from tests.metering.verification.test_figures import refuse

pytestmark = pytest.mark.django_db

CALLS = reverse("storefront:calls")


@pytest.fixture
def holder():
    return factories.a_subscriber(factories.a_customer("Acme"))


@pytest.fixture
def credential(holder):
    credential = factories.a_credential(Customer.objects.get(name="Acme"))
    credential.holders.add(holder)
    return credential


@pytest.fixture
def searched(client, holder):
    """Post a search as the holder."""
    client.force_login(holder.user)
    return lambda term: client.post(CALLS, {"q": term})


def receipt_of(credential, **fields):
    refuse(factories.a_gateway("edge"), credential, "suspended", **fields)
    return RefusedCall.objects.get()


@pytest.mark.parametrize("pasted", ["{}", "X-Revcred-Check: {}", " {}\n"])
def test_the_search_of_calls_leads_to_the_receipt(searched, client, credential, pasted):
    receipt = receipt_of(credential)

    response = searched(pasted.format(receipt.pk))

    page = reverse("storefront:credential", args=[credential.pk])
    assert response.url == f"{page}?check={receipt.pk}#refused"
    shown = client.get(response.url).content.decode()
    assert f"Receipt <code>{receipt.pk}</code>" in shown
    assert "Resume it, or ask" in shown


def test_a_receipt_of_somebody_else_is_not_found(searched, client, credential):
    others = receipt_of(factories.a_credential(factories.a_customer()))

    assert searched(f"{others.pk}").url.startswith(f"{CALLS}?key=")
    page = reverse("storefront:credential", args=[credential.pk])
    assert f"{others.pk}" not in client.get(f"{page}?check={others.pk}").content.decode()


@pytest.mark.parametrize("fields", [{"observed": True}])
def test_what_was_let_through_was_not_refused(credential, fields):
    receipt = receipt_of(credential, **fields)

    assert find_own_receipt(f"{receipt.pk}", type(credential).objects.all()) is None


@pytest.mark.parametrize("text", ["", "no id", "0" * 32, "x" * 5_000, "\0"])
def test_other_texts_find_nothing(searched, credential, text):
    receipt_of(credential)

    assert searched(text).status_code in (200, 302)
    assert find_own_receipt(text, type(credential).objects.all()) is None


def test_calls_are_found_by_the_public_id_of_a_credential(searched, credential):
    credential.refresh_from_db()

    assert searched(credential.public_id).url == f"{CALLS}?credential={credential.pk}"
