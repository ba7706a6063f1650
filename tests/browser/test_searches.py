"""No request of a browser has a key in its address or its referrer, whatever is searched where."""

import pytest
from django.test import Client
from django.urls import reverse
from playwright.sync_api import expect

from revcred.models import Membership
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "a-key-0f9-to-be-looked-for-W1x2"
PASTED = [KEY, f"Authorization: Bearer {KEY}", f'"{KEY}"']


@pytest.fixture
def opened(chromium, live_server):
    """Opens a page as a user, and notes where its requests went and came from."""
    asked = []

    def open_as(user, *, scripts=True):
        signed_in = Client()
        signed_in.force_login(user)
        context = chromium.new_context(base_url=live_server.url, java_script_enabled=scripts)
        context.set_default_timeout(20_000)
        context.add_cookies(
            [
                {"name": name, "value": each.value, "url": live_server.url}
                for name, each in signed_in.cookies.items()
            ]
        )
        page = context.new_page()
        page.on("request", lambda it: asked.extend((it.url, it.headers.get("referer", ""))))
        page.on("framenavigated", lambda frame: asked.append(frame.url))
        return page

    yield open_as
    assert len(asked) > 3
    assert [each for each in asked if KEY in each] == []


@pytest.fixture
def customer(live_server):
    customer = factories.a_customer("Acme Maps")
    factories.a_credential(customer, key=KEY, name="checkout")
    return customer


@pytest.mark.parametrize("scripts", [True, False])
def test_the_storefront_s_field(opened, customer, scripts):
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")
    page = opened(owner.user, scripts=scripts)
    for line in PASTED:
        page.goto(reverse("storefront:credentials"))
        page.get_by_label("Search credentials").fill(line)
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("link", name="checkout")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_the_administration_s_fields(opened, customer, scripts):
    page = opened(factories.a_user(is_staff=True, is_superuser=True), scripts=scripts)
    for line in PASTED:
        page.goto("/admin/")
        page.get_by_label("Search everything").fill(line)
        page.get_by_role("button", name="Search", exact=True).click()
        expect(page.get_by_role("heading", name="checkout")).to_be_visible()
        page.goto(reverse("admin:revcred_customer_changelist"))
        page.get_by_label("Find", exact=True).fill(line)
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_text("You typed a key.")).to_be_visible()


def test_a_slash_leads_to_the_search_unless_one_types(opened, customer):
    page = opened(factories.a_user(is_staff=True, is_superuser=True))
    page.goto(reverse("admin:revcred_customer_changelist"))
    page.keyboard.press("/")
    expect(page.get_by_label("Search everything")).to_be_focused()
    page.keyboard.type("a/b")
    expect(page.get_by_label("Search everything")).to_have_value("a/b")


def test_keys_lead_to_lists_and_to_the_first_field(opened, customer):
    page = opened(factories.a_user(is_staff=True, is_superuser=True))
    page.goto("/admin/")
    page.keyboard.press("g")
    page.keyboard.press("c")
    page.wait_for_url("**/admin/revcred/credential/")
    page.goto(reverse("admin:revcred_customer_change", args=[customer.pk]))
    page.keyboard.press("e")
    expect(page.locator("#id_name")).to_be_focused()
    # It is typed now, and leads nowhere.
    page.keyboard.type("gc")
    expect(page.locator("#id_name")).to_have_value("gc")


def test_changes_that_nobody_saved_are_not_left_without_a_question(opened, customer):
    page = opened(factories.a_user(is_staff=True, is_superuser=True))
    asked = []

    def stay(dialog):
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    address = reverse("admin:revcred_customer_change", args=[customer.pk])
    page.goto(address)
    page.locator("#id_name").fill("Acme Atlas")
    page.get_by_role("link", name="Storefront").click()
    page.wait_for_timeout(200)
    assert asked == ["beforeunload"]
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/admin/revcred/customer/")
    assert asked == ["beforeunload"]


def test_a_picker(opened, customer):
    page = opened(factories.a_user(is_staff=True, is_superuser=True))
    page.goto(reverse("admin:revcred_credential_add"))
    page.get_by_role("combobox").first.click()
    with page.expect_response("**/admin/autocomplete/**") as answer:
        page.locator(".select2-search__field").last.fill(KEY)
    expect(page.get_by_text("No results found")).to_be_visible()
    assert answer.value.request.method == "POST"
    page.locator(".select2-search__field").last.fill("Acme")
    expect(page.get_by_role("option", name="Acme Maps")).to_be_visible()
