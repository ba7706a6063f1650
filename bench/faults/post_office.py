"""A mail server that takes every mail, and remembers which it took and how often."""

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from bench.faults.proxy import HOST

MESSAGE_ID = b"message-id: <"
END_OF_TEXT = b".\r\n"


class PostOffice(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Visit)
        self.taken: Counter[str] = Counter()  # by Message-ID
        self.lock = threading.Lock()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"smtp://{HOST}:{self.port}"

    def take(self, message_id: str) -> None:
        with self.lock:
            self.taken[message_id] += 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break: that is the point."""


class _Visit(socketserver.StreamRequestHandler):
    server: PostOffice

    def handle(self) -> None:
        self._say(b"220 mail")
        while line := self.rfile.readline():
            command = line[:4].upper().strip()
            if command == b"DATA":
                self._say(b"354 go on")
                self.server.take(self._read_message_id())
            self._say(b"221 bye" if command == b"QUIT" else b"250 ok")

    def _read_message_id(self) -> str:
        """Read a text to its end. Raises EOFError if it has none: then it was not taken."""
        found = ""
        while line := self.rfile.readline():
            if line.lower().startswith(MESSAGE_ID):
                found = line[len(MESSAGE_ID) :].decode().rstrip(">\r\n")
            if line == END_OF_TEXT:
                return found
        raise EOFError

    def _say(self, text: bytes) -> None:
        self.wfile.write(text + b"\r\n")


@contextmanager
def post_office() -> Iterator[PostOffice]:
    with PostOffice() as office:
        threading.Thread(target=office.serve_forever, daemon=True).start()
        yield office
        office.shutdown()
