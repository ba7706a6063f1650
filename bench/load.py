"""Clients that keep their connections, in a process of their own and in one thread of it.

It costs next to nothing: bodies are there before the clock starts, and answers are looked at for
their status alone.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import traffic

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

GLANCE = 0.002
PATIENCE = 30.0
HANDFUL = 1 << 16
OK, ACCEPTED = 200, 202
TOO_MANY, OVERLOADED = 429, 503
CHUNKED, LAST_CHUNK = b"transfer-encoding: chunked", b"0\r\n\r\n"
UNANSWERED = 0
UNSURE = {UNANSWERED, *range(500, 600)}


@dataclass(frozen=True)
class Address:
    host: str
    port: int
    token: str

    def post(self, body: bytes) -> bytes:
        head = (
            f"POST /v1/transactions HTTP/1.1\r\nHost: {self.host}\r\n"
            f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def get(self, path: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()


@dataclass(frozen=True)
class Sent:
    """One request. `began` is when it was due, so that a late sender hides no wait."""

    number: int
    began: float
    ended: float
    status: int
    retry_after: str = ""  # of what was turned away

    @property
    def seconds(self) -> float:
        return self.ended - self.began


@dataclass
class Line:
    """One connection, with at most one request under way."""

    address: Address
    number: int = 0
    began: float = 0.0
    rest: memoryview = field(default_factory=lambda: memoryview(b""))
    heard: bytes = b""

    def __post_init__(self) -> None:
        self.socket = socket.create_connection((self.address.host, self.address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)

    def say(self, number: int, request: bytes, began: float) -> None:
        self.number, self.began, self.rest, self.heard = number, began, memoryview(request), b""
        self.go_on()

    def go_on(self) -> None:
        try:
            self.rest = self.rest[self.socket.send(self.rest) :]
        except BlockingIOError:
            return

    def listen(self) -> int | None:
        """The status once the answer is whole; UNANSWERED if the connection broke."""
        try:
            data = self.socket.recv(HANDFUL)
        except BlockingIOError:
            return None
        except OSError:
            return UNANSWERED
        if not data:
            return UNANSWERED
        self.heard += data
        head, found, body = self.heard.partition(b"\r\n\r\n")
        if not found or not _is_whole(head.lower(), body):
            return None
        return int(head[9:12])

    @property
    def retry_after(self) -> str:
        """When to come again, as the answer says; empty if it does not."""
        head = self.heard.partition(b"\r\n\r\n")[0].lower()
        return _header(head, b"retry-after: ").decode()


def _is_whole(head: bytes, body: bytes) -> bool:
    if CHUNKED in head:
        return body.endswith(LAST_CHUNK)
    return len(body) >= int(_header(head, b"content-length: ") or 0)


def _header(head: bytes, name: bytes) -> bytes:
    return head.partition(b"\r\n" + name)[2].partition(b"\r\n")[0]


class Drive:
    """Sends for some seconds: as fast as is answered while it `may`, or at a rate."""

    def __init__(
        self,
        address: Address,
        request: Callable[[int], bytes],
        *,
        connections: int,
        seconds: float,
        rate: float | None = None,  # requests a second
        may: Callable[[int], bool] = lambda _: True,  # given how many have been sent
    ) -> None:
        self.request, self.address = request, address
        self.seconds, self.rate, self.may = seconds, rate, may
        self.sent: list[Sent] = []
        # In turn, so that none is idle for so long that the server closes it.
        self._idle = deque(Line(address) for _ in range(connections))
        self._started = 0
        # Others round up to a millisecond, which would count as the server's time.
        self._selector = selectors.SelectSelector()

    def run(self) -> list[Sent]:
        self._began = time.time()
        with self._selector:
            while time.time() < self._began + self.seconds:
                self._start_what_may()
                self._attend()
            self._finish()
        return self.sent

    def _start_what_may(self) -> None:
        while self._idle and (due := self._due()) is not None:
            line, number = self._idle.popleft(), traffic.FIRST + self._started
            self._started += 1
            line.say(number, self.request(number), due)
            self._selector.register(line.socket, _interest(line), line)

    def _due(self) -> float | None:
        now = time.time()
        if self.rate:
            due = self._began + self._started / self.rate
            return due if due <= now else None
        return now if self.may(self._started) else None

    def _seconds_until_due(self) -> float:
        if not self.rate or not self._idle:
            return GLANCE
        due = self._began + self._started / self.rate
        return min(GLANCE, max(0.0, due - time.time()))

    def _attend(self) -> None:
        for key, events in self._selector.select(self._seconds_until_due()):
            line: Line = key.data
            if events & selectors.EVENT_WRITE:
                line.go_on()
                self._selector.modify(line.socket, _interest(line), line)
            if events & selectors.EVENT_READ and (status := line.listen()) is not None:
                self._end(line, status)

    def _end(self, line: Line, status: int) -> None:
        self._selector.unregister(line.socket)
        retry_after = line.retry_after if status in {TOO_MANY, OVERLOADED} else ""
        self.sent.append(Sent(line.number, line.began, time.time(), status, retry_after))
        if status == UNANSWERED:
            line.socket.close()
            line = Line(self.address)
        self._idle.append(line)

    def _finish(self) -> None:
        """What is under way is heard out."""
        deadline = time.time() + PATIENCE
        while self._selector.get_map() and time.time() < deadline:
            self._attend()
        for key in list(self._selector.get_map().values()):
            self._end(key.data, UNANSWERED)


def _interest(line: Line) -> int:
    return selectors.EVENT_READ | (selectors.EVENT_WRITE if line.rest else 0)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is sent for one row of the table."""

    address: Address
    prefix: str  # of the ids
    batch: int
    connections: int
    seconds: float
    credentials: int
    most_waiting: int  # transactions
    record: Path | None
    rate: float | None = None  # requests a second


