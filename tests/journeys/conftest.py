"""All of revcred as it runs in production: its own stores, web, worker and clock."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from revcred.launcher.stack import Stack, running_stack
from revcred.launcher.temporary import temporary_directory
from tests.stores import copy_migrated_data

PROJECT = Path(__file__).resolve().parents[2]
KEY = "the-key-of-the-journey"

SEED = f"""
from metering.models import GatewayToken
from tests import factories
customer = factories.a_customer()
factories.a_credential(customer, "{KEY}", subscriptions=[factories.a_subscription(customer)])
gateway = factories.a_gateway()
print(GatewayToken.issue(gateway, name="", scopes=list(GatewayToken.Scope))[1])
"""


@dataclass
class Answer:
    status: int
    body: dict
    headers: dict
    seconds: float


@dataclass
class Journeys(Stack):
    token: str = ""
    sent: int = 0

    def ask(self, path, body=None, *, raw=None, **headers):
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body).encode() if body else raw,
            {"authorization": f"Bearer {self.token}", "content-type": "application/json"} | headers,
        )
        began = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                status, text, headers = response.status, response.read(), response.headers
        except urllib.error.HTTPError as error:
            status, text, headers = error.code, error.read(), error.headers
        seconds = time.monotonic() - began
        is_json = headers["content-type"] == "application/json"
        return Answer(status, json.loads(text) if is_json else {}, dict(headers), seconds)

    def post(self, **fields):
        """One transaction; its id and the answer."""
        self.sent += 1
        name = f"journey-{self.sent}"
        now = datetime.now(UTC).isoformat()
        said = {"transaction_id": name, "occurred_at": now, "key": KEY} | fields
        return name, self.ask("/v1/transactions", said)

    def is_ready(self):
        try:
            return self.ask("/readyz").status == 200
        except OSError:
            return False

    def seconds_until_attributed(self, name):
        began = time.monotonic()
        while self.ask(f"/v1/transactions/{name}").body.get("state") != "attributed":
            assert time.monotonic() - began < 60, "not attributed"
            time.sleep(0.05)
        return time.monotonic() - began


@pytest.fixture(scope="package")
def stack():
    with temporary_directory() as directory:
        copy_migrated_data(directory)
        with running_stack(Journeys, directory, PROJECT) as stack:
            stack.token = stack.manage("shell", "--no-imports", "--command", SEED)
            stack.serve()
            stack.seconds_until_attributed(stack.post()[0])  # until the worker is there, too
            yield stack


@pytest.fixture(autouse=True)
def _ready_for_the_next_test(stack):
    """Let the installation get over what a test has killed."""
    yield
    stack.wait_until(stack.is_ready)
