"""Gateways: they send, and send again until an answer is final, and write down every call.

Beside them a gateway asks whether keys are valid, as it would before each request.

In a process of their own, a thread for each connection.
"""

import http.client
import json
import random
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bench.faults.world import KEYS, SECOND_WEB, WEB

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.sharedctypes import Synchronized

PATIENCE = 5.0  # seconds until a client gives up one try
PAUSE = 0.2  # seconds before the next
UNANSWERED = 0
ACCEPTED, REJECTED, SLOW_DOWN = 202, 400, 429
VALID, NOT_VALID = 200, 404
QUESTION = "/meter/v1/api/meter/product-key?application={key}"
BETWEEN_QUESTIONS = 0.1  # seconds
COPIES = 50
REPEATED = 0.12
KEPT = 2_000  # transactions of a gateway that may be repeated

WINDOW = timedelta(days=31), timedelta(hours=1)
MARGIN = timedelta(minutes=30)  # nothing is sent so close to an end of the window
MOST_SKEW = timedelta(hours=8)


@dataclass(frozen=True)
class Transaction:
    gateway: int
    id: str
    key: str
    at: datetime
    quantity: int

    @property
    def name(self) -> tuple[int, str]:
        return self.gateway, self.id

    def as_json(self) -> str:
        said = {
            "transaction_id": self.id,
            "occurred_at": self.at.isoformat(),
            "key": self.key,
            "elements": {"calls": 1, "bytes": self.quantity},
        }
        return json.dumps(said)


@dataclass(frozen=True)
class Call:
    """One try to post. Moments are seconds since the epoch; UNANSWERED if there was no answer."""

    gateway: int
    ids: Sequence[str]
    began: float
    ended: float
    status: int
    refused: Mapping[str, str] = field(default_factory=dict)  # id: code

    def __str__(self) -> str:
        return f"{len(self.ids)} transactions"

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def is_final(self) -> bool:
        """True if sending it again would change nothing: something was taken, or all rejected."""
        return self.status == ACCEPTED or self.rejects_all

    @property
    def rejects_all(self) -> bool:
        return self.status == REJECTED and self.refused.keys() == set(self.ids)

    def accepted(self) -> list[tuple[int, str]]:
        if self.status != ACCEPTED:
            return []
        return [(self.gateway, each) for each in self.ids if each not in self.refused]


@dataclass(frozen=True)
class Question:
    """Whether a key is valid for a call now. Moments are seconds since the epoch."""

    key: str
    began: float
    ended: float
    status: int

    def __str__(self) -> str:
        return f"question about {self.key}"


@dataclass
class History:
    """What was sent and what was answered, whatever the server thinks of it."""

    transactions: dict[tuple[int, str], Transaction] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    accepted: set[tuple[int, str]] = field(default_factory=set)

    def note(self, call: Call) -> None:
        self.calls.append(call)
        self.accepted.update(call.accepted())


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass
class Gateway:
    """One sender of transactions; its connections share its token, its ids and its clock."""

    number: int
    token: str
    chance: random.Random
    skewed: bool = False
    sent: deque[Transaction] = field(default_factory=lambda: deque(maxlen=KEPT))
    lock: threading.Lock = field(default_factory=threading.Lock)
    count: int = 0

    def take(self, size: int) -> list[Transaction]:
        """New ones and repetitions, shuffled: a batch names none twice, except by accident."""
        with self.lock:
            items = [self._again() or self._new() for _ in range(size)]
            self.chance.shuffle(items)
            return items

    def _again(self) -> Transaction | None:
        if not self.sent or self.chance.random() >= REPEATED:
            return None
        return self.chance.choice(self.sent)

    def _new(self) -> Transaction:
        self.count += 1
        new = Transaction(
            gateway=self.number,
            id=f"t-{self.count:07}",
            key=self.chance.choice(KEYS),
            at=self._moment(),
            quantity=self.chance.randrange(1_000),
        )
        self.sent.append(new)
        return new

    def _moment(self) -> datetime:
        now = datetime.now(UTC)
        if self.skewed:
            return now + self._skew()
        if self.chance.random() < 1 / 10:
            return now - (WINDOW[0] - MARGIN) * self.chance.random()
        return now - timedelta(minutes=3) * self.chance.random()

    def _skew(self) -> timedelta:
        """Its clock is wrong by hours: ahead, behind, or about an end of what is accepted."""
        oldest, newest = WINDOW
        error = MARGIN + MOST_SKEW * self.chance.random()
        places = (newest - MARGIN, newest + error, -error, error - oldest, -error - oldest)
        return self.chance.choice(places)


@dataclass(frozen=True)
class Habit:
    """How a connection sends: how many at once, and how many seconds it pauses after each."""

    gateway: str
    sizes: Sequence[int]
    pause: float
    door: str = WEB


