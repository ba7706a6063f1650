"""A subscriber's way through the storefront, in a real Chromium."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from revcred.models import AuditEvent, ExternalKey, Membership
from tests import factories

KEY = "a-key-to-be-seen-once-W1x2"
KEEP_WHAT_IS_DRAWN = """
    window.drawn = [];
    const draw = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        window.drawn.push(text);
        return draw.call(this, text, ...place);
    };
"""

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def page(chromium, live_server, complaints):
    """A page whose complaints (of scripts, of the policy) are heard, and whose clock is ours."""
    context = chromium.new_context(base_url=live_server.url)
    context.set_default_timeout(10_000)
    page = context.new_page()
    page.clock.install()
    page.on(
        "console", lambda said: said.type in ("error", "warning") and complaints.append(said.text)
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.fixture
def ada(live_server):
    customer = factories.a_customer("Acme Maps")
    ada = factories.a_subscriber(customer, Membership.Role.OWNER, "ada@example.com")
    subscription = factories.a_subscription(customer, name="Geocoding", quota=1000)
    factories.a_credential(
        customer, key=KEY, name="checkout", subscriptions=[subscription], holders=[ada]
    )
    calls = [factories.a_call(KEY, ago=timedelta(seconds=n)) for n in range(3)]
    factories.settled(*calls)
    return ada


def sign_in(page, subscriber):
    page.goto("/")
    page.get_by_label("Email").fill(subscriber.email)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def to_the_key(page):
    page.get_by_role("link", name="Credentials", exact=True).click()
    page.get_by_role("link", name="checkout").click()
    page.get_by_role("link", name="Reveal key").click()


def test_a_key_is_shown_after_the_password_and_hidden_again(page, ada, complaints):
    sign_in(page, ada)
    to_the_key(page)
    dialog = page.get_by_role("dialog", name="Reveal the key …W1x2")
    dialog.get_by_label("Your password").fill("not it")
    dialog.get_by_role("button", name="Reveal").click()
    expect(dialog.get_by_role("alert")).to_have_text("Incorrect password.")
    dialog.get_by_label("Your password").fill(factories.PASSWORD)
    dialog.get_by_role("button", name="Reveal").click()

    expect(dialog.get_by_text(KEY)).to_be_visible()
    assert KEY not in page.url + page.title()
    expect(dialog.get_by_text("Hidden again in")).to_be_visible()  # the half minute has begun
    page.clock.fast_forward(28_000)
    expect(dialog.get_by_text(KEY)).to_be_visible()
    page.clock.fast_forward(3_000)
    expect(dialog.get_by_text("It is hidden again.")).to_be_visible()
    assert KEY not in page.content()

    dialog.get_by_role("button", name="Reveal").click()  # the password was confirmed just now
    expect(dialog.get_by_text(KEY)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert KEY not in page.content()
    page.reload()
    expect(page.get_by_text(re.compile("revealed the key .*, 2 times"))).to_be_visible()
    assert AuditEvent.objects.reveals().count() == 2
    refused = [said for said in complaints if "403" not in said]
    assert refused == []


def test_going_back_does_not_bring_it_back_and_looks_well(page, ada):
    sign_in(page, ada)
    to_the_key(page)
    page.get_by_label("Your password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Reveal").click()
    expect(page.get_by_text(KEY)).to_be_visible()

    page.goto("/subscriptions/")
    page.go_back()

    expect(page.get_by_role("heading", name="checkout")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text(KEY)
    assert AuditEvent.objects.reveals().count() == 1


def test_whose_session_ended_signs_in_and_comes_back(page, ada):
    sign_in(page, ada)
    to_the_key(page)
    page.context.clear_cookies()
    page.get_by_label("Your password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Reveal").click()

    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("Reload this page")
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "next=/credentials/" in page.url


def test_a_rotation_ends_with_the_new_key_on_the_screen(page, ada, complaints):
    sign_in(page, ada)
    page.get_by_role("link", name="checkout").click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("Your password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Make a new key").dblclick()

    dialog = page.get_by_role("dialog", name="Reveal the new key")
    dialog.get_by_role("button", name="Reveal").click()
    shown = dialog.locator("[data-text]")
    expect(shown).to_contain_text("rck_")
    assert ExternalKey.objects.count() == 2
    assert shown.text_content().endswith(ExternalKey.objects.first().hint)
    page.keyboard.press("Escape")
    expect(page.get_by_text("is still in use, and ends in 6 days")).to_be_visible()
    assert "new=" not in page.url
    assert complaints == []


def test_the_first_call_with_a_key_arrives_by_itself(page, ada, complaints):
    maps = ada.customers.get().subscriptions.get()
    key = "a-key-that-is-new-Y9z8"
    factories.a_credential(
        maps.customer, key=key, name="fresh", subscriptions=[maps], holders=[ada]
    )
    sign_in(page, ada)
    page.get_by_role("link", name="fresh").click()
    expect(page.get_by_text("Waiting for the first call")).to_be_visible()
    page.clock.fast_forward(4_000)
    expect(page.get_by_text("Waiting for the first call")).to_be_visible()

    factories.settled(factories.a_call(key, method="GET", path="/maps"))
    page.clock.fast_forward(4_000)

    expect(page.get_by_text("A call with this key arrived.")).to_be_visible()
    expect(page.get_by_role("link", name="Its receipt")).to_be_visible()
    # The figures of the page are not what was loaded.
    expect(page.locator("#usage")).not_to_have_attribute("aria-busy", "true")
    assert complaints == []


def test_usage_is_drawn_and_another_span_fetched_in_place(page, ada, complaints):
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    expect(page.locator(".chart canvas")).to_be_visible()
    expect(page.get_by_role("img", name="calls per day")).to_be_visible()
    page.evaluate("window.stillHere = true")

    page.get_by_role("link", name="Day", exact=True).click()
    expect(page.get_by_role("img", name="calls per hour")).to_be_visible()
    expect(page.locator(".chart canvas")).to_be_visible()
    page.get_by_text("Show as a table").click()

    expect(page.get_by_role("cell", name="3", exact=True).last).to_be_visible()
    assert "span=day" in page.url
    assert page.evaluate("window.stillHere")
    kept = page.evaluate("Object.keys(localStorage).concat(Object.keys(sessionStorage))")
    assert kept == ["htmx-current-path-for-history"]
    page.go_back()
    expect(page.get_by_role("img", name="calls per day")).to_be_visible()
    assert complaints == []


def test_figures_that_cannot_be_loaded_stay_and_say_so(page, ada):
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    expect(page.locator(".chart canvas")).to_be_visible()
    page.route("**/*span=week*", lambda route: route.fulfill(status=500, body="broken"))

    page.get_by_role("link", name="Week", exact=True).click()

    expect(page.get_by_role("alert")).to_contain_text("This could not be loaded.")
    expect(page.get_by_role("link", name="Try again")).to_be_focused()
    expect(page.locator(".chart canvas")).to_be_visible()
    page.unroute("**/*span=week*")
    page.get_by_role("link", name="Try again").click()
    expect(page.locator("[aria-current=true]")).to_have_text("Week")


def test_whose_session_ended_at_a_chart_signs_in_on_a_page_of_its_own(page, ada):
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    page.context.clear_cookies()

    page.get_by_role("link", name="Week", exact=True).click()

    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.locator("main")).to_have_count(1)
    page.get_by_label("Email").fill(ada.email)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("[aria-current=true]")).to_have_text("Week")


def test_a_chart_is_read_by_keys_and_by_touch(page, ada):
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    chart, total = page.locator(".chart"), page.locator(".total")
    expect(chart.locator("canvas")).to_be_visible()
    expect(total).to_contain_text("in total")
    chart.focus()
    page.keyboard.press("End")

    expect(total).to_contain_text("so far")
    expect(page.locator("[data-aloud]")).to_contain_text("checkout")
    page.keyboard.press("Escape")
    expect(total).not_to_contain_text("so far")
    box = page.locator(".u-over").bounding_box()
    page.locator(".u-over").dispatch_event(
        "pointerdown",
        {"pointerType": "touch", "clientX": box["x"] + 5, "clientY": box["y"] + 5, "bubbles": True},
    )
    expect(total).to_contain_text("on ")


def test_the_page_of_all_usage_is_chosen_and_switched_in_place(page, ada, complaints):
    sign_in(page, ada)
    page.get_by_role("link", name="Usage", exact=True).click()
    expect(page.locator(".chart canvas")).to_be_visible()
    page.evaluate("window.stillHere = true")

    page.get_by_label("By", exact=True).select_option("Credential")
    expect(page.get_by_role("list", name="By credential")).to_be_visible()
    page.get_by_label("From", exact=True).fill("2026-01-15")
    page.get_by_label("To", exact=True).fill(f"{timezone.now():%Y-%m-%d}")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("img", name="calls per month")).to_be_visible()
    page.get_by_role("link", name="checkout (shown: hide it)").click()
    expect(page.get_by_role("link", name="checkout (hidden: show it)")).to_be_focused()

    expect(page.locator(".total strong")).to_have_text("0")
    assert "off=" in page.url
    page.get_by_role("link", name="Show all").click()
    expect(page.locator(".total strong")).to_have_text("3")
    page.get_by_label("By", exact=True).select_option("Element")
    expect(page.get_by_role("list", name="Series")).to_be_visible()
    assert page.evaluate("window.stillHere")
    assert complaints == []


def test_no_text_becomes_a_script(page, ada):
    sign_in(page, ada)
    page.goto("/usage/")
    refused = page.evaluate(
        """() => {
            const made = document.createElement("script");
            try { made.text = "window.stolen = 1"; } catch (error) { return error.name; }
        }"""
    )

    assert refused == "TypeError"
    assert page.evaluate("window.stolen") is None


def test_the_axes_name_the_unit_and_the_zone(page, ada):
    sign_in(page, ada)
    page.add_init_script(KEEP_WHAT_IS_DRAWN)
    page.goto("/usage/")

    expect(page.locator(".chart canvas")).to_be_visible()
    page.wait_for_function("window.drawn.length > 0")
    assert {"Day (UTC)", "calls"} <= set(page.evaluate("window.drawn"))


def test_the_menu_of_the_account_shows_its_focus_and_closes_by_escape(page, ada):
    sign_in(page, ada)
    menu = page.locator("details.me summary")
    page.keyboard.press("Tab")
    for _ in range(12):
        if menu.evaluate("each => each === document.activeElement"):
            break
        page.keyboard.press("Tab")
    assert menu.evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Second factor")).to_be_visible()

    page.keyboard.press("Escape")

    expect(page.get_by_role("link", name="Second factor")).to_be_hidden()
    expect(menu).to_be_focused()


@pytest.mark.parametrize("width", [320, 576, 768, 1024, 1280, 1920])
def test_there_is_a_gutter_at_every_width(page, ada, width):
    sign_in(page, ada)
    page.set_viewport_size({"width": width, "height": 800})

    for address in ("/", "/credentials/", "/subscriptions/", "/usage/", "/calls/"):
        page.goto(address)
        assert page.locator("h1").bounding_box()["x"] >= 16
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_all_of_it_works_without_javascript(chromium, live_server, ada):
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    page.get_by_role("link", name="Week").click()
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_text("Show as a table").click()
    expect(page.get_by_role("columnheader", name="Day (UTC)")).to_be_visible()
    page.get_by_role("link", name="checkout (shown: hide it)").click()
    expect(page.locator(".total")).to_contain_text("of the series that are shown")

    to_the_key(page)
    page.get_by_label("Your password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Reveal").click()

    expect(page.get_by_text(KEY)).to_be_visible()


def test_the_time_of_a_chart_is_named(page, ada):
    sign_in(page, ada)
    page.get_by_role("link", name="Geocoding").first.click()
    page.add_init_script(KEEP_WHAT_IS_DRAWN)
    today = timezone.now()
    for span, named in (("day", "00:00"), ("week", "%b"), ("month", "1 %b"), ("year", "Jan")):
        page.goto(page.url.partition("?")[0] + f"?span={span}&day={today:%Y-%m-%d}")

        expect(page.locator(".chart canvas")).to_be_visible()
        page.wait_for_function("window.drawn.length > 0")
        drawn = page.evaluate("window.drawn")
        first = today - timedelta(days=today.weekday()) if span == "week" else today
        assert any(first.strftime(named) in each for each in drawn), (span, drawn)


def test_the_documentation_of_the_doors_works_under_the_policy(page, complaints):
    page.goto("/v1/docs/")

    summary = page.get_by_text("Post metered transactions", exact=True)
    # It writes the operation into the address, which is no navigation to wait for.
    summary.click(no_wait_after=True)
    expect(page.get_by_text("One object, an array of up to 1,000")).to_be_visible()
    assert complaints == []
