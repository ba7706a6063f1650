"""Gateways that never stop posting: what was answered in each phase, and what became of it."""

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

from bench.consistency import Proof, prove
from bench.stack import Bench, say
from bench.traffic import key
from revcred.launcher.web import WEB_HOST

CREDENTIALS = 1_000

SENT = """
CREATE UNLOGGED TABLE bench_sent (transaction_id text, known int, answered_at float8, phase int)
"""
COPY_SENT = "COPY bench_sent (transaction_id, known, answered_at, phase) FROM STDIN"
# in: what was answered 202, by phase; out: a row a phase
BY_PHASE = """
WITH sent AS (
    SELECT transaction_id, min(phase) AS phase, min(answered_at) AS answered_at
    FROM bench_sent GROUP BY 1
), stored AS (
    SELECT transaction_id, count(*) AS times, extract(epoch FROM max(processed_at)) AS processed_at
    FROM (
        SELECT transaction_id, attributed_at AS processed_at FROM metering_transaction
        UNION ALL SELECT transaction_id, quarantined_at FROM metering_quarantined
    ) each GROUP BY 1
)
SELECT
    phase, count(*), count(*) FILTER (WHERE times IS NULL), count(*) FILTER (WHERE times > 1),
    coalesce(max(processed_at - answered_at), 0)::float8
FROM sent LEFT JOIN stored USING (transaction_id) GROUP BY 1
"""


@dataclass(frozen=True)
class Habit:
    """How a gateway posts: how many transactions at once, and the seconds between two POSTs."""

    gateway: str
    batch: int
    pause: float


HABITS = (Habit("singles", 1, 0.05), Habit("batches", 20, 0.2), Habit("bulk", 100, 1.0))
UNKNOWN_KEYS, REPEATS = 0.02, 0.1  # of all transactions
REMEMBERED = 2_000  # transactions of a gateway that may be repeated
SERVER_ERROR = HTTPStatus.INTERNAL_SERVER_ERROR
VERDICTS = {True: "Nothing was lost, nothing counted twice.", False: "NOT AS PROMISED."}
PAGE, PAGE_PAUSE = "/admin/metering/quarantined/", 0.5
ANSWER_SECONDS, RETRY_PAUSE = 10.0, 0.1


@dataclass
class Phase:
    """A stretch of time, and how gateways fared in it."""

    name: str
    refused: Counter[int] = field(default_factory=Counter)  # by status; 0: no answer
    longest_wait: float = 0.0  # seconds from the first try to the 202
    pages: Counter[int] = field(default_factory=Counter)  # by status; 302: asked to sign in

    @property
    def rejected(self) -> int:
        """Answers that sending again would not change."""
        return sum(
            count
            for status, count in self.refused.items()
            if HTTPStatus.BAD_REQUEST <= status < SERVER_ERROR
        )


