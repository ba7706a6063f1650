"""What they call, how often and when: the month behind us, and what goes on from here."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from metering.api.transactions import Posted
from metering.demo.companies import OLD_DESK, SCANNERS, Keys
from metering.models.usage import CALLS

SEED = 20260115
DAYS = 30
REPEATS = 25

# How busy each hour of the day is, in UTC: people at work, machines, and what runs at night.
OFFICE = (1, 1, 1, 1, 1, 2, 5, 11, 19, 24, 25, 23, 18, 21, 24, 23, 20, 15, 9, 6, 4, 3, 2, 1)
STEADY = (8, 7, 7, 7, 7, 8, 9, 10, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 11, 10, 9, 8)
NIGHTLY = (4, 20, 24, 12, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2)
SATURDAY_AND_SUNDAY = (6, 7)
WEEKEND = 0.3  # of a weekday
GROWTH = 0.4  # by how much the month ends busier than it began

STATUSES = (200, 304, 400, 404, 429, 500)
STATUS_WEIGHTS = (930, 28, 12, 16, 10, 4)

# Nobody has these yet. Issue a credential with one of them, and what waits for it is claimed.
UNKNOWN = ("legacy-erp-7731", "partner-sandbox-04ce", "loadtest-north-2291")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One sort of call, and what comes with it."""

    method: str = "GET"
    path: str
    source: str | UnsetType = UNSET
    element: str = ""
    between: tuple[float, float] = (1, 1)  # the fewest and the most of that element
    latency: float  # milliseconds, typically
    size: float  # of the response in bytes, typically

    def call(
        self, random: Random, at: datetime, *, key: str | UnsetType, subscription: str | UnsetType
    ) -> Posted:
        return Posted(
            transaction_id=f"req-{random.getrandbits(80):020x}",
            occurred_at=at,
            key=key,
            subscription=subscription,
            source=self.source,
            method=self.method,
            path=self.path.format(random.randrange(10_000)),
            status=random.choices(STATUSES, STATUS_WEIGHTS)[0],
            response_bytes=int(random.lognormvariate(0, 0.6) * self.size),
            latency_ms=round(random.lognormvariate(0, 0.5) * self.latency, 1),
            elements=self._elements(random),
        )

    def _elements(self, random: Random) -> dict[str, Raw]:
        if not self.element:
            return {CALLS: Raw(b"1")}
        least, most = self.between
        quantity = least * (most / least) ** random.random()
        digits = f"{quantity:.0f}" if least >= 1 else f"{max(0.001, quantity):.3f}"
        return {CALLS: Raw(b"1"), self.element: Raw(digits.encode())}


