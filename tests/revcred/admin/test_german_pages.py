"""The administration in German: no page of it shows a sentence of the English catalogue."""

import pytest
from django.contrib import admin
from django.urls import reverse

from revcred.models import User
from tests.every_list import one_more
from tests.german_texts import IN_GERMAN, english_texts, shown

pytestmark = pytest.mark.django_db(transaction=True)

# What is done to a login is done to one of somebody below.
BELOW = {User: {"is_superuser": False}}


def pages_about_one_of_each():
    """Yield the list, a row and all actions of each kind that belongs to this package."""
    for model, its_admin in admin.site._registry.items():
        if not type(its_admin).__module__.startswith("revcred."):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        one = model._default_manager.filter(**BELOW.get(model, {})).first()
        yield reverse(f"{name}_changelist")
        yield reverse(f"{name}_change", args=[one.pk])
        for action in getattr(its_admin, "action_forms", {}):
            yield reverse(f"{name}_{action}", args=[one.pk])


def test_pages_are_german(admin_client):
    one_more(1)
    admin_client.defaults.update(IN_GERMAN)
    names = ("index", "settings", "search", "revcred_credential_leaks", "revcred_credential_add")
    more = ("revcred_upload_add", "revcred_product_add", "revcred_user_add", "auth_group_add")
    left = {}
    for page in [*(reverse(f"admin:{name}") for name in names + more), *pages_about_one_of_each()]:
        answer = admin_client.get(page, follow=True)
        assert answer.status_code == 200
        assert '<html lang="de"' in answer.content.decode()
        if found := english_texts().findall(shown(answer)):
            left[page] = found

    assert left == {}
