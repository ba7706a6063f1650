"""The register in the memory of a process: checks are answered from it, also without a database.

A thread reads it once, listens to what PostgreSQL announces of each change (migration
`0213_notices_of_changes`), and reads what changed again. A notice that the process sends to itself
each second shows that notices arrive. When the connection is lost, the memory stays as it was, and
is read anew afterwards. Behind a pooler that keeps notices back, nothing is held in memory.
"""

import ctypes
import logging
import secrets
import select
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import md5
from itertools import groupby
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec
from cachetools import TLRUCache
from django.db import DatabaseError, InterfaceError, OperationalError, connection
from django.db.transaction import atomic
from psycopg import sql

from metering.models import GatewayToken
from metering.verification import loading
from metering.verification.askers import Asker
from metering.verification.check_metrics import register_collector
from metering.verification.compact_table import CompactTable
from metering.verification.facts import (
    CredentialFacts,
    CustomerFacts,
    KeyFacts,
    NamedSubscription,
    ProductFacts,
    SubscriptionFacts,
)
from metering.verification.refused_calls import Refused, RefusedCallGroup
from metering.verification.signed_claims import ClaimSigner
from revcred.models import FormerName, PathRule, Source
from revcred.models.sources import MAX_MATCHED_CHARACTERS
from revcred.postgresql import database_deadline
from revcred.public_ids import public_id_fingerprint
from revcred.signing import usable_keys

logger = logging.getLogger(__name__)

CHANNEL = "revcred_register"
BEAT_SECONDS = 1.0
STALE_AFTER_SECONDS = 3.0  # without a beat, answers say that they are stale
RETRY_SECONDS = 1.0
RETRY_SECONDS_WITHOUT_NOTICES = 60.0
DATABASE_SECONDS = 5.0  # for each step but reading the register as a whole
STOP_SECONDS = 2.0
STAMP_SECONDS = 60.0  # between two notes of when a token was last used
MAX_PATHS, PATH_SECONDS = 10_000, 10.0
PATH_SECONDS_WITHOUT_SOURCE = 1.0
MAX_ROWS_REREAD = 2_000  # in one statement
NEVER = float("-inf")

_encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
_decode_keys = msgspec.msgpack.Decoder(list[tuple[int, KeyFacts]]).decode
_decode_credential = msgspec.msgpack.Decoder(CredentialFacts).decode
_decode_subscription = msgspec.msgpack.Decoder(SubscriptionFacts).decode
_decode_customer = msgspec.msgpack.Decoder(CustomerFacts).decode
_decode_numbers = msgspec.msgpack.Decoder(list[int]).decode
LOW_64_BITS = (1 << 64) - 1


PUBLIC_ID_DIGITS = "substr(c.public_id, 6, 16)"


class PathsNotKnown(Exception):
    """Only PostgreSQL can tell the sources of these paths, and has not been asked lately."""

    def __init__(self, paths: Collection[str]) -> None:
        super().__init__("The sources of paths are not in memory.")
        self.paths = paths


class NoticesLost(Exception):
    """Notices do not arrive on this connection, as behind a pooler of transactions."""


Facts = TypeVar("Facts")


class LastRead(Generic[Facts]):
    """The last facts that were read of a table, until something of the register changes."""

    def __init__(self) -> None:
        self._last: tuple[int, int, Facts | None] = (-1, -1, None)

    def get(
        self, generation: int, number: int, read: Callable[[int], Facts | None]
    ) -> Facts | None:
        last_generation, last_number, facts = self._last
        if last_number != number or last_generation != generation:
            facts = read(number)
            self._last = (generation, number, facts)
        return facts


class Tables:
    """The large tables of the register, each with records by number."""

    def __init__(self) -> None:
        self.keys = CompactTable(_keys_in_order())
        self.credentials = CompactTable(
            (number, _encode(facts))
            for number, facts in map(
                loading.credential_facts, loading.all_rows_of(loading.CREDENTIALS, "c.id")
            )
        )
        self.public_ids = CompactTable(
            (int(digits, 16), _encode([number]))
            for digits, number in loading.all_rows_of(
                loading.PUBLIC_IDS, f'{PUBLIC_ID_DIGITS} COLLATE "C"'
            )
        )
        self.subscriptions = CompactTable(
            (number, _encode(facts))
            for number, facts in map(
                loading.subscription_facts, loading.all_rows_of(loading.SUBSCRIPTIONS, "s.id")
            )
        )
        self.names = CompactTable(_names_in_order())
        self.customers = CompactTable(
            (number, _encode(facts))
            for number, facts in map(
                loading.customer_facts, loading.all_rows_of(loading.CUSTOMERS, "c.id")
            )
        )


