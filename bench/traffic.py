"""What the gateways say: bodies made before the clock starts, sent round and round.

A body's own ids hold OWN, which is replaced by the number it is sent under, so that every sending
is new. Some of its transactions are those of an earlier body, word for word, and hold EARLIER.
"""

import json
import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate

OWN, EARLIER = b"########", b"@@@@@@@@"
FIRST = 10_000  # the number of the first sending: there is none before it to repeat

REPEATED = 0.10
UNKNOWN = 0.01
SKEW = 1.1  # of Zipf's law: the first of a million keys has a tenth of the calls
STEP = 7_919  # a prime: neighbours in popularity are not neighbours in the tables
SEED = 20_260_115

MOST_BODIES = 60_000
TRANSACTIONS = 200_000  # in all bodies together, so that they reach many keys

PATHS = ("/v1/tiles", "/v1/routes/fastest", "/v2/geocode", "/v1/elevation", "/v2/places/search")


@dataclass(frozen=True)
class Item:
    """One transaction in a body: which of its own or of the earlier body's, and as JSON."""

    place: int
    repeated: bool
    known: bool
    text: bytes


@dataclass(frozen=True)
class Body:
    items: Sequence[Item]
    text: bytes
    back: int  # sendings between a transaction and its repetition

    def numbered(self, number: int) -> bytes:
        own, earlier = digits(number), digits(number - self.back)
        return self.text.replace(OWN, own).replace(EARLIER, earlier)

    def ids(self, prefix: str, number: int) -> list[tuple[str, bool]]:
        """What was sent under that number: ids, and whether their keys are known."""
        return [
            (transaction_id(prefix, number - self.back * each.repeated, each.place), each.known)
            for each in self.items
        ]


def digits(number: int) -> bytes:
    return b"%08d" % number


def transaction_id(prefix: str, number: int, place: int) -> str:
    return f"{prefix}-{number:08}-{place:03}"


def key(number: int) -> str:
    return f"bench-key-{number:07}"


def bodies(prefix: str, batch: int, credentials: int, *, under_way: int) -> list[Body]:
    """As many as it takes for variety; the one after the last is the first again."""
    back = 2 * under_way  # so that what is repeated has been answered
    count = max(2 * back, min(MOST_BODIES, TRANSACTIONS // batch))
    calls = _Calls(prefix, credentials)
    own = [[calls.one(place) for place in range(batch)] for _ in range(count)]
    return [
        _body([calls.or_again(each, earlier) for each in items], back)
        for items, earlier in zip(own, own[-back:] + own[:-back], strict=True)
    ]


def _body(items: list[Item], back: int) -> Body:
    text = b",".join(each.text for each in items)
    return Body(items, text if len(items) == 1 else b"[" + text + b"]", back)


class _Calls:
    def __init__(self, prefix: str, credentials: int) -> None:
        self._prefix = prefix
        self._credentials = credentials
        self._random = random.Random(SEED)  # noqa: S311 - the same traffic every time
        self._weights = list(accumulate(1 / rank**SKEW for rank in range(1, credentials + 1)))
        self._now = datetime.now(UTC)

    def one(self, place: int) -> Item:
        known = self._random.random() >= UNKNOWN
        repeated = self._random.random() < REPEATED
        said = {
            "transaction_id": f"{self._prefix}-{OWN.decode()}-{place:03}",
            "occurred_at": self._moment(),
            "key": self._key() if known else f"unknown-key-{self._random.randrange(1000):04}",
            "method": "GET",
            "path": f"{self._random.choice(PATHS)}/{self._random.randrange(10_000)}",
            "status": 200,
            "request_bytes": self._random.randrange(200, 2_000),
            "response_bytes": self._random.randrange(500, 50_000),
            "latency_ms": round(self._random.uniform(1, 300), 2),
            "elements": self._elements(),
        }
        return Item(place, repeated, known, json.dumps(said, separators=(",", ":")).encode())

    def or_again(self, item: Item, earlier: list[Item]) -> Item:
        """The item itself, or in its place what that earlier body said first."""
        originals = [each for each in earlier if not each.repeated] if item.repeated else []
        if not originals:
            return replace(item, repeated=False)
        again = self._random.choice(originals)
        return replace(again, repeated=True, text=again.text.replace(OWN, EARLIER))

    def _key(self) -> str:
        rank = bisect(self._weights, self._random.random() * self._weights[-1])
        return key(rank * STEP % self._credentials)

    def _moment(self) -> str:
        moment = self._now - timedelta(seconds=self._random.uniform(0, 60))
        return moment.isoformat(timespec="milliseconds")

    def _elements(self) -> dict[str, float]:
        elements: dict[str, float] = {"calls": 1}
        if self._random.random() < 1 / 2:
            elements["megabytes"] = round(self._random.uniform(0, 50), 3)
        if self._random.random() < 1 / 4:
            elements["tokens"] = self._random.randrange(5_000)
        return elements
