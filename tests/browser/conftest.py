"""One Chromium for all tests of a module; each test has a context of its own in it."""

import os
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skipif(
        not Path(CHROMIUM).exists(), reason=f"there is no browser at {CHROMIUM}"
    )
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.browser)
            item.add_marker(missing)


@pytest.fixture(scope="module")
def _running_chromium():
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop in this thread, which makes Django suspicious.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield browser
        browser.close()
        # The loop has a connection of its own, that would keep the database from being dropped.
        connection.close()


@pytest.fixture
def chromium(_running_chromium):
    """The browser. What a test opened in it is closed at its end."""
    yield _running_chromium
    for context in _running_chromium.contexts:
        context.close()


@pytest.fixture
def open_as(chromium, live_server):
    """Open a context in which a user has signed in."""

    def open_as(user, **how):
        signed_in = Client()
        signed_in.force_login(user)
        context = chromium.new_context(base_url=live_server.url, **how)
        context.set_default_timeout(20_000)
        context.add_cookies(
            [
                {"name": name, "value": each.value, "url": live_server.url}
                for name, each in signed_in.cookies.items()
            ]
        )
        return context.new_page()

    return open_as


@pytest.fixture
def complaints():
    """What scripts and the policy complain of, if the test's pages are listened to."""
    return []
