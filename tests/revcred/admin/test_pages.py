"""Every page opens, and asks the database as often for three rows as for one."""

import pytest
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from revcred.appearance import appearance_cache
from revcred.models import User
from tests.every_list import one_more

pytestmark = pytest.mark.django_db(transaction=True)

LISTS = [
    "auth_group",
    "metering_claim",
    "metering_conflict",
    "metering_delivery",
    "metering_discoveredsource",
    "metering_intakestats",
    "metering_quarantined",
    "metering_rejection",
    "metering_transaction",
    "metering_usage",
    "revcred_appearance",
    "revcred_auditevent",
    "revcred_credential",
    "revcred_credentialrequest",
    "revcred_customer",
    "revcred_gateway",
    "revcred_membership",
    "revcred_outgoingmail",
    "revcred_product",
    "revcred_source",
    "revcred_subscriber",
    "revcred_subscription",
    "revcred_upload",
    "revcred_user",
    "revcred_usertoken",
]

BELOW = {User: {"is_superuser": False}}


def queries_of(client, url: str) -> int:
    # Whichever page is asked for after some seconds reads again how pages look.
    appearance_cache.forget()
    appearance_cache.get()
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
    assert response.status_code == 200
    return len(queries)


@pytest.fixture
def queries_of_lists(admin_client):
    def ask() -> dict[str, int]:
        return {
            name: queries_of(admin_client, reverse(f"admin:{name}_changelist"))
            for name in LISTS
            if name != "revcred_appearance"  # leads to its only row
        }

    return ask


def test_all_lists_are_named_here():
    ours = ("revcred", "metering", "auth")
    registered = {
        f"{model._meta.app_label}_{model._meta.model_name}"
        for model in admin.site._registry
        if model._meta.app_label in ours
    }
    assert sorted(registered) == LISTS


def test_a_list_asks_as_often_for_three_rows_as_for_one(queries_of_lists):
    one_more(1)
    queries_of_lists()  # caches of content types and the like are warm from here on
    with_one = queries_of_lists()
    one_more(2)
    one_more(3)

    assert queries_of_lists() == with_one
    # The quarantine also says what its groups' keys are like, and each page asks for the factor.
    assert max(with_one.values()) <= 11


def test_the_overview_asks_no_more_with_more_rows(admin_client):
    one_more(1)
    with_one = queries_of(admin_client, reverse("admin:index"))
    one_more(2)

    assert queries_of(admin_client, reverse("admin:index")) == with_one


def test_every_page_about_one_thing_opens(admin_client):
    one_more(1)
    for model, its_admin in admin.site._registry.items():
        if model._meta.app_label not in ("revcred", "metering"):
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        # What is done to a login is done to one of somebody below.
        one = model._default_manager.filter(**BELOW.get(model, {})).first()
        assert one, f"one_more makes no {name}"
        for page in ("change", "history"):
            response = admin_client.get(reverse(f"{name}_{page}", args=[one.pk]))
            assert response.status_code == 200, f"{name}_{page}"
        for act in getattr(its_admin, "action_forms", {}):
            response = admin_client.get(reverse(f"{name}_{act}", args=[one.pk]))
            assert response.status_code == 200, f"{name}_{act}"


def test_nobody_but_staff_gets_in(client):
    response = client.get(reverse("admin:index"), follow=True)

    assert response.redirect_chain[-1][0].startswith(reverse("account_login"))


def test_a_page_runs_no_script_and_style_of_its_own(admin_client):
    one_more(1)
    for name in LISTS:
        page = admin_client.get(reverse(f"admin:{name}_changelist")).content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert "<script>" not in page