class SmallTables:
    """Products, sources and their rules, which are read as a whole."""

    def __init__(self) -> None:
        self.products: Mapping[int, ProductFacts] = dict(
            map(loading.product_facts, loading.all_rows_of(loading.PRODUCTS, "p.id"))
        )
        self.former_names: Mapping[str, Sequence[NamedSubscription]] = _grouped(
            map(
                loading.former_subscription_name,
                loading.all_rows_of(loading.FORMER_SUBSCRIPTION_NAMES, "f.id"),
            )
        )
        sources = dict(Source.objects.values_list("pk", "external_key"))
        self.sources = frozenset(sources.values())
        former = FormerName.objects.filter(kind=FormerName.Kind.SOURCE).order_by("-former_since")
        self.former_sources: Mapping[str, Sequence[tuple[str, datetime | None]]] = _grouped(
            (name, (sources[target], until))
            for name, target, until in former.values_list("name", "target_id", "counts_until")
            if target in sources
        )
        rules = PathRule.objects.filter(switched_off=False).select_related("source")
        self.rules = sorted(
            rules, key=lambda rule: (MATCH_ORDER.index(rule.match), -len(rule.text), rule.pk)
        )
        self.has_expressions = any(rule.match == PathRule.Match.REGEX for rule in self.rules)


MATCH_ORDER = PathRule.Match.values
# As `judging.path_rule_condition` has it; only PostgreSQL matches expressions.
MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    PathRule.Match.EQUALS: lambda path, text: path == text,
    PathRule.Match.BEGINS_WITH: lambda path, text: path.startswith(text),
    PathRule.Match.ENDS_WITH: lambda path, text: path.endswith(text),
    PathRule.Match.CONTAINS: lambda path, text: text in path,
    PathRule.Match.REGEX: lambda path, text: False,  # noqa: ARG005 - as the others
}


