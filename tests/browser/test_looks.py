"""Pages in a real Chromium: they fit into the window, show the focus and follow the theme."""

import re

import pytest
from django.urls import reverse
from playwright.sync_api import expect

from revcred.models import Credential, Customer, Membership, Product, Subscription
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

WIDTHS = (360, 768, 1440)
LONG_NAME = "A-name-without-any-place-to-break-it-" * 4
KEY = "a-key-on-a-page-W1x2"
# What every page is painted with, behind and before.
PAINT = "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"

OUTLINE = """(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(
    getComputedStyle(document.activeElement)
)"""


@pytest.fixture
def owner(live_server):
    customer = factories.a_customer(LONG_NAME)
    owner = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")
    subscription = factories.a_subscription(customer, name=LONG_NAME, quota=1000)
    factories.a_credential(
        customer, key=KEY, name=LONG_NAME, subscriptions=[subscription], holders=[owner]
    )
    factories.settled(
        *[factories.a_call(KEY) for _ in range(3)], factories.a_call("of-nobody-Y3z4")
    )
    return owner


def too_wide(page, addresses):
    """Return the pages that are wider than the window, with both widths."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for address in addresses:
            page.goto(address)
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                found.append((address, width, wide))
    return found


def test_nothing_sticks_out_of_the_administration(open_as, owner):
    credential, subscription = Credential.objects.get(), Subscription.objects.get()
    page = open_as(factories.an_admin())

    addresses = [
        "/admin/",
        reverse("admin:revcred_credential_changelist"),
        reverse("admin:revcred_credential_add"),
        reverse("admin:revcred_credential_change", args=[credential.pk]),
        reverse("admin:revcred_credential_rotate", args=[credential.pk]),
        reverse("admin:revcred_customer_change", args=[credential.customer_id]),
        reverse("admin:revcred_subscription_change", args=[subscription.pk]),
        reverse("admin:revcred_user_change", args=[owner.user_id]),
        reverse("admin:revcred_upload_add"),
        reverse("admin:metering_quarantined_changelist"),
        reverse("admin:metering_transaction_changelist"),
        reverse("admin:revcred_auditevent_changelist"),
    ]
    assert too_wide(page, addresses) == []


@pytest.mark.parametrize("width", [width for width in WIDTHS if width <= 1024])
def test_a_list_has_the_whole_width_where_there_is_no_sidebar(open_as, owner, width):
    page = open_as(factories.an_admin(), viewport={"width": width, "height": 800})
    page.goto(reverse("admin:revcred_credential_changelist"))

    expect(page.locator("#nav-sidebar")).to_be_hidden()
    assert page.locator("#changelist").bounding_box()["width"] == width - 2 * 16  # the gutters


def test_nothing_sticks_out_of_the_storefront(open_as, owner):
    credential, subscription = Credential.objects.get(), Subscription.objects.get()
    page = open_as(owner.user)

    addresses = [
        "/",
        reverse("storefront:credentials"),
        reverse("storefront:credential", args=[credential.pk]),
        reverse("storefront:subscriptions"),
        reverse("storefront:subscription", args=[subscription.pk]),
        reverse("storefront:usage"),
        reverse("account_change_password"),
        reverse("mfa_index"),
    ]
    assert too_wide(page, addresses) == []


def test_the_switch_of_the_administration_turns_the_colours(open_as):
    page = open_as(factories.an_admin(), color_scheme="light")
    page.goto("/admin/")
    light = page.evaluate(PAINT)
    painted = {}
    for _ in range(3):
        page.locator(".theme-toggle").click()
        painted[page.locator("html").get_attribute("data-theme")] = page.evaluate(PAINT)
    dark = painted["dark"]

    assert painted == {"auto": light, "light": light, "dark": dark}
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.emulate_media(color_scheme="dark")
    assert page.locator("html").get_attribute("data-theme") == "auto"
    assert page.evaluate(PAINT) == dark


@pytest.mark.parametrize("address", ["/", "/admin/"])
def test_without_a_switch_the_system_s_theme_is_painted(open_as, address):
    painted = []
    for scheme in ("light", "dark"):
        page = open_as(factories.an_admin(), color_scheme=scheme, java_script_enabled=False)
        page.goto(address)
        painted.append(page.evaluate(PAINT))

    assert painted[0] != painted[1]


def test_whatever_has_the_focus_shows_it(open_as):
    page = open_as(factories.an_admin())
    page.goto(reverse("admin:revcred_credential_add"))
    unseen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        style = page.evaluate(OUTLINE)
        if style[0] == "none" or style[1] == "0px":
            unseen.append(page.evaluate("document.activeElement.outerHTML.slice(0, 200)"))

    assert unseen == []


def test_every_field_picker_and_column_has_a_name(open_as, owner):
    page = open_as(factories.an_admin())
    changes = [
        reverse(f"admin:revcred_{name}_change", args=[thing.pk])
        for name, thing in (
            ("customer", Customer.objects.get()),
            ("product", Product.objects.get()),
            ("credential", Credential.objects.get()),
        )
    ]
    for address in [reverse("admin:revcred_credential_add"), *changes]:
        page.goto(address)
        # Pickers are made once the page is there.
        for picker in page.locator(".admin-autocomplete:not([name*=__prefix__])").all():
            expect(picker.locator("+ .select2-container")).to_be_attached()
        for role in ("combobox", "searchbox", "checkbox", "listbox", "columnheader"):
            for found in page.locator("#content-main").get_by_role(role).all():
                expect(found).to_have_accessible_name(re.compile(r"\w"))


def test_links_among_other_words_are_underlined(open_as, owner):
    page = open_as(factories.an_admin())
    page.goto(reverse("admin:revcred_credential_change", args=[Credential.objects.get().pk]))

    for link in (page.locator(".breadcrumbs a").first, page.locator("h2.of a").first):
        expect(link).to_have_css("text-decoration-line", "underline")