@dataclass(frozen=True)
class Heard:
    sent: list[Sent]
    cpu: float


def post(plan: Plan, processed: "Synchronized[int]", pipe: "Connection[Any, Any]") -> None:
    """In its own process: make the bodies, wait for the word, send, write down what was sent."""
    bodies = traffic.bodies(plan.prefix, plan.batch, plan.credentials, under_way=plan.connections)

    def request(number: int) -> bytes:
        return plan.address.post(bodies[number % len(bodies)].numbered(number))

    def may(started: int) -> bool:
        return started * plan.batch - processed.value <= plan.most_waiting

    drive = Drive(
        plan.address,
        request,
        connections=plan.connections,
        seconds=plan.seconds,
        rate=plan.rate,
        may=may,
    )
    pipe.send(None)
    pipe.recv()
    cpu = time.process_time()
    sent = drive.run()
    heard = Heard(sent, time.process_time() - cpu)
    _write_down(plan, bodies, sent)
    pipe.send(heard)


def _write_down(plan: Plan, bodies: Sequence[traffic.Body], sent: list[Sent]) -> None:
    """The clients' own record, if it is asked for.

    What got no answer, or a 5xx, may have been kept all the same.
    """
    if plan.record is None:
        return
    with plan.record.open("w") as file:
        for each in sent:
            if each.status == ACCEPTED or each.status in UNSURE:
                moment = repr(each.ended) if each.status == ACCEPTED else r"\N"
                ids = bodies[each.number % len(bodies)].ids(plan.prefix, each.number)
                file.writelines(f"{name}\t{known:d}\t{moment}\n" for name, known in ids)


def ask_nothing(
    address: Address, connections: int, seconds: float, pipe: "Connection[Any, Any]"
) -> None:
    """The same clients, asking what costs the application nothing."""
    request = address.get("/healthz")
    drive = Drive(address, lambda _: request, connections=connections, seconds=seconds)
    pipe.send(None)
    pipe.recv()
    cpu = time.process_time()
    pipe.send(Heard(drive.run(), time.process_time() - cpu))
