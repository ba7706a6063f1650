"""Calls of the demo's companies: those of the past month, and those the gateway goes on with."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

from msgspec import UNSET, Raw, UnsetType
from msgspec.structs import replace

from metering.api.transactions import PostedTransaction
from metering.demo.companies import OLD_DESK_ALIAS, SCANNERS_ALIAS, KeysByCredential
from metering.models.usage import CALLS_ELEMENT

RANDOM_SEED = 20260115
HISTORY_DAYS = 30
REPEATED_CALLS = 25

# Relative load of each hour of the day in UTC: people at work, machines, and nightly jobs.
OFFICE_HOURS = (1, 1, 1, 1, 1, 2, 5, 11, 19, 24, 25, 23, 18, 21, 24, 23, 20, 15, 9, 6, 4, 3, 2, 1)
STEADY_HOURS = (8, 7, 7, 7, 7, 8, 9, 10, 11, *[12] * 11, 11, 10, 9, 8)
NIGHT_HOURS = (4, 20, 24, 12, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2)
SATURDAY_AND_SUNDAY = (6, 7)
WEEKEND_FACTOR = 0.3  # of a weekday
MONTHLY_GROWTH = 0.4  # by how much the month ends busier than it began

DEMO_STATUSES = (200, 304, 400, 404, 429, 500)
STATUS_WEIGHTS = (930, 28, 12, 16, 10, 4)

# No credential has these keys yet. Issue one with such a key, and its waiting calls are attributed.
UNKNOWN_KEYS = ("legacy-erp-7731", "partner-sandbox-04ce", "loadtest-north-2291")


@dataclass(frozen=True, kw_only=True)
class CallKind:
    """A kind of call, with the numbers that its calls vary around."""

    method: str = "GET"
    path: str
    source: str | UnsetType = UNSET
    element: str = ""
    between: tuple[float, float] = (1, 1)  # the fewest and the most of that element
    latency: float  # milliseconds, typically
    size: float  # of the response in bytes, typically

    def call(
        self, random: Random, at: datetime, *, key: str | UnsetType, subscription: str | UnsetType
    ) -> PostedTransaction:
        return PostedTransaction(
            transaction_id=f"req-{random.getrandbits(80):020x}",
            occurred_at=at,
            key=key,
            subscription=subscription,
            source=self.source,
            method=self.method,
            path=self.path.format(random.randrange(10_000)),
            status=random.choices(DEMO_STATUSES, STATUS_WEIGHTS)[0],
            response_bytes=int(random.lognormvariate(0, 0.6) * self.size),
            latency_ms=round(random.lognormvariate(0, 0.5) * self.latency, 1),
            elements=self._elements(random),
        )

    def _elements(self, random: Random) -> dict[str, Raw]:
        if not self.element:
            return {CALLS_ELEMENT: Raw(b"1")}
        least, most = self.between
        quantity = least * (most / least) ** random.random()
        digits = f"{quantity:.0f}" if least >= 1 else f"{max(0.001, quantity):.3f}"
        return {CALLS_ELEMENT: Raw(b"1"), self.element: Raw(digits.encode())}


TILE_CALL = CallKind(
    path="/maps/v2/tiles/12/{}.png", element="tiles", between=(1, 16), latency=18, size=24e3
)
ROUTE_CALL = CallKind(method="POST", path="/maps/v2/routes/", latency=85, size=9e3)
COMPLETION_CALL = CallKind(
    method="POST",
    path="/prose/v1/completions",
    source="completions",
    element="tokens",
    between=(180, 4_200),
    latency=900,
    size=3e3,
)
EMBEDDING_CALL = CallKind(
    method="POST",
    path="/prose/v1/embed/",
    source="embeddings",
    element="tokens",
    between=(60, 1_500),
    latency=60,
    size=12e3,
)
STORE_CALL = CallKind(
    method="PUT",
    path="/vault/v1/objects/{}",
    element="gigabytes",
    between=(0.004, 1.8),
    latency=240,
    size=300,
)
FETCH_CALL = CallKind(
    path="/vault/v1/objects/{}", element="gigabytes", between=(0.002, 0.9), latency=130, size=9e5
)
STATUS_CALL = CallKind(path="/status", latency=4, size=120)  # belongs to no source


@dataclass(frozen=True, kw_only=True)
class CallStream:
    """Calls of one kind under one key."""

    key_of: str | None = None  # the credential whose key it is …
    key: str | UnsetType = UNSET  # … or the string itself
    old: bool = False  # the credential's old key
    subscription: str | UnsetType = UNSET
    kind: CallKind
    calls: int  # in the month
    now: int | None = None  # likewise, from here on; the same if not given
    hours: tuple[int, ...] = OFFICE_HOURS
    began: int = HISTORY_DAYS  # days ago
    ended: int = 0

    @property
    def weight(self) -> int:
        return self.calls if self.now is None else self.now

    def has_key_among(self, keys: KeysByCredential, old_keys: KeysByCredential) -> bool:
        return self.key_of is None or self.key_of in (old_keys if self.old else keys)

    def call(
        self, random: Random, at: datetime, keys: KeysByCredential, old_keys: KeysByCredential
    ) -> PostedTransaction:
        key = (old_keys if self.old else keys)[self.key_of] if self.key_of else self.key
        return self.kind.call(random, at, key=key, subscription=self.subscription)


CALL_STREAMS = (
    CallStream(key_of="Delivery app", kind=ROUTE_CALL, calls=2_720),
    CallStream(key_of="Delivery app", kind=TILE_CALL, calls=960),
    CallStream(key_of="Driver tablets", kind=TILE_CALL, calls=2_400),
    CallStream(key_of="Depot screens", kind=TILE_CALL, calls=1_200, hours=STEADY_HOURS),
    CallStream(key_of="Route planner", kind=ROUTE_CALL, calls=1_760),
    CallStream(key_of="Scanner uplink", kind=STORE_CALL, calls=880),
    CallStream(key=SCANNERS_ALIAS, kind=STORE_CALL, calls=560),
    CallStream(subscription="harbour-notes", kind=FETCH_CALL, calls=340, hours=NIGHT_HOURS),
    CallStream(key_of="Editorial suite", kind=COMPLETION_CALL, calls=1_360),
    CallStream(key_of="Editorial suite", kind=FETCH_CALL, calls=480),
    CallStream(key_of="Manuscript search", kind=EMBEDDING_CALL, calls=0, now=1_800),
    CallStream(
        key_of="Manuscript search",
        old=True,
        kind=EMBEDDING_CALL,
        calls=1_680,
        now=300,
        hours=STEADY_HOURS,
    ),
    CallStream(key_of="Print shop", kind=FETCH_CALL, calls=640, now=60),
    CallStream(key_of="Storm map", kind=TILE_CALL, calls=2_880, hours=STEADY_HOURS),
    CallStream(key_of="Forecast newsletter", kind=COMPLETION_CALL, calls=400, now=40),
    CallStream(
        key_of="Beach webcams",
        old=True,
        kind=TILE_CALL,
        calls=560,
        now=40,
        hours=STEADY_HOURS,
        ended=3,
    ),
    CallStream(key_of="Claims desk", kind=COMPLETION_CALL, calls=1_040),
    CallStream(key=OLD_DESK_ALIAS, kind=COMPLETION_CALL, calls=210, now=0, ended=4),
    CallStream(key_of="Valuation notebook", kind=EMBEDDING_CALL, calls=340),
    # These cannot be attributed, and show what the quarantine is for.
    CallStream(key=UNKNOWN_KEYS[0], kind=STORE_CALL, calls=140, now=700),
    CallStream(key=UNKNOWN_KEYS[1], kind=ROUTE_CALL, calls=60, now=300, began=6),
    CallStream(
        key=UNKNOWN_KEYS[2],
        kind=COMPLETION_CALL,
        calls=35,
        now=0,
        began=4,
        ended=3,
        hours=NIGHT_HOURS,
    ),
    CallStream(key_of="Editorial suite", kind=STATUS_CALL, calls=14, now=40),
    CallStream(
        key_of="Depot screens",
        subscription="harbour-notes",
        kind=TILE_CALL,
        calls=5,
        now=0,
        began=9,
    ),
)


def month_of_calls(
    keys: KeysByCredential, old_keys: KeysByCredential, now: datetime
) -> list[PostedTransaction]:
    """Return all calls of the past month in order of time, then some repeats and one conflict."""
    random = Random(RANDOM_SEED)  # noqa: S311 - the same month every time
    calls = sorted(
        (
            call
            for stream in CALL_STREAMS
            for call in _month_of_stream(stream, random, keys, old_keys, now)
        ),
        key=lambda call: call.occurred_at,
    )
    # As from a gateway with a bug: the same transaction again, with other content.
    contradiction = replace(calls[-1], elements={CALLS_ELEMENT: Raw(b"2")})
    return [*calls, *random.sample(calls, REPEATED_CALLS), contradiction]


def _month_of_stream(
    stream: CallStream,
    random: Random,
    keys: KeysByCredential,
    old_keys: KeysByCredential,
    now: datetime,
) -> Iterator[PostedTransaction]:
    hours = range(24 * stream.ended, 24 * stream.began)
    busyness = list(accumulate(_hourly_load(stream, ago, now) for ago in hours))
    for ago in random.choices(hours, cum_weights=busyness, k=stream.calls):
        at = now - timedelta(hours=ago + random.random())
        yield stream.call(random, at, keys, old_keys)


def _hourly_load(stream: CallStream, ago: int, now: datetime) -> float:
    moment = now - timedelta(hours=ago + 0.5)
    weekday = WEEKEND_FACTOR if moment.isoweekday() in SATURDAY_AND_SUNDAY else 1
    growth = 1 + MONTHLY_GROWTH * (1 - ago / (24 * HISTORY_DAYS))
    return stream.hours[moment.hour] * weekday * growth


def random_calls(
    count: int, random: Random, now: datetime, keys: KeysByCredential, old_keys: KeysByCredential
) -> list[PostedTransaction]:
    """Return some calls as of now, of those streams whose key is known."""
    possible = [stream for stream in CALL_STREAMS if stream.has_key_among(keys, old_keys)]
    streams = random.choices(possible, [stream.weight for stream in possible], k=count)
    return [stream.call(random, now, keys, old_keys) for stream in streams]