class RegisterMemory(Thread):
    """The register in memory, and the thread that keeps it."""

    def __init__(self) -> None:
        super().__init__(name="register", daemon=True)
        self._tables: Tables | None = None
        self._small: SmallTables | None = None
        self._tokens: Mapping[UUID, tuple[int, Asker]] = {}  # by digest; the token's number
        self.generation = 0  # grows with each change
        self.signer = ClaimSigner()
        # A check asks for the same ones several times.
        self._last_credential: LastRead[CredentialFacts] = LastRead()
        self._last_subscription: LastRead[SubscriptionFacts] = LastRead()
        self._last_customer: LastRead[CustomerFacts] = LastRead()
        self._beat_at = NEVER  # time.monotonic()
        self._clock: tuple[datetime, float] = (datetime.now(UTC), time.monotonic())
        self._stopped = Event()
        self._wake, self._woken = socket.socketpair()
        self._notices: list[str] = []
        self._beat_channel = f"revcred_beat_{secrets.token_hex(8)}"
        self._beat_heard = False
        self._paths = _paths_cache()
        self.paths_looked_up = 0
        self._limited: set[int] = set()
        self._used: Mapping[int, int] = {}
        self._refused, self._refused_lock = RefusedCallGroup(), Lock()
        self._tokens_used: set[int] = set()
        self._stamped_at = NEVER

    # --- What checks look up -----------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        return self._tables is not None

    @property
    def age(self) -> float:
        """Return the seconds since the last beat."""
        return time.monotonic() - self._beat_at

    @property
    def is_stale(self) -> bool:
        return self.age > STALE_AFTER_SECONDS

    def sizes(self) -> Mapping[str, int]:
        """Return the number of records of each large table."""
        return {name: len(table) for name, table in vars(self._loaded).items()}

    def now(self) -> datetime:
        """Return the time by the database's clock, as of the last beat."""
        clock, read_at = self._clock
        return clock + timedelta(seconds=time.monotonic() - read_at)

    def asker(self, digest: UUID) -> Asker | None:
        """Return the gateway of a valid token by the token's digest, or None."""
        number, asker = self._tokens.get(digest, (0, None))
        if asker:
            self._tokens_used.add(number)
        return asker

    def keys(self, fingerprint: UUID) -> Sequence[KeyFacts]:
        record = self._loaded.keys.get(fingerprint.int >> 64)
        if record is None:
            return ()
        low = fingerprint.int & LOW_64_BITS
        return [facts for its_low, facts in _decode_keys(record) if its_low == low]

    def credential(self, credential_id: int) -> CredentialFacts | None:
        return self._last_credential.get(self.generation, credential_id, self._read_credential)

    def _read_credential(self, credential_id: int) -> CredentialFacts | None:
        record = self._loaded.credentials.get(credential_id)
        return None if record is None else _decode_credential(record)

    def credential_of(self, public_id: str) -> int | None:
        public = public_id_fingerprint(public_id)
        record = self._loaded.public_ids.get(public.int >> 64) if public else None
        for found in _decode_numbers(record) if record else ():
            facts = self.credential(found)
            if facts and facts.public == public:
                return found
        return None

    def subscription(self, subscription_id: int) -> SubscriptionFacts | None:
        return self._last_subscription.get(
            self.generation, subscription_id, self._read_subscription
        )

    def _read_subscription(self, subscription_id: int) -> SubscriptionFacts | None:
        record = self._loaded.subscriptions.get(subscription_id)
        return None if record is None else _decode_subscription(record)

    def subscriptions_named(self, name: str) -> Sequence[NamedSubscription]:
        record = self._loaded.names.get(_number_of_name(name))
        found = [
            NamedSubscription(number)
            for number in (_decode_numbers(record) if record else ())
            if (facts := self.subscription(number)) and facts.external_key == name
        ]
        return [*found, *self._loaded_small.former_names.get(name, ())]

    def customer(self, customer_id: int) -> CustomerFacts | None:
        return self._last_customer.get(self.generation, customer_id, self._read_customer)

    def _read_customer(self, customer_id: int) -> CustomerFacts | None:
        record = self._loaded.customers.get(customer_id)
        return None if record is None else _decode_customer(record)

    def product(self, product_id: int) -> ProductFacts | None:
        return self._loaded_small.products.get(product_id)

    def source_named(self, name: str, at: datetime) -> str | None:
        small = self._loaded_small
        if name in small.sources:
            return name
        for external_key, until in small.former_sources.get(name, ()):
            if until is None or at < until:
                return external_key
        return None

    def source_of_path(self, path: str) -> str | None:
        """Return the source of a path. Raises PathsNotKnown."""
        self.paths_looked_up += 1
        return self._find_source_of_path(path)

    def _find_source_of_path(self, path: str) -> str | None:
        for rule in self._loaded_small.rules:
            if MATCHES[rule.match](path, rule.text):
                return rule.source.external_key
        if not self._loaded_small.has_expressions:
            return None
        beginning = path[:MAX_MATCHED_CHARACTERS]
        try:
            return self._paths[beginning]
        except KeyError:
            raise PathsNotKnown([beginning]) from None

    def check_paths(self, paths: Iterable[str]) -> None:
        """Raise PathsNotKnown with all of these paths whose source is not known."""
        if not self._loaded_small.has_expressions:
            return
        unknown: set[str] = set()
        for path in paths:
            try:
                self._find_source_of_path(path)
            except PathsNotKnown as error:
                unknown.update(error.paths)
        if unknown:
            raise PathsNotKnown(unknown)

    def remember_paths(self, sources: Mapping[str, str | None]) -> None:
        """Remember for some seconds what PostgreSQL says of paths; None also if it cannot say."""
        self._paths.update(sources)

    def calls_this_month(self, subscription_id: int) -> int:
        self._limited.add(subscription_id)
        return self._used.get(subscription_id, 0)

    def note_refused(self, calls: Iterable[Refused]) -> None:
        """Have receipts written within a second or two."""
        with self._refused_lock:
            for refused in calls:
                self._refused.add(refused)

    @property
    def _loaded(self) -> Tables:
        if self._tables is None:
            raise RuntimeError("The register is not loaded.")
        return self._tables

    @property
    def _loaded_small(self) -> SmallTables:
        if self._small is None:
            raise RuntimeError("The register is not loaded.")
        return self._small

    # --- The thread --------------------------------------------------------------------------

    def start(self) -> None:
        register_collector.register = self
        super().start()

    def stop(self) -> None:
        """Write what is to be written, and end."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._wake.send(b"\0")
        if self.is_alive():
            self.join(STOP_SECONDS)
        if not self.is_alive():
            self._wake.close()
            self._woken.close()

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.connect()
                while not self._stopped.is_set():
                    self.wait_for_notices()
                    self.refresh()
            except NoticesLost:
                logger.warning("Notices of changes do not arrive: checks ask the database.")
                self._tables = None
                self._pause(RETRY_SECONDS_WITHOUT_NOTICES)
            except (OperationalError, InterfaceError) as error:
                logger.warning("The register cannot be read: %s", type(error).__name__)
                self._pause(RETRY_SECONDS)
            except Exception:
                logger.exception("The register failed.")
                self._pause(RETRY_SECONDS)
        self._end()

    def _pause(self, seconds: float) -> None:
        self._beat_at = NEVER
        connection.close()
        self._stopped.wait(seconds)

    def _end(self) -> None:
        try:
            with database_deadline(STOP_SECONDS):
                self._write_refused()
        except (OperationalError, InterfaceError):
            logger.warning("The last receipts of refused calls could not be written.")
        connection.close()

    def connect(self) -> None:
        """Listen, and read the register as a whole. Raises NoticesLost."""
        connection.close()
        with database_deadline(DATABASE_SECONDS):
            with connection.cursor() as cursor:
                cursor.execute("SET statement_timeout = 0")
                for channel in (CHANNEL, self._beat_channel):
                    cursor.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)).as_string())
            connection.connection.add_notify_handler(self._hear)
            self._notices.clear()
            self._send_notice()
            self._take_up_notices()
            if not self._beat_heard:
                raise NoticesLost
        # One transaction: what changes meanwhile is announced, and read again.
        with atomic():
            tables, small = Tables(), SmallTables()
        _give_back_freed_memory()
        with database_deadline(DATABASE_SECONDS):
            self._read_tokens()
            was_loaded = self.is_loaded
            # Before the first answer, so that none says that it is stale. Later what is known must
            # not pass for fresh before it is exchanged.
            if not was_loaded:
                self.beat()
            self._tables, self._small = tables, small
            self._paths = _paths_cache()
            self.generation += 1
            if was_loaded:
                self.beat()

    def wait_for_notices(self) -> None:
        """Wait for what the database sends, until the next beat at most."""
        if not self._notices:
            left = self._beat_at + BEAT_SECONDS - time.monotonic()
            poll = select.poll()
            poll.register(connection.connection.fileno(), select.POLLIN)
            poll.register(self._woken.fileno(), select.POLLIN)
            poll.poll(max(0.0, left) * 1_000)

    def refresh(self) -> None:
        """Read what was announced again, and beat once a second. Raises NoticesLost."""
        with database_deadline(DATABASE_SECONDS):
            self._take_up_notices()
            if self._notices:
                self._read_again(self._take_notices())
            if time.monotonic() >= self._beat_at + BEAT_SECONDS:
                self.beat()

    def beat(self) -> None:
        """See that notices arrive, read the counters of quotas, write what is to be written."""
        if not self._beat_heard:
            raise NoticesLost
        clock, at = self._clock = self._send_notice()
        self._read_used(clock)
        self._beat_at = at
        self._write_refused()
        self._stamp_tokens()

    def _send_notice(self) -> tuple[datetime, float]:
        """Announce something to this process. Return the database's clock, and ours beside it."""
        self._beat_heard = False
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp(), pg_notify(%s, '')", [self._beat_channel])
            clock = cursor.fetchone()[0]
        return clock, time.monotonic()

    def _take_up_notices(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")  # what the database has to send comes with the answer

    def _read_used(self, at: datetime) -> None:
        """Read the usage of subscriptions with a quota that were asked for since the last beat."""
        # Checks go on adding to the set that they hold: only a copy may be gone through.
        limited, self._limited = self._limited.copy(), set()
        if limited:
            read = dict.fromkeys(limited, 0) | loading.calls_this_month(limited, at)
            self._used = {**self._used, **read}

    def _hear(self, notice: Any) -> None:
        if notice.channel == CHANNEL:
            self._notices.append(notice.payload)
        else:
            self._beat_heard = True

    def _take_notices(self) -> Mapping[str, set[str]]:
        """Return what was announced: by kind, the ids."""
        taken, self._notices = self._notices, []
        changed: dict[str, set[str]] = defaultdict(set)
        for notice in taken:
            kind, _, ids = notice.partition(":")
            changed[kind].update(filter(None, ids.split(",")))
        return changed

    def _read_again(self, changed: Mapping[str, set[str]]) -> None:
        if "gateway" in changed:
            self._read_tokens()
        if "product" in changed:
            self._small = SmallTables()
            self._paths = _paths_cache()
        for kind, read in (
            ("customer", self._read_customers),
            ("subscription", self._read_subscriptions),
            ("credential", self._read_credentials),
            ("key", self._read_keys),
        ):
            ids = sorted(changed.get(kind, ()))
            for start in range(0, len(ids), MAX_ROWS_REREAD):
                read(ids[start : start + MAX_ROWS_REREAD])
        self.generation += 1

    def _read_tokens(self) -> None:
        tokens = GatewayToken.objects.valid().select_related("gateway")
        self._tokens = {
            token.digest: (
                token.pk,
                Asker.of(token.gateway, token.scopes, is_test=token.is_test),
            )
            for token in tokens
        }
        is_signing = any(asker.signs_claims for _, asker in self._tokens.values())
        self.signer = ClaimSigner(usable_keys(self.now()) if is_signing else ())

    def _read_keys(self, ids: Sequence[str]) -> None:
        fingerprints = {UUID(text) for text in ids}
        found: dict[int, list[tuple[int, KeyFacts]]] = {each.int >> 64: [] for each in fingerprints}
        rows = loading.rows_of(loading.KEYS, loading.any_of("k.fingerprint"), list(fingerprints))
        for fingerprint, facts in map(loading.key_facts, rows):
            found[fingerprint.int >> 64].append((fingerprint.int & LOW_64_BITS, facts))
        for number, keys in found.items():
            self._loaded.keys.put(number, _encode(keys) if keys else None)

    def _read_credentials(self, ids: Sequence[str]) -> None:
        numbers = list(map(int, ids))
        rows = loading.rows_of(loading.CREDENTIALS, loading.any_of("c.id"), numbers)
        found = dict(map(loading.credential_facts, rows))
        for number in numbers:
            facts = found.get(number)
            self._loaded.credentials.put(number, _encode(facts) if facts else None)
            if facts and facts.public:
                self._loaded.public_ids.put(facts.public.int >> 64, _encode([number]))

    def _read_subscriptions(self, ids: Sequence[str]) -> None:
        numbers = list(map(int, ids))
        rows = loading.rows_of(loading.SUBSCRIPTIONS, loading.any_of("s.id"), numbers)
        found = dict(map(loading.subscription_facts, rows))
        for number in numbers:
            facts = found.get(number)
            self._loaded.subscriptions.put(number, _encode(facts) if facts else None)
            if facts:
                # One that has lost the name stays listed: whoever looks compares the name.
                name = _number_of_name(facts.external_key)
                record = self._loaded.names.get(name)
                listed = set(_decode_numbers(record)) if record else set()
                self._loaded.names.put(name, _encode(sorted(listed | {number})))

    def _read_customers(self, ids: Sequence[str]) -> None:
        numbers = list(map(int, ids))
        rows = loading.rows_of(loading.CUSTOMERS, loading.any_of("c.id"), numbers)
        found = dict(map(loading.customer_facts, rows))
        for number in numbers:
            facts = found.get(number)
            self._loaded.customers.put(number, _encode(facts) if facts else None)

    def _write_refused(self) -> None:
        with self._refused_lock:
            batch, self._refused = self._refused, RefusedCallGroup()
        try:
            batch.write()
        except (OperationalError, InterfaceError):
            # Written with the next ones.
            with self._refused_lock:
                batch.add_all(self._refused)
                self._refused = batch
            raise
        except DatabaseError:
            logger.exception("Receipts of refused calls could not be written.")

    def _stamp_tokens(self) -> None:
        if time.monotonic() < self._stamped_at + STAMP_SECONDS:
            return
        self._stamped_at = time.monotonic()
        used, self._tokens_used = self._tokens_used.copy(), set()
        for token in GatewayToken.objects.filter(pk__in=used):
            token.stamp()


def _give_back_freed_memory() -> None:
    """Give the system back what reading needed: glibc keeps it, a quarter of the tables' size."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _paths_cache() -> "TLRUCache[str, str | None]":
    """Return a cache of the sources of paths. That a path has none is soon asked again."""

    def forget_at(_path: str, source: str | None, now: float) -> float:
        return now + (PATH_SECONDS if source else PATH_SECONDS_WITHOUT_SOURCE)

    return TLRUCache(MAX_PATHS, forget_at)


def _keys_in_order() -> Iterator[tuple[int, bytes]]:
    rows = map(loading.key_facts, loading.all_rows_of(loading.KEYS, "k.fingerprint"))
    for number, keys in groupby(rows, key=lambda pair: pair[0].int >> 64):
        yield number, _encode([(each.int & LOW_64_BITS, facts) for each, facts in keys])


def _names_in_order() -> Iterator[tuple[int, bytes]]:
    rows = loading.all_rows_of(loading.SUBSCRIPTION_NAMES, 'md5(s.external_key) COLLATE "C"')
    for number, named in groupby(rows, key=lambda row: int(row[0][:16], 16)):
        yield number, _encode([subscription for _, subscription in named])


def _number_of_name(name: str) -> int:
    digest = md5(name.encode(errors="replace"), usedforsecurity=False).hexdigest()
    return int(digest[:16], 16)


def _grouped(pairs: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for name, value in pairs:
        groups[name].append(value)
    return dict(groups)
