"""Servers that stand behind a gateway, or in revcred's place."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from revcred.launcher.web import WEB_HOST

HANG_SECONDS = 8.0  # longer than any recipe waits


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: Any) -> None:
        """Say nothing of connections that a gateway resets."""


class _Quiet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests."""

    def _answer(self, status: HTTPStatus, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Echo(_Quiet):
    """Answers what it was sent: method, path, headers with their spelling, length of the body."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(self._chunks())
        echoed = {
            "method": self.command,
            "path": self.path,
            "headers": self.headers.items(),
            "body": len(body),
        }
        self._answer(HTTPStatus.OK, json.dumps(echoed).encode())

    do_GET = do_POST = handle_any  # noqa: N815 - names that http.server looks for

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()


class WithoutMemory(_Quiet):
    """Stands in revcred's place when it was started without a database: 503 to everything."""

    # A connection that is kept would be answered from here when revcred is back.
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"", Retry_After="1")


class Silent(_Quiet):
    """Stands in revcred's place when it hangs: it takes a question, and does not answer in time."""

    def do_GET(self) -> None:
        time.sleep(HANG_SECONDS)
        self.close_connection = True


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """Serve from a thread, and yield the port."""
    server = _Server((WEB_HOST, port), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
