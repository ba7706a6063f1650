"""Exchange of FINGERPRINT_KEY: which of two fingerprints the database knows a value by.

Until `manage.py rotate_fingerprint_key` begins, that is the one of OLD_FINGERPRINT_KEY, in every
process, so that they can be restarted one after the other. From then on it is the new one, except
for what the database lists as unmoved. So whatever looks up or writes a fingerprint finds the
stored one, and neither intake nor attribution know of two.

Each process reads the list again once a second. An unmoved value that comes in tells its new
fingerprint, which is noted for the command.
"""

import logging
import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Lock, Thread
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.db.models import Max

from revcred import fingerprints
from revcred.crypto import CannotUnseal
from revcred.fingerprints import new_fingerprint_hex, old_fingerprint_hex
from revcred.models import FingerprintMove, KeyringCheck, SealedValue

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
FINGERPRINT_BYTES = 16
MAX_NOTED_PAIRS = 10_000
ROWS_PER_BATCH = 1_000
# Kept in tables, and moved there. All others stay under the old key until it is no longer set.
MOVED_LABELS = frozenset({"key", "secret", "user token", "gateway token"})
# in: the unmoved fingerprints; out: their bytes in order, as one value
READ_UNMOVED = """
SELECT coalesce(string_agg(uuid_send(fingerprint), ''::bytea ORDER BY fingerprint), ''::bytea)
FROM revcred_unmovedfingerprint
"""


class SortedFingerprints(Sequence[bytes]):
    """Fingerprints in order, in one piece of memory: there may be millions."""

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def __len__(self) -> int:
        return len(self._packed) // FINGERPRINT_BYTES

    def __getitem__(self, place: int) -> bytes:  # type: ignore[override] # no slices
        return self._packed[place * FINGERPRINT_BYTES : (place + 1) * FINGERPRINT_BYTES]

    def __contains__(self, sought: object) -> bool:
        if not isinstance(sought, bytes):
            return False
        place = bisect_left(self, sought)
        return place < len(self) and self[place] == sought


@dataclass(frozen=True)
class RotationState:
    """The state of the exchange, as a process knows it."""

    process: int
    has_begun: bool
    unmoved: SortedFingerprints
    newest_move: int | None


class Resolver:
    """Chooses the fingerprint by which the database knows a value."""

    def __init__(self) -> None:
        self._state: RotationState | None = None
        self._lock = Lock()
        self._noted: dict[str, str] = {}
        self.stopped = Event()

    def __call__(self, value: str, label: str) -> str:
        state = self._current_state()
        if not state.has_begun or label not in MOVED_LABELS:
            return old_fingerprint_hex(value, label=label)
        old = old_fingerprint_hex(value, label=label)
        new = new_fingerprint_hex(value, label=label)
        # What was written while the exchange began is listed in any case.
        known = next((each for each in (old, new) if bytes.fromhex(each) in state.unmoved), None)
        if known is None:
            return new
        if len(self._noted) < MAX_NOTED_PAIRS:
            self._noted[known] = new
        return known

    def refresh(self) -> None:
        """Read the state, and write what was noted."""
        state = self._state
        newest = FingerprintMove.objects.aggregate(newest=Max("pk"))["newest"]
        has_begun = KeyringCheck.uses_new_key()
        if state is None or (has_begun, newest) != (state.has_begun, state.newest_move):
            with connection.cursor() as cursor:
                cursor.execute(READ_UNMOVED)
                unmoved = SortedFingerprints(bytes(cursor.fetchone()[0]))
            self._state = RotationState(os.getpid(), has_begun, unmoved, newest)
        noted, self._noted = self._noted, {}
        FingerprintMove.objects.bulk_create(
            [FingerprintMove(old=UUID(old), new=UUID(new)) for old, new in sorted(noted.items())],
            ignore_conflicts=True,
        )

    def _current_state(self) -> RotationState:
        state = self._state
        # A process that was forked has the state of its parent, and not the thread.
        if state is None or state.process != os.getpid():
            with self._lock:
                if self._state is None or self._state.process != os.getpid():
                    self._state = None
                    self._start()
            state = self._state
        assert state is not None
        return state

    def _start(self) -> None:
        """Read the state, and keep it fresh, in a thread of its own.

        In the fast door's, Django lets nothing wait for the database.
        """
        first = Future[None]()
        Thread(target=self._keep_fresh, args=(first,), name="fingerprints", daemon=True).start()
        first.result()

    def _keep_fresh(self, first: "Future[None]") -> None:
        try:
            self.refresh()
        except Exception as error:  # noqa: BLE001 - raised where the state is needed
            first.set_exception(error)
            connection.close()
            return
        first.set_result(None)
        while not self.stopped.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except (DatabaseError, InterfaceError) as error:
                logger.warning("The database is unavailable: %s", type(error).__name__)
                connection.close()
            finally:
                close_old_connections()
        connection.close()


@dataclass(frozen=True)
class SealedFingerprints:
    """Old and new fingerprints of some values that are kept sealed.

    `keys`: new by old. `secrets`: old and new, by the number of the external key. `damaged`:
    numbers of external keys whose values do not open.
    """

    keys: dict[UUID, UUID]
    secrets: dict[int, tuple[UUID, UUID]]
    damaged: list[int]


def sealed_fingerprints() -> Iterator[SealedFingerprints]:
    """Yield the fingerprints of everything that is kept sealed, as far as they differ."""
    last = 0
    rows = SealedValue.objects.select_related("external_key").order_by("pk")
    while found := list(rows.filter(pk__gt=last)[:ROWS_PER_BATCH]):
        last = found[-1].pk
        batch = SealedFingerprints({}, {}, [])
        for row in found:
            try:
                key, secret = row.unseal("value"), row.unseal("secret")
            except CannotUnseal:
                batch.damaged.append(row.pk)
                continue
            known, known_secret = row.external_key.fingerprint, row.secret_fingerprint
            if key is not None and (new := UUID(new_fingerprint_hex(key))) != known:
                batch.keys[known] = new
            if secret is not None and known_secret is not None:
                new = UUID(new_fingerprint_hex(secret, label="secret"))
                batch.secrets[row.pk] = known_secret, new
        yield batch


def begin_if_two_keys() -> None:
    """Choose between the fingerprints of two keys, if two are set."""
    if settings.OLD_FINGERPRINT_KEY:
        fingerprints.resolve_by(Resolver())
