"""Columns of lists, and lists as files."""

import csv
from io import BytesIO, StringIO

import pytest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import override
from python_calamine import CalamineWorkbook

from revcred.admin_toolkit import list_pages
from revcred.admin_toolkit.list_pages import cell_text
from revcred.models import AuditEvent, SavedView
from tests.every_list import one_more
from tests.factories import a_credential, a_customer, a_subscription, a_user
from tests.german_texts import IN_GERMAN
from tests.revcred.admin.test_pages import LISTS

pytestmark = pytest.mark.django_db(transaction=True)

KEY, SECRET = "a-key-that-leaves-with-nobody", "a-secret-that-leaves-with-nobody"
CREDENTIALS = reverse("admin:revcred_credential_changelist")
EXPORT = reverse("admin:revcred_credential_export-list")


def content_of(response) -> bytes:
    content = b"".join(response.streaming_content)
    response.close()
    return content


def rows_of(response) -> list[list[str]]:
    return list(csv.reader(StringIO(content_of(response).decode("utf-8-sig"))))


def test_the_address_names_the_columns(admin_client):
    a_credential(name="Maps", tags=["eu"])

    page = admin_client.get(CREDENTIALS, {"columns": ["tags", "name", "password"]})

    assert list(page.context["cl"].list_display) == ["action_checkbox", "name", "tags"]
    shown = [each["name"] for each in page.context["column_choices"] if each["is_shown"]]
    assert shown == ["name", "tags"]
    # What does not exist is left out, and a list without any column has its own.
    own = admin_client.get(CREDENTIALS, {"columns": "nothing"}).context["cl"].list_display
    assert own[1] == "name"
    assert "customer" in own


def test_a_row_is_linked_also_without_its_first_column(admin_client):
    credential = a_credential(name="Maps", environment="staging")

    page = admin_client.get(CREDENTIALS, {"columns": ["environment"]}).content.decode()

    assert f'href="/admin/revcred/credential/{credential.pk}/change/' in page


def test_a_list_is_exported_as_it_is_filtered_with_its_columns(admin_client, admin_user):
    customer = a_customer("=Acme")
    subscription = a_subscription(customer, name="Gold")
    a_credential(
        customer,
        key=KEY,
        secret=SECRET,
        name="Maps <b>",
        environment="staging",
        tags=["eu", "partner"],
        subscriptions=[subscription],
    )
    a_credential(customer, environment="production")
    columns = ["name", "customer", "keys", "charged_to", "state", "tags", "expires_at"]

    response = admin_client.post(
        EXPORT, {"format": "csv", "environment": "staging", "columns": columns}
    )

    assert response["Content-Disposition"].startswith('attachment; filename="credentials-')
    header, *rows = rows_of(response)
    assert header == ["Name", "Customer", "Keys", "Charged to", "State", "Tags", "Expires at"]
    # A spreadsheet would compute what begins like a formula.
    assert rows == [["Maps <b>", "'=Acme", "…body", "Gold", "active", "eu|partner", ""]]
    event = AuditEvent.objects.get(verb="exported")
    assert (event.actor, event.target) == (admin_user.email, str(admin_user))
    details = {
        name: event.details[name] for name in ("list", "filters", "format", "number_of_rows")
    }
    assert details == {
        "list": "credentials",
        "filters": "environment: staging",
        "format": "csv",
        "number_of_rows": 1,
    }


def test_a_sheet_of_excel_has_the_same_cells(admin_client):
    a_credential(a_customer("=Acme"), key=KEY, secret=SECRET, name="Maps")

    response = admin_client.post(EXPORT, {"format": "xlsx", "columns": ["name", "customer"]})

    content = content_of(response)
    sheet = CalamineWorkbook.from_filelike(BytesIO(content)).get_sheet_by_index(0)
    assert sheet.to_python() == [["Name", "Customer"], ["Maps", "=Acme"]]
    assert KEY.encode() not in content


def test_an_export_is_the_same_whoever_takes_it(admin_client):
    a_credential(name="Maps")
    asked = {"format": "csv", "columns": ["name", "state"]}
    english = rows_of(admin_client.post(EXPORT, asked))

    german = admin_client.post(EXPORT, asked, **IN_GERMAN)

    # The web server asks for the rows in whatever language its thread has at that moment.
    with override("de"):
        assert rows_of(german) == english


def test_neither_key_nor_secret_is_in_any_export_of_all_columns(admin_client):
    a_credential(key=KEY, secret=SECRET)
    page = admin_client.get(CREDENTIALS)
    names = [each["name"] for each in page.context["column_choices"]]

    text = content_of(admin_client.post(EXPORT, {"format": "csv", "columns": names}))

    assert KEY.encode() not in text
    assert SECRET.encode() not in text


