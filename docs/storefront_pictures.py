"""Takes a picture of every page of the storefront, from a running `make run`, and asks axe.

`make pictures ARGS=folder`: at 360, 768 and 1440 pixels, in both themes, and in some states. The
pictures are not kept in git: they are to be looked at. CHROMIUM names the browser.
"""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
DEMO = json.loads((PROJECT / ".run" / "demo.json").read_text())
WIDTHS = (360, 768, 1440)
THEMES = ("light", "dark")
SIGN_IN = "/account/login/"

# Opens a state of the page that has been loaded.
State = Callable[[Page], object]


def wrong_password(page: Page) -> None:
    page.fill("[name=login]", "nobody@example.com")
    page.fill("[name=password]", "wrong")
    page.click("main button[type=submit]")
    page.wait_for_load_state("networkidle")


def open_tables(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")


def open_reveal(page: Page) -> None:
    page.locator("[data-reveal]").first.click()
    page.wait_for_selector("dialog[open]")


def pages_of(page: Page) -> list[tuple[str, str, State | None]]:
    """Return name, address and state of each page that somebody signed in sees."""

    def first(address: str, pattern: str) -> str:
        page.goto(DEMO["url"] + address)
        links = [each.get_attribute("href") or "" for each in page.locator("main a").all()]
        return next(each for each in links if re.fullmatch(pattern, each))

    subscription = first("/subscriptions/", r"/subscriptions/\d+/")
    credential = first("/credentials/?order=used", r"/credentials/\d+/")
    call = first("/calls/", r"/transactions/.+/")
    return [
        ("home", "/", None),
        ("subscriptions", "/subscriptions/", None),
        ("subscription", subscription, None),
        ("subscription-table", subscription, open_tables),
        ("credentials", "/credentials/", None),
        ("credentials-empty", "/credentials/?q=nothing-like-it", None),
        ("credential", credential, None),
        ("credential-reveal", credential, open_reveal),
        ("rotate", credential + "rotate/", None),
        ("suspend", credential + "suspend/", None),
        ("new-credential", "/credentials/new/", None),
        ("usage", "/usage/", None),
        ("usage-element", "/usage/?by=element", None),
        ("usage-gateway", "/usage/?by=gateway", None),
        ("usage-empty", "/usage/?span=day&day=2020-01-01", None),
        ("calls", "/calls/", None),
        ("calls-uncounted", "/calls/?show=uncounted", None),
        ("receipt", call, None),
        ("team", "/team/", None),
        ("invite", "/team/invite/", None),
        ("holders", "/team/holders/", None),
        ("password", "/account/password/change/", None),
        ("sessions", "/account/sessions/", None),
        ("not-found", "/nothing-here/", None),
        ("styleguide", "/storefront/styleguide/", None),
        ("styleguide-forms", "/storefront/styleguide/", open_tables),
    ]


def take(page: Page, folder: Path, name: str, address: str, state: State | None) -> list[str]:
    """Take a picture at each width, and return what is wrong."""
    problems = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(DEMO["url"] + address)
        page.wait_for_load_state("networkidle")
        if state:
            state(page)
        page.screenshot(path=folder / f"{name}-{width}.png", full_page=True)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            problems.append(f"{name}, {width}: wider than the window")
        problems += [f"{name}, {width}: {each}" for each in violations(page)]
    return problems


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']} {each['nodes'][0]['target']}" for each in found]


def take_all(browser: Browser, folder: Path, theme: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    context = browser.new_context(color_scheme=theme, bypass_csp=True)
    page = context.new_page()
    problems = take(page, folder, "sign-in", SIGN_IN, None)
    problems += take(page, folder, "sign-in-wrong", SIGN_IN, wrong_password)
    person = DEMO["subscribers"][0]
    page.goto(DEMO["url"] + SIGN_IN)
    page.fill("[name=login]", person["email"])
    page.fill("[name=password]", person["password"])
    page.click("main button[type=submit]")
    page.wait_for_load_state("networkidle")
    for name, address, state in pages_of(page):
        problems += take(page, folder, name, address, state)
    context.close()
    return problems


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    problems = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
        )
        for theme in THEMES:
            problems += [f"{theme}: {each}" for each in take_all(browser, folder / theme, theme)]
        browser.close()
    sys.stdout.write("\n".join([*problems, f"{len(problems)} problems. Look at {folder}."]) + "\n")
    return 1 if problems else 0


sys.exit(main())
