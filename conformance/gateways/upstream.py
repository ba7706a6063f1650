"""Servers that stand behind a gateway, or in revcred's place."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


class Switch:
    """A port that leads to another one, until it is turned off: then nobody listens there."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._ends: set[socket.socket] = set()
        self._listening = self._listen(0)
        self.port = int(self._listening.getsockname()[1])

    def turn_off(self) -> None:
        """Refuse new connections, and end all that are open."""
        for end in [self._listening, *self._ends]:
            # Shut down, since closing alone does not wake the thread that waits at it.
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends.clear()

    def turn_on(self) -> None:
        self._listening = self._listen(self.port)

    close = turn_off

    def _listen(self, port: int) -> socket.socket:
        listening = socket.create_server((WEB_HOST, port), backlog=64)
        threading.Thread(target=self._accept, args=[listening], daemon=True).start()
        return listening

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                end, _ = listening.accept()
                other = socket.create_connection((WEB_HOST, self._target))
                self._ends |= {end, other}
                for source, sink in ((end, other), (other, end)):
                    threading.Thread(target=_pass_on, args=[source, sink], daemon=True).start()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