TILE = Kind(
    path="/maps/v2/tiles/12/{}.png", element="tiles", between=(1, 16), latency=18, size=24e3
)
ROUTE = Kind(method="POST", path="/maps/v2/routes/", latency=85, size=9e3)
WRITE = Kind(
    method="POST",
    path="/prose/v1/completions",
    source="completions",
    element="tokens",
    between=(180, 4_200),
    latency=900,
    size=3e3,
)
EMBED = Kind(
    method="POST",
    path="/prose/v1/embed/",
    source="embeddings",
    element="tokens",
    between=(60, 1_500),
    latency=60,
    size=12e3,
)
STORE = Kind(
    method="PUT",
    path="/vault/v1/objects/{}",
    element="gigabytes",
    between=(0.004, 1.8),
    latency=240,
    size=300,
)
FETCH = Kind(
    path="/vault/v1/objects/{}", element="gigabytes", between=(0.002, 0.9), latency=130, size=9e5
)
STATUS = Kind(path="/status", latency=4, size=120)  # belongs to no source


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Calls of one kind under one key."""

    key_of: str | None = None  # the credential whose key it is …
    key: str | UnsetType = UNSET  # … or the string itself
    old: bool = False  # the credential's old key
    subscription: str | UnsetType = UNSET
    kind: Kind
    calls: int  # in the month
    now: int | None = None  # likewise, from here on; the same if not given
    hours: tuple[int, ...] = OFFICE
    began: int = DAYS  # days ago
    ended: int = 0

    @property
    def weight(self) -> int:
        return self.calls if self.now is None else self.now

    def has_key_among(self, keys: Keys, old_keys: Keys) -> bool:
        return self.key_of is None or self.key_of in (old_keys if self.old else keys)

    def call(self, random: Random, at: datetime, keys: Keys, old_keys: Keys) -> Posted:
        key = (old_keys if self.old else keys)[self.key_of] if self.key_of else self.key
        return self.kind.call(random, at, key=key, subscription=self.subscription)


STREAMS = (
    Stream(key_of="Delivery app", kind=ROUTE, calls=2_720),
    Stream(key_of="Delivery app", kind=TILE, calls=960),
    Stream(key_of="Driver tablets", kind=TILE, calls=2_400),
    Stream(key_of="Depot screens", kind=TILE, calls=1_200, hours=STEADY),
    Stream(key_of="Route planner", kind=ROUTE, calls=1_760),
    Stream(key_of="Scanner uplink", kind=STORE, calls=880),
    Stream(key=SCANNERS, kind=STORE, calls=560),
    Stream(subscription="harbour-notes", kind=FETCH, calls=340, hours=NIGHTLY),
    Stream(key_of="Editorial suite", kind=WRITE, calls=1_360),
    Stream(key_of="Editorial suite", kind=FETCH, calls=480),
    Stream(key_of="Manuscript search", kind=EMBED, calls=0, now=1_800),
    Stream(key_of="Manuscript search", old=True, kind=EMBED, calls=1_680, now=300, hours=STEADY),
    Stream(key_of="Print shop", kind=FETCH, calls=640, now=60),
    Stream(key_of="Storm map", kind=TILE, calls=2_880, hours=STEADY),
    Stream(key_of="Forecast newsletter", kind=WRITE, calls=400, now=40),
    Stream(key_of="Beach webcams", old=True, kind=TILE, calls=560, now=40, hours=STEADY, ended=3),
    Stream(key_of="Claims desk", kind=WRITE, calls=1_040),
    Stream(key=OLD_DESK, kind=WRITE, calls=210, now=0, ended=4),
    Stream(key_of="Valuation notebook", kind=EMBED, calls=340),
    # What nobody can be found for.
    Stream(key=UNKNOWN[0], kind=STORE, calls=140, now=700),
    Stream(key=UNKNOWN[1], kind=ROUTE, calls=60, now=300, began=6),
    Stream(key=UNKNOWN[2], kind=WRITE, calls=35, now=0, began=4, ended=3, hours=NIGHTLY),
    Stream(key_of="Editorial suite", kind=STATUS, calls=14, now=40),
    Stream(
        key_of="Depot screens", subscription="harbour-notes", kind=TILE, calls=5, now=0, began=9
    ),
)


def month(keys: Keys, old_keys: Keys, now: datetime) -> list[Posted]:
    """All calls of the last thirty days in their order, and a few of them sent again."""
    random = Random(SEED)  # noqa: S311 - the same month every time
    calls = sorted(
        (call for stream in STREAMS for call in _month_of(stream, random, keys, old_keys, now)),
        key=lambda call: call.occurred_at,
    )
    # A gateway with a bug: the same transaction, and it says something else of it.
    contradiction = replace(calls[-1], elements={CALLS: Raw(b"2")})
    return [*calls, *random.sample(calls, REPEATS), contradiction]


def _month_of(
    stream: Stream, random: Random, keys: Keys, old_keys: Keys, now: datetime
) -> Iterator[Posted]:
    hours = range(24 * stream.ended, 24 * stream.began)
    busyness = list(accumulate(_busyness(stream, ago, now) for ago in hours))
    for ago in random.choices(hours, cum_weights=busyness, k=stream.calls):
        at = now - timedelta(hours=ago + random.random())
        yield stream.call(random, at, keys, old_keys)


def _busyness(stream: Stream, ago: int, now: datetime) -> float:
    moment = now - timedelta(hours=ago + 0.5)
    weekday = WEEKEND if moment.isoweekday() in SATURDAY_AND_SUNDAY else 1
    growth = 1 + GROWTH * (1 - ago / (24 * DAYS))
    return stream.hours[moment.hour] * weekday * growth


def at_random(
    count: int, random: Random, now: datetime, keys: Keys, old_keys: Keys
) -> list[Posted]:
    """Some calls as they happen now. What nobody was handed a key for does not happen."""
    possible = [stream for stream in STREAMS if stream.has_key_among(keys, old_keys)]
    streams = random.choices(possible, [stream.weight for stream in possible], k=count)
    return [stream.call(random, now, keys, old_keys) for stream in streams]