def test_every_list_can_be_exported(admin_client):
    one_more(1)
    for name in LISTS:
        if name == "revcred_appearance":
            continue  # one row, to which its list leads
        page = admin_client.get(reverse(f"admin:{name}_changelist"), {"reviewed": "no"})
        page = page if page.context else admin_client.get(reverse(f"admin:{name}_changelist"))
        columns = [each["name"] for each in page.context["column_choices"]]
        for form in ("csv", "xlsx"):
            response = admin_client.post(
                reverse(f"admin:{name}_export-list"), {"format": form, "columns": columns}
            )
            assert response.status_code == 200, name
            assert len(content_of(response)) > 10
        csv_rows = rows_of(
            admin_client.post(reverse(f"admin:{name}_export-list"), {"format": "csv"})
        )
        assert len(csv_rows) >= 2, name


def test_an_export_has_an_end_and_says_so(admin_client, monkeypatch):
    monkeypatch.setattr(list_pages, "MAX_ROWS_EXPORTED", 1)
    customer = a_customer()
    a_credential(customer)
    a_credential(customer)

    response = admin_client.post(EXPORT, {"format": "csv", "customer": customer.pk}, follow=True)

    assert response.redirect_chain == [(f"{CREDENTIALS}?customer={customer.pk}", 302)]
    assert "more than 1 rows" in response.content.decode()
    assert not AuditEvent.objects.filter(verb="exported").exists()


def test_a_text_that_no_cell_of_excel_takes_is_told(admin_client):
    a_customer("Acme", metadata={"text": "x" * 33_000})
    address = reverse("admin:revcred_customer_export-list")

    response = admin_client.post(address, {"format": "xlsx", "columns": "metadata"}, follow=True)

    assert "too long for a cell of Excel" in response.content.decode()


def test_what_is_no_format_or_no_filter_leads_back(admin_client):
    assert admin_client.post(EXPORT, {"format": "exe"}).url == f"{CREDENTIALS}?"
    assert admin_client.post(EXPORT, {"format": "csv", "nonsense": "1"}).url == CREDENTIALS


def test_only_who_may_see_a_list_may_export_it(client):
    client.force_login(a_user("staff@example.com", is_staff=True))

    assert client.post(EXPORT, {"format": "csv"}).status_code == 403
    assert not AuditEvent.objects.filter(verb="exported").exists()
    assert client.get(EXPORT).status_code == 405


def test_cells_say_what_pages_show_without_markup():
    assert cell_text(format_html('<code title="x">…{}</code>', "a<b")) == "…a<b"
    assert cell_text("<b>") == "<b>"
    assert [cell_text(value) for value in (True, False, None)] == ["yes", "no", ""]
    assert cell_text({"a": [1]}) == '{"a":[1]}'


SAVE = reverse("admin:revcred_credential_save-view")


def test_a_view_keeps_filters_and_columns_for_one_person(admin_client, client):
    query = "state=active&columns=name&columns=tags"
    colleague = a_user("colleague@example.com", is_staff=True, is_superuser=True)

    response = admin_client.post(SAVE, {"name": " Active ones ", "query": f"{query}&p=3"})

    assert response.url == f"{CREDENTIALS}?{query}"
    page = admin_client.get(response.url)
    assert "Only you see it." in page.content.decode()
    (view,) = page.context["saved_views"]
    assert (view.name, view.query) == ("Active ones", query)
    client.force_login(colleague)
    assert not client.get(CREDENTIALS).context["saved_views"]
    # Of another list neither.
    customers = reverse("admin:revcred_customer_changelist")
    assert not admin_client.get(customers).context["saved_views"]

    client.post(SAVE, {"forget": view.pk})
    assert SavedView.objects.count() == 1
    admin_client.post(SAVE, {"name": "Active ones", "query": "state=revoked"})
    assert SavedView.objects.get().query == "state=revoked"
    admin_client.post(SAVE, {"forget": view.pk})
    assert not SavedView.objects.exists()


def test_a_view_without_a_name_or_with_a_key_is_not_saved(admin_client, monkeypatch):
    a_credential(key=KEY)
    monkeypatch.setattr(list_pages, "MAX_SAVED_VIEWS", 1)

    for said in (
        {"name": " ", "query": "state=active"},
        {"name": "Mine", "query": f"tag={KEY}"},
        {"name": KEY, "query": "state=active"},
        {"name": "Long", "query": "tag=" + "x" * 5_000},
    ):
        admin_client.post(SAVE, said)
        assert not SavedView.objects.exists(), said
    admin_client.post(SAVE, {"name": "One", "query": "state=active"})
    admin_client.post(SAVE, {"name": "Two", "query": "state=active"})
    assert [each.name for each in SavedView.objects.all()] == ["One"]
    assert admin_client.get(SAVE).status_code == 405
