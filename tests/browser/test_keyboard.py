"""Keys of the administration, the buttons that stay in sight, and changes that are not lost."""

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from revcred.models import Customer
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

CUSTOMER = "admin:revcred_customer_change"
# The field that has the focus, if it reaches below the upper edge of the buttons.
COVERED_FIELDS = """
(() => {
    const field = document.activeElement, buttons = document.querySelector(".submit-row");
    if (!field.closest("#content-main form") || buttons.contains(field)) return [];
    const isCovered = field.getBoundingClientRect().top > buttons.getBoundingClientRect().top;
    return isCovered ? [field.outerHTML] : [];
})()
"""


@pytest.fixture
def page(open_as, live_server):
    factories.a_customer("Acme", notes="\n".join(f"Line {number}" for number in range(90)))
    return open_as(factories.an_admin(), viewport={"width": 1280, "height": 700})


@pytest.fixture
def customer(page):
    return reverse(CUSTOMER, args=[Customer.objects.get().pk])


def test_keys_lead_to_search_lists_and_fields_unless_somebody_types(page, customer):
    page.goto(customer)
    page.keyboard.press("/")
    term = page.get_by_label("Search everything")
    expect(term).to_be_focused()
    page.keyboard.type("g c/e")  # is text here
    expect(term).to_have_value("g c/e")
    term.evaluate("field => field.blur()")

    page.keyboard.press("e")
    expect(page.locator("#id_name")).to_be_focused()
    page.evaluate("document.activeElement.blur()")
    for letter, name in (("c", "credential"), ("k", "customer"), ("q", "quarantined")):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"**/{name}/")


def test_the_buttons_of_a_long_form_stay_in_sight_and_cover_no_field(page, customer):
    page.goto(customer)
    page.locator("#id_name").scroll_into_view_if_needed()
    save = page.get_by_role("button", name="Save", exact=True)
    expect(save).to_be_in_viewport()

    covered = []
    for _ in range(30):
        page.keyboard.press("Tab")
        covered += page.evaluate(COVERED_FIELDS)
    assert covered == []


def test_changes_that_nobody_saved_are_not_lost_without_a_question(page, customer):
    asked = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.goto(customer)
    page.locator("#id_name").fill("Acme and others")

    # It stays: the question was answered with no.
    page.get_by_role("link", name="Overview").first.click()
    expect(page.locator("#id_name")).to_have_value("Acme and others")
    assert asked == ["beforeunload"]
    page.get_by_role("button", name="Save and continue editing").click()
    page.wait_for_load_state()
    assert asked == ["beforeunload"]
