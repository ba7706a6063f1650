"""Calls as the inbox keeps them: in our own terms, and without a key.

Whatever door a call came in by, `encoded` makes it what is stored. Its key becomes a fingerprint
there, no text of it keeps the key or the gateway's token, and its path is nothing but a path.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import asdict, replace

from metering.inbox.group_commit import KEEP_AND_RECALL, Entry, Recalling, time_ordered_id
from metering.inbox.redaction import NOTHING, CallerKey, Withheld, is_a_name
from metering.models.usage import CALLS
from metering.similar_keys import similar
from revcred.external_keys import trimmed
from revcred.fingerprints import fingerprint_hex
from revcred.redaction import Secrets, candidates, cut, secrets_of


class Call(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One metered call: as a door reads it, with its key; as the inbox keeps it, without."""

    transaction_id: str
    occurred_at: datetime
    key: CallerKey | None = None
    fingerprint: str | None = None
    hint: str | None = None
    # Of a key that is written oddly: see `metering.similar_keys`.
    similar_fingerprint: str | None = None
    oddities: str | None = None
    subscription_named: str | None = None
    source_named: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | UnsetType | None = None
    request_bytes: int | UnsetType | None = None
    response_bytes: int | UnsetType | None = None
    latency_ms: float | UnsetType | None = None
    elements: dict[str, int | Decimal]
    metadata: dict[str, Any] | None = None
    names: dict[str, Any] | None = None
    # It came without a moment, so `occurred_at` is when it arrived, and no part of what it says.
    undated: bool = False
    # A digest of what tells it from other calls under its id; None where the id is enough.
    distinguished_by: str | None = None
    # A digest of what makes a repeat the same; None where that is all it says.
    content: str | None = None
    # Its moment is too old or too far ahead to be counted without an admin's word.
    outside: bool = False

    def completed_by(self, other: "Call") -> "Call":
        """What this one says, and what only the other does."""
        completed = replace(other, **_said(self))
        completed.elements = other.elements | self.elements
        completed.metadata = (other.metadata or {}) | (self.metadata or {}) or None
        if self.undated and not other.undated:
            completed.occurred_at, completed.undated = other.occurred_at, False
            completed.outside = other.outside
        return completed


def marks_of(key: str | None) -> dict[str, Any]:
    """The key as a call has it until it is encoded; nothing if none is left of it.

    Raises:
        KeyTooLong: more than MAX_KEY_CHARACTERS are left of it.
    """
    text = trimmed(key) if key else None
    return {"key": CallerKey(text)} if text else {}


def _kept_of(key: CallerKey) -> dict[str, Any]:
    """What is stored of a key, which goes no further than this."""
    kept: dict[str, Any] = {"fingerprint": key.fingerprint, "hint": key.hint}
    if found := similar(key.text):
        kept["similar_fingerprint"], kept["oddities"] = found
    return kept


ONE_CALL: dict[str, int | Decimal] = {CALLS: 1}
NOT_SAID = (None, UNSET)
ANY_TIME = datetime.fromtimestamp(0, UTC)

# Sorted, so that the same content in another order is the same content.
_encode = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


# Whatever is text in a call, or holds some: all but its own marks and moments.
MARKS = {
    *("key", "fingerprint", "hint", "similar_fingerprint", "oddities"),
    *("occurred_at", "undated", "outside", "distinguished_by", "content"),
}
CUT = tuple(name for name in Call.__struct_fields__ if name not in MARKS)


def _said(call: Call) -> dict[str, Any]:
    return {name: value for name, value in asdict(call).items() if value not in NOT_SAID}


def entry_of(
    gateway_id: int,
    calls: Sequence[Call],
    *,
    withheld: Withheld = NOTHING,
    rejected: int = 0,
    passed_over: int = 0,
    ids_from_callers: bool | None = False,
) -> Entry:
    lines = [
        encoded(gateway_id, call, withheld, ids_from_callers=ids_from_callers) for call in calls
    ]
    return Entry(gateway_id, len(calls), rejected, _array(lines), passed_over=passed_over)


def entry_of_joined(gateway_id: int, calls: Mapping[UUID, Call]) -> Entry:
    """Of calls that were encoded half by half, by their identities."""
    joined = []
    for mark, call in calls.items():
        _, _, digest, said = encoded(gateway_id, call, NOTHING)
        joined.append((mark.hex, mark.hex, digest, said))
    return Entry(gateway_id, len(calls), 0, _array(joined))


@dataclass(frozen=True, kw_only=True)
class RecallingEntry(Recalling, Entry):
    """One call, asking whether it came before."""

    statement: ClassVar = KEEP_AND_RECALL

    def row(self) -> Sequence[Any]:
        return *super().row(), self.identity


def recalling_entry_of(
    gateway_id: int, call: Call, withheld: Withheld, *, ids_from_callers: bool | None = False
) -> RecallingEntry:
    line = encoded(gateway_id, call, withheld, ids_from_callers=ids_from_callers)
    return RecallingEntry(
        identity=UUID(line[0]),
        gateway_id=gateway_id,
        transactions=1,
        rejected=0,
        body=_array([line]),
    )