HABITS = (
    *(Habit("steady", (1,), 0.05),) * 2,
    Habit("steady", (1,), 0.05, SECOND_WEB),
    Habit("batches", (1, 2, 5, 20, 40), 0.15),
    Habit("batches", (1, 2, 5, 20, 40), 0.15, SECOND_WEB),
    Habit("bulk", (100, 1_000), 0.7, SECOND_WEB),
    Habit("skewed", (1, 3, 10), 0.2),
)
BURST = Habit("steady", (1,), 3.0)  # through both doors


class Line:
    """The connection of one thread, kept alive as long as it lives."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection = self._new_connection()

    def ask(
        self, method: str, path: str, token: str, body: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Return the status, UNANSWERED if there was no answer, and what an answer says."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
            is_read = response.status in {ACCEPTED, REJECTED}
            return response.status, json.loads(text) if is_read else {}
        except (OSError, http.client.HTTPException, ValueError):
            self._connection.close()
            self._connection = self._new_connection()
            return UNANSWERED, {}

    def _new_connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self._address.host, self._address.port, timeout=PATIENCE)


class Post:
    """One thread's way to post."""

    def __init__(self, line: Line, history: History, accepted: "Synchronized[int]") -> None:
        self._line, self._history, self._accepted = line, history, accepted

    def until_answered(self, gateway: Gateway, items: Sequence[Transaction]) -> None:
        body = f"[{','.join(each.as_json() for each in items)}]"
        while not self._once(gateway, items, body).is_final:
            time.sleep(PAUSE * (1 + gateway.chance.random()))
        self._accepted.value = len(self._history.accepted)

    def _once(self, gateway: Gateway, items: Sequence[Transaction], body: str) -> Call:
        for each in items:
            self._history.transactions[each.name] = each
        began = time.time()
        status, answer = self._line.ask("POST", "/v1/transactions", gateway.token, body)
        refused = {each["transaction_id"]: each["code"] for each in answer.get("rejected", ())}
        call = Call(
            gateway.number, [each.id for each in items], began, time.time(), status, refused
        )
        self._history.note(call)
        return call


class Clients:
    def __init__(
        self,
        addresses: Mapping[str, Address],
        gateways: Mapping[str, tuple[int, str]],
        seed: int,
        accepted: "Synchronized[int]",
    ) -> None:
        self.history = History()
        self._chance = random.Random(seed)  # noqa: S311 - the same questions for the same seed
        self._addresses, self._accepted = addresses, accepted
        self._gateways = {
            name: Gateway(
                number,
                token,
                random.Random(seed + number),  # noqa: S311 - the same traffic for the same seed
                skewed=name == "skewed",
            )
            for name, (number, token) in gateways.items()
        }
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_on, args=(habit,), daemon=True) for habit in HABITS
        ]
        self._threads += [
            threading.Thread(target=target, daemon=True)
            for target in (self._burst_on, self._ask_on)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send what has been begun until its answer is final."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _send_on(self, habit: Habit) -> None:
        gateway, post = self._gateways[habit.gateway], self._post(habit.door)
        while not self._stopped.wait(habit.pause):
            post.until_answered(gateway, gateway.take(gateway.chance.choice(habit.sizes)))

    def _burst_on(self) -> None:
        """Copies of one transaction, all at once."""
        gateway = self._gateways[BURST.gateway]
        posts = [self._post((WEB, SECOND_WEB)[number % 2]) for number in range(COPIES)]
        while not self._stopped.wait(BURST.pause):
            items = gateway.take(1)
            copies = [
                threading.Thread(target=post.until_answered, args=(gateway, items))
                for post in posts
            ]
            for copy in copies:
                copy.start()
            for copy in copies:
                copy.join()

    def _ask_on(self) -> None:
        gateway = self._gateways[BURST.gateway]
        lines = cycle([Line(address) for address in self._addresses.values()])
        while not self._stopped.wait(BETWEEN_QUESTIONS):
            key, began = self._chance.choice(KEYS), time.time()
            status, _ = next(lines).ask("GET", QUESTION.format(key=key), gateway.token)
            self.history.questions.append(Question(key, began, time.time(), status))

    def _post(self, door: str) -> Post:
        return Post(Line(self._addresses[door]), self.history, self._accepted)


def run(
    addresses: Mapping[str, Address],
    gateways: Mapping[str, tuple[int, str]],
    seed: int,
    accepted: "Synchronized[int]",
    pipe: "Connection[Any, Any]",
) -> None:
    """Sends until it is told to stop, and then what happened."""
    clients = Clients(addresses, gateways, seed, accepted)
    clients.start()
    pipe.recv()
    clients.stop()
    pipe.send(clients.history)
