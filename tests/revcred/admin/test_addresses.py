"""Whatever an address or a form says, the administration answers, and never with a failure."""

import pytest
from django.contrib import admin
from django.urls import reverse
from django.utils.http import urlencode

from metering.admin import groups
from revcred.models import AuditEvent, Credential, Customer, Subscription
from tests.every_list import one_more
from tests.factories import a_customer
from tests.lengths import mostly_long

pytestmark = pytest.mark.django_db(transaction=True)

NONSENSE = ["\0", "9" * 20, "abc", "9" * 5_000, "1,2", "'", "-1", "", "0001-01-01"]
OF_ANY_LIST = ["p", "o", "q", "pk__in"]
CUSTOMERS = reverse("admin:revcred_customer_changelist")


def ours() -> list[tuple[str, admin.ModelAdmin]]:
    return [
        (f"admin:{model._meta.app_label}_{model._meta.model_name}", its_admin)
        for model, its_admin in admin.site._registry.items()
        if model._meta.app_label in ("revcred", "metering", "auth")
    ]


def lists() -> list[tuple[str, list[str]]]:
    """Each with what its addresses may say."""
    found = []
    for name, its_admin in ours():
        filters = [
            getattr(each, "parameter_name", f"{each}__exact") for each in its_admin.list_filter
        ]
        found.append((reverse(f"{name}_changelist"), OF_ANY_LIST + filters))
    return [*found, (reverse("admin:metering_quarantined_changelist"), ["gateway", "reason"])]


def pages() -> list[str]:
    """Each page with a form: to add, to change, and for each act."""
    found = []
    for name, its_admin in ours():
        one = its_admin.model._default_manager.first()
        of_one = ("change", *getattr(its_admin, "action_forms", {})) if one else ()
        found += [reverse(f"{name}_add")]
        found += [reverse(f"{name}_{page}", args=[one.pk]) for page in of_one]
    attach = "admin:metering_quarantined_attach"
    return found + [reverse(attach, args=[group.slug]) for group in groups.find_groups()]


def fields_of(response) -> list[str]:
    context = response.context or {}
    form = context["adminform"].form if "adminform" in context else context.get("form")
    return list(getattr(form, "fields", ()))


def is_answered(response) -> bool:
    return response.status_code in (200, 302, 400, 403, 404)


@pytest.mark.parametrize(
    "value", mostly_long(NONSENSE, quick=1), ids=lambda value: repr(value[:10])
)
def test_a_list_answers_to_nonsense(admin_client, value):
    one_more(1)

    for url, parameters in lists():
        for parameter in parameters:
            response = admin_client.get(url, {parameter: value})
            assert is_answered(response), (url, parameter)


@pytest.mark.parametrize(
    "value", mostly_long(NONSENSE[:5], quick=1), ids=lambda value: repr(value[:10])
)
def test_a_form_answers_to_nonsense_to_begin_with(admin_client, value):
    one_more(1)
    fields = {url: fields_of(admin_client.get(url)) for url in pages()}
    assert len([url for url in fields if fields[url]]) > 20

    for url, names in fields.items():
        if names:
            response = admin_client.get(url, dict.fromkeys(names, value))
            assert is_answered(response), url


@pytest.mark.parametrize(
    "value", mostly_long(NONSENSE[:-2], quick=1), ids=lambda value: repr(value[:10])
)
def test_a_page_about_nonsense_leads_back(admin_client, value):
    for name, its_admin in ours():
        for page in ("change", "history", *getattr(its_admin, "action_forms", {})):
            response = admin_client.get(reverse(f"{name}_{page}", args=[value]))
            assert response.status_code in (302, 403), (name, page)


@pytest.mark.parametrize("page", ["change", "delete"])
def test_a_field_that_is_left_empty_is_the_number(admin_client, page):
    url = reverse(f"admin:revcred_customer_{page}", args=[a_customer().pk])

    assert admin_client.get(url, {"_to_field": ""}).status_code == 200


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: repr(value[:10]))
def test_a_picker_answers_to_nonsense(admin_client, value):
    one_more(1)
    asked = {"app_label": "revcred", "model_name": "assignment", "field_name": "subscription"}

    for parameter in ("term", "page", "of_customer"):
        response = admin_client.get(reverse("admin:autocomplete"), asked | {parameter: value})
        assert response.status_code in (200, 404), parameter


def test_what_is_picked_already_is_shown(admin_client):
    one_more(1)
    customer, subscription = Customer.objects.get(), Subscription.objects.get()
    credential = Credential.objects.get()

    for page, query in [
        (reverse("admin:revcred_credential_add"), {"customer": customer.pk}),
        (reverse("admin:revcred_membership_add"), {"customer": customer.pk}),
        (
            reverse("admin:revcred_credential_assign", args=[credential.pk]),
            {"to": subscription.pk},
        ),
    ]:
        (number,) = query.values()
        assert f'<option value="{number}" selected>' in str(admin_client.get(page, query).content)


@pytest.mark.parametrize("value", NONSENSE[:-1], ids=lambda value: repr(value[:10]))
def test_nonsense_that_is_posted_is_an_error_of_its_field(admin_client, value):
    subscription = {"customer": value, "product": value, "external_key": "a", "name": "a"}

    response = admin_client.post(reverse("admin:revcred_subscription_add"), subscription)

    assert {"customer", "product"} <= response.context["adminform"].form.errors.keys()
    response = admin_client.post(reverse("admin:revcred_credential_add"), {"customer": value})
    assert "customer" in response.context["form"].errors


@pytest.mark.parametrize(
    "query", [{"tags": "abc"}, {"external_key__startswith": "\0"}, {"name__regex": "("}]
)
def test_a_list_looks_up_by_its_own_filters_only(admin_client, query, caplog):
    a_customer()

    response = admin_client.get(f"{CUSTOMERS}?{urlencode(query)}")

    assert response.url == f"{CUSTOMERS}?e=1"
    assert caplog.text == ""
    assert admin_client.get(response.url).context["cl"].result_count == 1


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a": "\\ud800"}',
        '{"\\u0000": 1}',
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": ' + "1" * 5_000 + "}",
        '{"a": ' + "[" * 50 + "]" * 50 + "}",
        "[" * 2_000,
        "[]",
        "null",
        "1",
        "{",
    ],
    ids=lambda metadata: metadata[:12],
)
def test_metadata_that_cannot_be_kept_is_an_error_of_its_field(admin_client, metadata):
    said = {"name": "Acme", "external_key": "acme", "metadata": metadata}
    no_members = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}

    response = admin_client.post(reverse("admin:revcred_customer_add"), said | no_members)

    assert response.context["adminform"].form.errors.keys() == {"metadata"}
    assert metadata[:50] in response.context["adminform"].form["metadata"].value()


@pytest.mark.parametrize(
    ("metadata", "kept"),
    [("", {}), ('{"a": ["\\\\u0000", 1.5, null]}', {"a": ["\\u0000", 1.5, None]})],
)
def test_metadata_is_kept_as_it_is(admin_client, metadata, kept):
    said = {"name": "Acme", "external_key": "acme", "metadata": metadata}
    no_members = {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}

    admin_client.post(reverse("admin:revcred_customer_add"), said | no_members)

    assert Customer.objects.get().metadata == kept


def test_a_group_that_is_changed_is_on_record(admin_client):
    admin_client.post(reverse("admin:auth_group_add"), {"name": "Night shift"})

    event = AuditEvent.objects.get()
    assert (event.verb, event.target) == ("created", "Night shift")