def identity(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _digest(b"%d\0" % gateway_id + transaction_id.encode())


def identity_of_cut(gateway_id: int, transaction_id: str) -> str:
    """The same for an id in which a secret is. It is keyed, so that nobody can guess the secret."""
    return fingerprint_hex(f"{gateway_id} {transaction_id}", label="transaction id")


def identities(gateway_id: int, transaction_id: str) -> list[UUID]:
    """Those that a transaction of this whole id may be remembered by."""
    return [UUID(of(gateway_id, transaction_id)) for of in (identity, identity_of_cut)]


def identity_of(gateway_id: int, call: Call, *, ids_from_callers: bool | None = False) -> str:
    """Return the identity of a call: by its id, and by more where others may have the same id.

    Where callers may choose ids, a call is also known by its moment, method, path and status: a
    repeat has the same ones, and another call under an id that was used before has not.
    """
    known_by = _known_by(call, ids_from_callers=ids_from_callers)
    if not known_by:
        return identity(gateway_id, call.transaction_id)
    # No id contains a NUL, so that this is never the identity of another id.
    return _digest(b"%d\0" % gateway_id + call.transaction_id.encode() + b"\0" + _encode(known_by))


def _known_by(call: Call, *, ids_from_callers: bool | None) -> list[Any]:
    known_by: list[Any] = [call.distinguished_by] if call.distinguished_by else []
    if ids_from_callers:
        moment = None if call.undated else call.occurred_at
        known_by += [moment, call.method or "", call.path or "", call.status or None]
    return known_by


# A call's identity, that of its id alone, a digest of all that it says, and that as JSON.
Encoded = tuple[str, str, str, str]


def encoded(
    gateway_id: int, call: Call, withheld: Withheld, *, ids_from_callers: bool | None = False
) -> Encoded:
    """What is stored of a call, and nothing else is. The same call gives the same."""
    key, path, stored = call.key, call.path, call
    if key:
        stored = replace(call, key=None, **_kept_of(key))
    if path and (path[0] != "/" or path[1:2] == "/" or "?" in path or "#" in path):
        stored = replace(stored, path=only_path(path))
    content = _encode(stored)
    said = content.decode()
    if withheld.may_be_in(said, key):
        stored = _cut(stored, withheld.of(key), key)
        content = _encode(stored)
        said = content.decode()
    if not call.content:
        content = _content(stored, content)
    own, by_id = _identities_of(gateway_id, call, stored, ids_from_callers=ids_from_callers)
    return own, by_id, call.content or _digest(content), said


def _identities_of(
    gateway_id: int, call: Call, stored: Call, *, ids_from_callers: bool | None
) -> tuple[str, str]:
    """Its own identity and that of its id, which are mostly the same."""
    is_cut = stored.transaction_id != call.transaction_id
    by_id = (identity_of_cut if is_cut else identity)(gateway_id, call.transaction_id)
    if not (ids_from_callers or call.distinguished_by):
        return by_id, by_id
    if not is_cut:
        return identity_of(gateway_id, stored, ids_from_callers=ids_from_callers), by_id
    return digest_of(by_id, _known_by(stored, ids_from_callers=ids_from_callers)), by_id


def without_secrets(call: Call, withheld: Withheld) -> Call:
    """The call as it is stored, for whoever keeps or shows a part of it elsewhere."""
    return _cut(call, withheld.of(call.key), call.key)


def _cut(call: Call, secrets: Secrets, key: CallerKey | None) -> Call:
    texts = {name: getattr(call, name) for name in CUT}
    found = {name: cut(value, secrets) for name, value in texts.items() if value}
    changed = {name: value for name, value in found.items() if value != texts[name]}
    if changed and key and secrets and secrets[0].text in key.text and is_a_name(key):
        return _cut(call, secrets[1:], None)
    return replace(call, **changed) if changed else call


def without_its_key(call: Call) -> Call:
    """A call joined of two halves, of which only one came with the key: by its fingerprint."""
    parts = candidates(texts_of(call))
    return without_keys(call, [each for each in parts if fingerprint_hex(each) == call.fingerprint])


def without_keys(call: Call, keys: Sequence[str]) -> Call:
    for key in keys:
        call = _cut(call, secrets_of(key), CallerKey(key))
    return call


def texts_of(call: Call) -> dict[str, Any]:
    """What a call says in text, by the names of its fields."""
    said = {name: getattr(call, name) for name in CUT}
    return {name: value for name, value in said.items() if isinstance(value, str | dict)}


_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_END_OF_PATH = re.compile(r"[?#]")


def only_path(url: str) -> str:
    """The path without scheme, user, host, query and fragment, any of which may hold a key."""
    url = url.strip()
    address = _ADDRESS.match(url)
    path = _END_OF_PATH.split(url[address.end() if address else 0 :], maxsplit=1)[0]
    return path or "/"


def _array(calls: Sequence[Encoded]) -> str:
    """A JSON array of the calls, each led by its ids and the digest of all it says."""
    first = time_ordered_id()
    lines = []
    for n, (own, by_id, digest, said) in enumerate(calls):
        shared = "" if own == by_id else f'"shared_id":"{by_id}",'
        lines.append(
            f'{{"made_id":"{first + n:032x}","identity":"{own}",{shared}"digest":"{digest}",'
            f"{said[1:]}"
        )
    return f"[{','.join(lines)}]"


def digest_of(*parts: Any) -> str:
    """Return 32 hexadecimal digits that stand for these parts, which JSON can hold."""
    return _digest(_encode(parts))


def _content(call: Call, said: bytes) -> bytes:
    """Return what has to be the same in a repeat: not when it came, nor whether that was late."""
    if call.undated:
        return _encode(replace(call, occurred_at=ANY_TIME))
    return _encode(replace(call, outside=False)) if call.outside else said


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
