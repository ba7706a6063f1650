"""Staff's way to the administration with a second factor, in a real Chromium."""

import os
import re

import pytest
from allauth.mfa.models import Authenticator
from playwright.sync_api import expect

from revcred import roles
from revcred.models import AuditEvent, OutgoingMail
from tests import factories
from tests.second_factors import App

SHOTS = os.environ.get("SHOTS")  # a directory: pictures of every page, light and dark, wide and not

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _required(settings):
    settings.STAFF_SECOND_FACTOR = "required"


@pytest.fixture
def boss(db):
    return factories.a_user("boss@example.com", is_staff=True, is_superuser=True, name="Bea Boss")


@pytest.fixture
def page(chromium, live_server, complaints):
    """A page of a browser that calls the server localhost, as passkeys want it."""
    context = chromium.new_context(base_url=re.sub("//[^:]+", "//localhost", live_server.url))
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.on(
        "console",
        lambda said: said.type in ("error", "warning") and complaints.append(said.text),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page


@pytest.fixture
def key(page):
    """A security key in the browser, that says yes by itself."""
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devices


def shoot(page, name):
    if not SHOTS:
        return
    for scheme in ("light", "dark"):
        for width in (1280, 390):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size({"width": width, "height": 900})
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{name} is {wide} px wide"
            page.screenshot(path=f"{SHOTS}/{name}-{scheme}-{width}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 900})


def give_password(page, user, to="/admin/"):
    page.goto(to)
    page.get_by_label("Email").fill(user.email)
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def confirm(page):
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    page.get_by_label("Password").fill(factories.PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def sign_out(page):
    page.goto("/admin/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("button", name="Sign out")).to_have_count(0)


def test_an_app_is_set_up_and_asked_for(page, boss, complaints):
    give_password(page, boss)
    expect(page.get_by_text("to open the administration")).to_be_visible()
    shoot(page, "1-nothing-yet")

    page.get_by_role("link", name="Set up an app").click()
    confirm(page)
    expect(page.get_by_alt_text("QR code for your app")).to_be_visible()
    drawn = page.locator("img.qr").evaluate("image => image.complete && image.naturalWidth > 0")
    assert drawn
    page.get_by_text("Or type this text into the app").click()
    app = App(page.locator(".revealed code").inner_text())
    shoot(page, "2-app")
    page.get_by_label("Code from the app").fill("000000")
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    page.get_by_label("Code from the app").fill(app.code(-1))
    page.get_by_role("button", name="Finish").click()

    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    codes = page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    shoot(page, "3-codes")
    page.get_by_role("link", name="open the administration").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("link", name="Second factor").click()
    shoot(page, "4-set-up")

    sign_out(page)
    give_password(page, boss)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    shoot(page, "5-sign-in")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    page.get_by_label("Code").fill(app.code(0))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    sign_out(page)
    give_password(page, boss)
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert AuditEvent.objects.filter(verb="recovery_code_used").count() == 1
    assert OutgoingMail.objects.filter(subject="A recovery code was used").count() == 1
    assert complaints == []


def test_a_passkey_is_added_and_asked_for(page, key, boss, complaints):
    give_password(page, boss)
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page)
    page.get_by_label("Name").fill("Work laptop")
    shoot(page, "6-passkey")
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.get_by_role("link", name="open the administration").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    sign_out(page)
    give_password(page, boss)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()

    page.goto("/account/2fa/webauthn/")
    expect(page.get_by_text("Work laptop")).to_be_visible()
    shoot(page, "7-passkeys")
    page.get_by_role("link", name="Rename").click()
    confirm(page)
    expect(page.get_by_role("heading", name="Rename a passkey")).to_be_visible()
    shoot(page, "8-rename")
    page.goto("/account/2fa/webauthn/")
    page.get_by_role("link", name="Remove").click()
    shoot(page, "9-remove")
    page.get_by_role("button", name="Remove the passkey").click()
    expect(page.get_by_text("The passkey was removed.")).to_be_visible()
    assert not Authenticator.objects.exists()
    assert complaints == []


def test_a_subscriber_signs_in_and_reveals_with_a_passkey_alone(page, key, complaints):
    ada = factories.a_subscriber(factories.a_customer(), email="ada@example.com")
    credential = factories.a_credential(ada.customers.get(), key="a-key-of-ada-7x4k", holders=[ada])
    page.goto("/account/login/")
    shoot(page, "13-entrance")
    give_password(page, ada.user, "/account/2fa/webauthn/add/")
    confirm(page)
    expect(page.get_by_label("without a password")).to_be_checked()
    page.get_by_role("button", name="Add a passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.context.clear_cookies()

    page.goto(f"/credentials/{credential.pk}/")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page).to_have_url(re.compile(rf"/credentials/{credential.pk}/$"))
    page.get_by_role("link", name="Reveal").first.click()
    shoot(page, "14-reveal")
    page.get_by_role("link", name="your passkey").click()
    page.get_by_role("button", name="Use a passkey").click()
    expect(page).to_have_url(re.compile(rf"/credentials/{credential.pk}/$"))
    page.get_by_role("link", name="Reveal").first.click()
    page.get_by_role("button", name="Reveal").click()
    expect(page.get_by_text("a-key-of-ada-7x4k")).to_be_visible()

    page.context.clear_cookies()
    page.goto("/account/login/")
    key.send("WebAuthn.disable")
    page.evaluate("() => { navigator.credentials.get = () => Promise.reject(new Error()) }")
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_text("The passkey was not used.")).to_be_visible()
    assert complaints == []


def test_a_passkey_that_is_not_there_is_said(page, key, boss, complaints):
    give_password(page, boss)
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page)
    page.evaluate("() => { navigator.credentials.create = () => Promise.reject(new Error()) }")
    page.get_by_role("button", name="Add a passkey").click()

    expect(page.get_by_text("The passkey was not used.")).to_be_visible()
    shoot(page, "10-not-used")
    assert complaints == []


def test_roles_are_chosen_in_words(page, boss, settings, complaints):
    settings.STAFF_SECOND_FACTOR = "optional"
    roles.sync_roles()
    clerk = factories.a_user("clerk@example.com", is_staff=True, name="Cleo Clerk")
    give_password(page, boss)
    page.goto(f"/admin/revcred/user/{clerk.pk}/change/")
    shoot(page, "11-roles")
    page.get_by_text("Single rights").click()
    shoot(page, "12-rights")
    page.get_by_role("checkbox", name=re.compile("Support")).check()
    page.get_by_role("button", name="Save", exact=True).click()
    # Roles open pages, so they are asked for before they are given.
    expect(page.get_by_role("heading", name="From then on")).to_be_visible()
    assert not clerk.groups.exists()
    page.get_by_role("button", name="Save it").click()
    expect(page).to_have_url(re.compile(r"/admin/revcred/user/$"))

    assert [group.name for group in clerk.groups.all()] == ["Support"]
    assert complaints == []