class Traffic:
    """Gateways that post at whatever doors are open, and somebody who looks at a page.

    What was not answered 202 is sent again.
    """

    def __init__(self, tokens: dict[str, str], session: str) -> None:
        self.phases: list[Phase] = []
        self.ports: tuple[int, ...] = ()
        self.accepted: list[tuple[str, int, float, int]] = []
        self.tokens, self.session = tokens, session
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._post_on, args=(habit,), daemon=True) for habit in HABITS
        ]
        self._threads.append(threading.Thread(target=self._browse_on, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop, once everything that was begun has been accepted."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def begin_phase(self, name: str) -> None:
        self.phases.append(Phase(name))
        say(f"{datetime.now(UTC):%H:%M:%S} {name}")

    def _post_on(self, habit: Habit) -> None:
        chance = random.Random(habit.gateway)  # noqa: S311 - the same traffic every time
        earlier: list[tuple[str, int, str]] = []
        number = 0
        while not self._stopped.wait(habit.pause):
            items = []
            for _ in range(habit.batch):
                if earlier and chance.random() < REPEATS:
                    items.append(chance.choice(earlier))
                else:
                    number += 1
                    items.append(_transaction(f"{habit.gateway}-{number}", chance))
            # One batch names no id twice.
            items = list({item[0]: item for item in items}.values())
            self._post_until_accepted(habit, items, chance)
            earlier = [*earlier, *items][-REMEMBERED:]

    def _browse_on(self) -> None:
        """Look at a page as somebody who signed in before all of it."""
        chance = random.Random(PAGE)  # noqa: S311 - the same traffic every time
        while not self._stopped.wait(PAGE_PAUSE):
            phase = self.phases[-1]
            line = http.client.HTTPConnection(
                WEB_HOST, chance.choice(self.ports), timeout=ANSWER_SECONDS
            )
            try:
                line.request("GET", PAGE, headers={"Cookie": f"sessionid={self.session}"})
                phase.pages[line.getresponse().status] += 1
            except (OSError, http.client.HTTPException):
                phase.pages[0] += 1
            finally:
                line.close()

    def _post_until_accepted(
        self, habit: Habit, items: Sequence[tuple[str, int, str]], chance: random.Random
    ) -> None:
        body = f"[{','.join(text for _, _, text in items)}]".encode()
        number, began = len(self.phases) - 1, time.monotonic()
        phase = self.phases[number]
        while (status := self._post(self.tokens[habit.gateway], body, chance)) != (
            HTTPStatus.ACCEPTED
        ):
            phase.refused[status] += 1
            if self._stopped.wait(RETRY_PAUSE) and phase.rejected:
                return  # judged as a failure anyway
        now = time.time()
        phase.longest_wait = max(phase.longest_wait, time.monotonic() - began)
        self.accepted += [(id_, known, now, number) for id_, known, _ in items]

    def _post(self, token: str, body: bytes, chance: random.Random) -> int:
        """Return the status; 0 without an answer, 400 if a part was rejected."""
        line = http.client.HTTPConnection(
            WEB_HOST, chance.choice(self.ports), timeout=ANSWER_SECONDS
        )
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        try:
            line.request("POST", "/v1/transactions", body, headers)
            answer = line.getresponse()
            said = json.loads(answer.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            return 0
        finally:
            line.close()
        return HTTPStatus.BAD_REQUEST if said.get("rejected") else answer.status


def _transaction(name: str, chance: random.Random) -> tuple[str, int, str]:
    """Return its id, whether its key is known, and the transaction as JSON."""
    known = chance.random() >= UNKNOWN_KEYS
    said = {
        "transaction_id": name,
        "occurred_at": datetime.now(UTC).isoformat(),
        "key": key(chance.randrange(CREDENTIALS)) if known else f"nobodys-{name}",
        "path": f"/v1/tiles/{chance.randrange(100)}",
        "elements": {"calls": 1, "bytes": chance.randrange(1_000)},
    }
    return name, int(known), json.dumps(said)


def prove_phases(bench: Bench, traffic: Traffic) -> Proof:
    """Print what was seen in each phase, and compare what was answered with what is stored."""
    bench.database.execute(SENT)
    with bench.database.cursor() as cursor, cursor.copy(COPY_SENT) as copy:
        for row in traffic.accepted:
            copy.write_row(row)
    _print_phases(bench, traffic)
    proof = prove(bench)
    say(
        f"{proof.accepted:,} calls answered 202, {proof.repeats:,} of them repeats:"
        f" {proof.ledger:,} in the ledger, {proof.quarantine:,} in quarantine. {proof.usage}"
    )
    return proof


def _print_phases(bench: Bench, traffic: Traffic) -> None:
    rows = {row[0]: row[1:] for row in bench.database.execute(BY_PHASE.encode())}
    columns = (
        *("calls", "refused", "4xx", "longest POST", "processed in", "lost", "double"),
        "page 5xx",
    )
    pages: Counter[int] = sum((phase.pages for phase in traffic.phases), Counter())
    say(f"\n{'':50}{''.join(f'{column:>13}' for column in columns)}")
    for number, phase in enumerate(traffic.phases):
        calls, lost, double, processed = rows.get(number, (0, 0, 0, 0.0))
        refused = phase.refused.total() - phase.rejected
        cells = (
            *(f"{calls:,}", f"{refused:,}", f"{phase.rejected:,}"),
            *(f"{phase.longest_wait:.2f} s", f"{processed:.1f} s", f"{lost}", f"{double}"),
            f"{sum(count for status, count in phase.pages.items() if status >= SERVER_ERROR)}",
        )
        say(f"{phase.name:50}{''.join(f'{cell:>13}' for cell in cells)}")
    said = (f"{count} times {status or 'no answer'}" for status, count in pages.items())
    say(f"\nA page, with a session of before: {', '.join(said)}.")
