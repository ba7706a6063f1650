"""No search of the administration leads to an address that has a key in it."""

import json
from itertools import product

import pytest
from django.contrib.admin import site
from django.urls import reverse

from revcred.actions.credentials import generate_key
from tests.factories import a_credential, a_customer, a_user
from tests.revcred.test_pasting import PASTED

KNOWN = "aKnown-K3y-0f9harbour"
OWN = generate_key()
LINES = ["{}", "Bearer {}", "Authorization: Bearer {}"]
UNKNOWN = "unKnown-0f.harbour9x"
FIND = reverse("admin:revcred_credential_find")
SEARCHED = sorted(
    f"admin:{model._meta.app_label}_{model._meta.model_name}"
    for model, its_admin in site._registry.items()
    if its_admin.search_fields
)


def addresses_of(response):
    return [address for address, _ in response.redirect_chain] + [
        response.request["PATH_INFO"] + response.request["QUERY_STRING"]
    ]


@pytest.mark.parametrize("key", [KNOWN, OWN], ids=["foreign", "own"])
def test_a_pasted_line_finds_the_credential(admin_client, key):
    credential = a_credential(key=key)

    for line in PASTED:
        response = admin_client.post(FIND, {"term": line.format(key)}, follow=True)

        assert response.context["original"] == credential, line
        assert not [each for each in addresses_of(response) if key in each]


@pytest.mark.parametrize("name", SEARCHED)
def test_no_list_s_search_leads_to_such_an_address(admin_client, name):
    a_credential(key=KNOWN)
    is_of_credentials = name == "admin:revcred_credential"
    search = FIND if is_of_credentials else reverse(f"{name}_search")

    for key, line in product((KNOWN, OWN, UNKNOWN), LINES):
        said = {"term" if is_of_credentials else "q": line.format(key), "o": KNOWN}
        response = admin_client.post(search, said, follow=True)

        assert response.status_code == 200
        assert not [each for each in addresses_of(response) if key in each or KNOWN in each]


@pytest.mark.parametrize("name", SEARCHED)
def test_an_address_with_a_key_is_left_for_one_without(admin_client, name):
    a_credential(key=KNOWN)
    listing = reverse(f"{name}_changelist")

    for key, line in product((KNOWN, OWN), LINES):
        response = admin_client.get(listing, {"q": line.format(key), "p": "1"}, follow=True)

        assert response.redirect_chain == [(f"{listing}?p=1", 302)]
        assert key not in response.content.decode()


def test_a_list_keeps_its_filters_when_it_is_searched(admin_client):
    a_customer("Harbour Pine")
    search = reverse("admin:revcred_customer_search")

    response = admin_client.post(search, {"q": "Harbour", "o": "1"}, follow=True)

    assert response.redirect_chain == [
        (reverse("admin:revcred_customer_changelist") + "?o=1&q=Harbour", 302)
    ]


def test_who_is_a_stranger_learns_of_no_key(db, client):
    a_credential(key=KNOWN)
    listing = reverse("admin:revcred_customer_changelist")

    answers = [client.get(listing, {"q": key}).status_code for key in (KNOWN, UNKNOWN)]

    assert answers == [302, 302]
    client.force_login(a_user(is_staff=True))
    assert client.post(reverse("admin:revcred_customer_search"), {"q": "x"}).status_code == 403


def test_a_picker_may_be_asked_by_post(admin_client):
    credential = a_credential(key=KNOWN, name="Checkout")
    asked = {"app_label": "revcred", "model_name": "externalkey", "field_name": "credential"}

    response = admin_client.post(reverse("admin:autocomplete"), asked | {"term": "Check"})

    assert [each["id"] for each in json.loads(response.content)["results"]] == [str(credential.pk)]
