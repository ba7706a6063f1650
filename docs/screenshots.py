"""Takes the pictures in the docs anew, from a running `make run`.

`make screenshots`, with CHROMIUM naming the browser if it is not /usr/bin/chromium.
"""

import json
import os
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
DEMO = json.loads((PROJECT / ".run" / "demo.json").read_text())
SIZE = {"width": 1280, "height": 800}


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
        browser.close()


main()
