import asyncio
import json
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, Queue

import pytest
from django.http import HttpResponse
from django.utils import timezone

from metering.api.fast_door import FastDoor
from metering.models import GatewayToken
from tests import factories

SCOPES = ["transactions:post", "receipts:read"]


@pytest.fixture
def gateway(db):
    return factories.a_gateway("edge")


@pytest.fixture
def token(gateway):
    return GatewayToken.issue(gateway, name="tests", scopes=SCOPES)[1]


class HandedBack(Executor):
    """Steps for the database, to be run by the test's own thread, and so in its transaction."""

    def __init__(self):
        self.steps = Queue()

    def submit(self, step, /, *arguments, **named):
        done = Future()
        self.steps.put((done, partial(step, *arguments, **named)))
        return done

    def run_until(self, over):
        while not (over.done() and self.steps.empty()):
            try:
                done, step = self.steps.get(timeout=0.01)
            except Empty:
                continue
            try:
                done.set_result(step())
            except Exception as error:  # noqa: BLE001 - it is for the one who asked
                done.set_exception(error)


class FastClient:
    """Asks the fast door as the test client asks the web."""

    def __init__(self):
        self.database = HandedBack()
        self.door = FastDoor(self.database)

    def post(self, path, data, *, content_type, headers):
        with ThreadPoolExecutor(1) as loop:
            asked = self._ask("POST", path, data, content_type, headers)
            answer = loop.submit(asyncio.run, asked)
            self.database.run_until(answer)
        return answer.result()

    async def _ask(self, method, path, data, content_type, headers):
        body = data.encode() if isinstance(data, str) else data
        said = {"content-type": content_type, "content-length": str(len(body))} | headers
        pairs = [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in said.items()
        ]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs}
        heard = []

        async def receive():
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message):
            heard.append(message)

        await self.door(scope, receive, send)
        start, end = heard
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return HttpResponse(end["body"], status=start["status"], headers=headers)


@pytest.fixture(params=["web", "fast"])
def asked(request, client, monkeypatch):
    """Whatever the web answers to a POST of transactions, the fast door answers, too."""
    if request.param == "web":
        return client
    monkeypatch.setattr("metering.api.fast_door.close_old_connections", lambda: None)
    return FastClient()


@pytest.fixture
def post(asked, token):
    """Post a body as the gateway: bytes as they are, anything else as JSON."""

    def post(body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        headers = {"authorization": f"Bearer {token}"} | headers
        response = asked.post("/v1/transactions", data, content_type=content_type, headers=headers)
        response.json = lambda: json.loads(response.content)
        return response

    return post


@pytest.fixture
def call():
    """A transaction as a gateway posts it."""

    def call(**fields):
        now = timezone.now().isoformat()
        said = {"transaction_id": "t-1", "occurred_at": now, "key": "some-key-of-a-caller"} | fields
        return {name: value for name, value in said.items() if value is not ...}

    return call
