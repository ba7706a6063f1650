"""Takes the pictures in the docs anew, from a running `make run`.

`make screenshots`, with CHROMIUM naming the browser if it is not /usr/bin/chromium.
"""

import csv
import json
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
DEMO = json.loads((PROJECT / ".run" / "demo.json").read_text())
KNOWN = DEMO["credentials"]
SIZE = {"width": 1280, "height": 800}
UPPER_PART = {"x": 0, "y": 0, "width": 1280, "height": 1400}
APPLICATIONS = ("Web shop", "Route planner", "Night batch", "Partner feed", "Kiosk")
# Under these the demo's gateway reports calls that are nobody's yet.
WAITING = ("legacy-erp-7731", "partner-sandbox-04ce", "loadtest-north-2291")


def signed_in(browser: Browser, person: dict[str, str]) -> Page:
    page = browser.new_context(viewport=SIZE, device_scale_factor=1).new_page()
    page.goto(DEMO["url"] + "/account/login/")
    page.fill("[name=login]", person["email"])
    page.fill("[name=password]", person["password"])
    page.click("button[type=submit]")
    page.wait_for_load_state("networkidle")
    return page


def take(page: Page, name: str, path: str, *, then: str | None = None) -> None:
    page.goto(DEMO["url"] + path)
    if then:
        page.click(then)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # the chart is drawn
    page.screenshot(path=IMAGES / f"{name}.png")


def a_list() -> bytes:
    """What somebody might bring: most of it is new, some known, some waited for, some wrong."""
    text = StringIO()
    writer = csv.writer(text, delimiter=";")
    writer.writerow(("Company", "Application", "API key", "Secret", "Plan", "Stage", "Expires"))
    writer.writerows(new_ones())
    writer.writerows(others())
    return text.getvalue().encode()


def new_ones() -> Iterator[tuple[str, ...]]:
    places = sorted({(each["customer"], each["subscription"]) for each in KNOWN})
    for number in range(600):
        customer, subscription = places[number % len(places)]
        name = f"{APPLICATIONS[number % len(APPLICATIONS)]} {number // len(APPLICATIONS) + 1}"
        key = WAITING[number] if number < len(WAITING) else f"portal-2024-{number * 7919:08x}"
        stage = ("production", "production", "staging")[number % 3]
        yield customer, name, key, f"{number * 104729:016x}", subscription, stage, "2028-12-31"


def others() -> Iterator[tuple[str, ...]]:
    first, second, third, *_, last = KNOWN
    moved = next(
        each["subscription"]
        for each in KNOWN
        if each["customer"] == second["customer"] and each["subscription"] != second["subscription"]
    )
    yield first["customer"], first["name"], first["external_key"], "", "", "pilot", ""
    yield second["customer"], second["name"], second["external_key"], "", moved, "", ""
    yield last["customer"], "Sandbox", third["external_key"], "", "", "", ""
    yield last["customer"], "Sometime", "portal-2024-sometime", "", "", "", "31.12.2028"
    yield "northwind", "Warehouse", "portal-2024-warehouse", "", "", "", ""


def take_upload(page: Page) -> None:
    """From the file to the preview; then it is given up, so that the demo stays as it is."""
    page.goto(DEMO["url"] + "/admin/revcred/upload/add/")
    page.screenshot(path=IMAGES / "admin-upload.png")
    file = {"name": "keys-of-the-old-portal.csv", "mimeType": "text/csv", "buffer": a_list()}
    page.set_input_files("input[type=file]", [file])
    page.click("text=Upload and check")
    page.click("text=Change the columns", timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / "admin-upload-columns.png")
    page.get_by_role("link", name="Back", exact=True).click()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=IMAGES / "admin-upload-preview.png", full_page=True, clip=UPPER_PART)
    page.click("text=Discard this upload")


def take_moving_in(page: Page) -> None:
    """The previews of the samples of the guides on moving in, which are then given up."""
    for sample in sorted((PROJECT / "docs" / "moving" / "samples").iterdir()):
        page.goto(DEMO["url"] + "/admin/revcred/upload/add/")
        page.set_input_files("input[type=file]", sample)
        if sample.stem == "spreadsheet":
            page.click("summary")
            page.select_option("[name=encoding]", "windows-1252")
        page.click("text=Upload and check")
        if sample.stem == "aws":
            page.fill("[name=all_customer]", "harbour", timeout=60_000)
            page.click("text=Check this upload")
        page.wait_for_selector("#choices", timeout=60_000)
        page.wait_for_load_state("networkidle")
        path = IMAGES / f"moving-{sample.stem}.png"
        page.screenshot(path=path, full_page=True, clip=UPPER_PART)
        page.click("text=Discard this upload")


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
        )
        subscriber = signed_in(browser, DEMO["subscribers"][0])
        take(subscriber, "storefront-overview", "/")
        take(subscriber, "storefront-usage", "/subscriptions/", then="text=Fleet maps")
        take(subscriber, "storefront-credential", "/credentials/", then="text=Delivery app")
        admin = signed_in(browser, DEMO["admin"])
        take(admin, "admin-overview", "/admin/")
        take(admin, "admin-credential", "/admin/revcred/credential/", then="text=Manuscript search")
        take(admin, "admin-issue", "/admin/revcred/credential/add/")
        take(admin, "admin-quarantine", "/admin/metering/quarantined/")
        take_upload(admin)
        take_moving_in(admin)
        browser.close()


main()
