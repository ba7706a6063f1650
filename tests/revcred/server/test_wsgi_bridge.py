import asyncio
import io
import threading
from types import SimpleNamespace

import pytest

from revcred.server.answers import CompleteAnswer
from revcred.server.wsgi_bridge import (
    MAX_BYTES_AT_ONCE,
    AnswerInParts,
    StreamedBody,
    run_application,
    wsgi_environ,
)

SCOPE = SimpleNamespace(
    method="POST",
    path="/a b/ä",
    query_string="x=%20",
    http_version="1.1",
    scheme="http",
    client="[::1]:4711",
    server="127.0.0.1:8000",
)


class Transport:
    def __init__(self):
        self.parts = []

    async def send_bytes(self, part):
        self.parts.append(part)


class Protocol:
    def response_stream(self, status, headers):
        self.status, self.headers, self.transport = status, headers, Transport()
        return self.transport


def answer_of(parts, status="200 OK"):
    def application(environ, start_response):
        start_response(status, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
        return parts

    async def run():
        protocol = Protocol()
        in_parts = AnswerInParts(protocol, asyncio.get_running_loop())
        answer = await asyncio.to_thread(
            run_application, application, {}, in_parts, database_seconds=1
        )
        return answer, protocol

    return asyncio.run(run())


def test_an_answer_keeps_its_headers_also_those_that_come_twice():
    answer, _ = answer_of([b"one", b"two"])

    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    assert answer == CompleteAnswer(200, headers, b"onetwo")


def test_a_long_answer_is_sent_in_parts():
    part = b"x" * (MAX_BYTES_AT_ONCE // 2)

    answer, protocol = answer_of([part] * 5)

    assert answer is None
    assert protocol.status == 200
    assert b"".join(protocol.transport.parts) == part * 5


def test_the_application_is_told_that_its_answer_is_over():
    class Parts(list):
        closed = False

        def close(self):
            self.closed = True

    parts = Parts([b"a"])
    answer_of(parts)

    assert parts.closed


def test_the_environment_is_that_of_the_request():
    headers = {
        "content-type": "text/csv",
        "content-length": "3",
        "transfer-encoding": "chunked",
        "x-api-key": "k",
        "x_forwarded_for": "8.8.8.8",
    }

    environ = wsgi_environ(SCOPE, headers, io.BytesIO(), length=3)

    assert environ["PATH_INFO"] == "/a b/ä".encode().decode("latin-1")
    assert (environ["REMOTE_ADDR"], environ["CONTENT_LENGTH"]) == ("::1", "3")
    assert (environ["CONTENT_TYPE"], environ["HTTP_X_API_KEY"]) == ("text/csv", "k")
    # The body was received whole, whatever announced it; and a header with other marks than the
    # proxy's is not the proxy's.
    assert {"HTTP_TRANSFER_ENCODING", "HTTP_X_FORWARDED_FOR"}.isdisjoint(environ)
    assert "HTTP_TRANSFER_ENCODING" in wsgi_environ(SCOPE, headers, io.BytesIO(), length=None)


def streamed(parts):
    async def sent():
        for part in parts:
            if isinstance(part, Exception):
                raise part
            yield part

    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return io.BufferedReader(StreamedBody(sent(), loop), 16)


def test_a_thread_reads_a_body_while_it_comes():
    assert streamed([b"one", b"", b"two" * 20]).read() == b"one" + b"two" * 20
    assert streamed([b"one", b"two"]).read(4) == b"onet"


def test_a_body_that_breaks_off_is_an_error_each_time_it_is_read():
    body = streamed([b"one", TimeoutError("too slow")])

    for _ in range(2):
        with pytest.raises(OSError, match="too slow"):
            body.read(100)
