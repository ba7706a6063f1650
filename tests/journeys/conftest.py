"""All of revcred as it runs in production: its own stores, web, worker and clock."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from revcred.launcher.fresh import fresh_directory
from revcred.launcher.processes import Child, Supervisor
from revcred.launcher.programs import Programs
from revcred.launcher.stores import Stores

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
class Stack:
    children: dict[str, Child]
    environment: dict[str, str]
    url: str
    logs: Path
    token: str = ""
    sent: int = 0

    def manage(self, *arguments):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip().splitlines()[-1]

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

    def seconds_until_attributed(self, name):
        began = time.monotonic()
        while self.ask(f"/v1/transactions/{name}").body.get("state") != "attributed":
            assert time.monotonic() - began < 15, "not attributed"
            time.sleep(0.05)
        return time.monotonic() - began

    def kill(self, name):
        child = self.children[name]
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def start(self, name):
        self.children[name].start()

    @contextmanager
    def frozen(self, name):
        os.killpg(self.children[name].process.pid, signal.SIGSTOP)
        yield
        os.killpg(self.children[name].process.pid, signal.SIGCONT)


def a_free_port():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@pytest.fixture(scope="session")
def stack():
    with fresh_directory() as directory:
        supervisor = Supervisor(directory / "processes.json")
        stores = Stores(supervisor, given={}, data=directory, logs=directory, durable=True)
        try:
            yield started(supervisor, stores, directory)
        finally:
            supervisor.stop()
            stores.clear_away()


def started(supervisor, stores, directory):
    environment = dict(os.environ) | stores.start() | {"ENVIRONMENT": "test"}
    port = a_free_port()
    children = {child.program.name: child for child in supervisor.children}
    stack = Stack(children, environment, f"http://127.0.0.1:{port}", directory)
    stack.manage("migrate", "--no-input")
    stack.token = stack.manage("shell", "--no-imports", "--command", SEED)
    programs = Programs(environment, PROJECT, logs=directory)
    for program in (programs.web(port), programs.worker(), programs.clock()):
        children[program.name] = supervisor.start(program)
    supervisor.wait_until(lambda: answers(stack), children["web"])
    stack.seconds_until_attributed(stack.post()[0])  # until the worker is there, too
    return stack


def answers(stack):
    try:
        return stack.ask("/healthz").status == 200
    except OSError:
        return False
