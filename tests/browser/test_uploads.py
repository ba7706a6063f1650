"""An admin's way from a list of 5,000 rows to working credentials, in a real Chromium.

Against all of revcred as it runs in production: web, worker, the worker for uploads, clock.
"""

import csv
from io import StringIO
from pathlib import Path

import pytest
from playwright.sync_api import expect

from revcred.launcher.stack import Stack, running_stack
from revcred.launcher.temporary import temporary_directory
from tests.stores import copy_migrated_data

PROJECT = Path(__file__).resolve().parents[2]
ROWS = 5_000
PATIENCE = 120_000  # milliseconds; the machine may be busy
EMAIL, PASSWORD = "admin@example.com", "correct horse battery staple"
KEY = "the-key-that-no-page-shows-{:05}"
SECRET = "the-secret-that-no-page-shows-{:05}"

SEED = f"""
from tests import factories
factories.a_user("{EMAIL}", is_staff=True, is_superuser=True)
acme = factories.a_customer("Acme")
factories.a_subscription(acme, external_key="maps")
factories.a_credential(acme, key="{KEY.format(0)}", name="Client 0", environment="staging")
factories.settled(*[factories.a_call("{KEY.format(7)}") for _ in range(12)])
"""


@pytest.fixture(scope="module")
def stack():
    with temporary_directory() as directory:
        copy_migrated_data(directory)
        with running_stack(Stack, directory, PROJECT) as stack:
            stack.manage("shell", "--no-imports", "--command", SEED)
            stack.serve()
            yield stack


@pytest.fixture
def open_page(chromium, stack, complaints):
    """A page of a signed-in admin whose complaints (of scripts, of the policy) are heard."""

    def open_page(**how):
        context = chromium.new_context(base_url=stack.url, **how)
        context.set_default_timeout(30_000)
        page = context.new_page()
        page.on(
            "console",
            lambda said: said.type in ("error", "warning") and complaints.append(said.text),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/account/login/?next=/admin/")
        page.get_by_label("Email").fill(EMAIL)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        return page

    return open_page


def a_list(name, rows):
    text = StringIO()
    writer = csv.writer(text, delimiter=";")
    writer.writerow(["Organisation", "Application", "API key", "Secret", "Plan", "Owner", "Notes"])
    writer.writerows(rows)
    return {"name": name, "mimeType": "text/csv", "buffer": text.getvalue().encode()}


def row(n, customer="acme", owner=""):
    return [customer, f"Client {n}", KEY.format(n), SECRET.format(n), "maps", owner, "…"]


def bring(page, file):
    page.goto("/admin/revcred/upload/")
    page.get_by_role("link", name="Upload a list").click()
    page.get_by_label("A list of credentials").set_input_files(file)
    page.get_by_role("button", name="Upload and check").click()


def figure(page, name):
    return page.locator(".figures div").filter(has=page.get_by_text(name, exact=True)).locator("dd")


def test_from_somebody_else_s_list_to_credentials_and_back(open_page, complaints):
    page = open_page()
    rows = [row(n) for n in range(ROWS - 2)]
    rows += [row(ROWS, customer="globex"), row(ROWS + 1, owner="nobody")]
    bring(page, a_list("keys.csv", rows))

    # Nobody reloads the page: it sees by itself when there is more.
    expect(page.get_by_role("heading", name="Apply 4,998 rows")).to_be_visible(timeout=PATIENCE)
    expect(figure(page, "Create")).to_have_text("4,997")
    expect(figure(page, "Update")).to_have_text("1")
    expect(figure(page, "Rejected")).to_have_text("2")
    expect(page.get_by_role("heading", name="This moves 12 calls")).to_be_visible()
    expect(page.get_by_text("No customer has this external key.").first).to_be_visible()
    assert "that-no-page-shows" not in page.content()

    page.get_by_role("link", name="Change the columns").click()
    expect(page.get_by_label("Plan")).to_have_value("plan")
    expect(page.get_by_label("Notes")).to_have_value("")
    assert "that-no-page-shows" not in page.content()
    page.get_by_label("Notes").select_option("tags")
    page.get_by_role("button", name="Check this upload").click()
    expect(page.get_by_text("All columns of the file are used.")).to_be_visible(timeout=PATIENCE)

    page.get_by_role("group", name="Unknown customers").get_by_label("Create").check()
    page.get_by_role("button", name="Check again with these choices").click()
    customer = page.get_by_text("No customer has this external key.")
    expect(customer).to_have_count(0, timeout=PATIENCE)
    # Of Globex, whose subscriptions nobody has chosen to create.
    none_of_plan = page.get_by_text("The customer has no subscription of this plan.")
    expect(none_of_plan.first).to_be_visible(timeout=PATIENCE)

    page.get_by_role("button", name="Apply this upload").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("heading", name="This upload was applied")).to_be_visible(
        timeout=PATIENCE
    )
    expect(figure(page, "Created")).to_have_text("4,997")

    with page.expect_download() as download:
        page.get_by_role("link", name="Download the rejected rows").click()
    rejected = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert rejected[0].startswith("error")
    assert len(rejected) == 3

    page.get_by_label("Search everything").fill("Client 4711")
    page.get_by_role("search").get_by_role("button", name="Search").click()
    # The only thing found is shown at once.
    expect(page.get_by_role("heading", name="Client 4711")).to_be_visible()
    assert complaints == []


def test_a_list_is_undone(open_page, complaints):
    page = open_page()
    bring(page, a_list("few.csv", [row(n) for n in range(20_000, 20_010)]))
    page.get_by_role("button", name="Apply this upload").click(timeout=PATIENCE)
    expect(page.get_by_role("heading", name="This upload was applied")).to_be_visible(
        timeout=PATIENCE
    )

    page.get_by_role("link", name="Undo this upload …").click()
    page.get_by_role("button", name="Check what undoing does").click()
    page.get_by_role("button", name="Undo this upload").click(timeout=PATIENCE)

    expect(page.get_by_role("heading", name="This upload was undone")).to_be_visible(
        timeout=PATIENCE
    )
    page.goto("/admin/revcred/credential/?q=Client+20001")
    expect(page.get_by_text("0 credentials")).to_be_visible()
    assert complaints == []


def test_all_of_it_works_without_javascript(open_page):
    page = open_page(java_script_enabled=False)
    bring(page, a_list("plain.csv", [row(n) for n in range(30_000, 30_010)]))

    def until(button):
        for _ in range(600):
            if button.is_visible():
                return
            page.wait_for_timeout(200)
            page.get_by_role("link", name="Refresh").click()
        raise AssertionError

    until(apply := page.get_by_role("button", name="Apply this upload"))
    apply.click()
    until(undo := page.get_by_role("link", name="Undo this upload …"))
    undo.click()
    page.get_by_role("button", name="Check what undoing does").click()
    until(sure := page.get_by_role("button", name="Undo this upload"))
    sure.click()
    until(page.get_by_role("heading", name="This upload was undone"))


def test_nothing_sticks_out_of_a_narrow_window(open_page):
    page = open_page(viewport={"width": 360, "height": 720})
    for address in ("/admin/revcred/upload/add/", "/admin/revcred/upload/1/change/"):
        page.goto(address)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360, address
