import asyncio
import json
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from queue import Empty, Queue

import pytest
from django.http import HttpResponse
from django.utils import timezone

from metering.api.event_loop_doors import EventLoopDoors
from metering.models import GatewayToken
from revcred.server.received import MAX_POST_BYTES, BodyLimits, receive_body
from tests import factories

SCOPES = ["transactions:post", "receipts:read", "calls:check"]


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


class LoopClient:
    """Asks the doors in the event loop as the test client asks Django."""

    def __init__(self):
        self.database = HandedBack()
        self.doors = EventLoopDoors(self.database)

    def post(self, path, data, *, content_type, headers):
        assert self.doors.take("POST", path)
        body = data.encode() if isinstance(data, str) else data
        said = {"content-type": content_type, "content-length": str(len(body))} | {
            name.replace("_", "-").lower(): value for name, value in headers.items()
        }
        with ThreadPoolExecutor(1) as loop:
            answer = loop.submit(asyncio.run, self._answer(path, said, body))
            self.database.run_until(answer)
        encoded = answer.result()
        return HttpResponse(encoded.body, status=encoded.status, headers=dict(encoded.headers))

    async def _answer(self, path, headers, body):
        class Stream:
            async def __call__(self):
                return body

        limits = BodyLimits(
            bytes=MAX_POST_BYTES, seconds=60, bytes_per_second=1_000, grace_seconds=5
        )
        receive = partial(receive_body, Stream(), headers, limits)
        return await self.doors.answer(path, headers, receive)


@pytest.fixture(params=["django", "loop"])
def asked(request, client, monkeypatch):
    """Whatever Django answers to a POST of transactions, the event loop answers, too."""
    if request.param == "django":
        return client
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    return LoopClient()


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
