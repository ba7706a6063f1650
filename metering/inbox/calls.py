"""Calls as the inbox keeps them: in our own terms, and without a key.

Whatever door a call came in by, `encode_call` makes it what is stored. Its key becomes a
fingerprint there, no text of it keeps the key or the gateway's token, and its path is nothing but a
path.
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

from metering.inbox.group_commit import (
    INSERT_AND_FIND_EARLIER,
    DeliveryRow,
    WithDuplicateLookup,
    time_ordered_id,
)
from metering.inbox.redaction import NOTHING_WITHHELD, CallerKey, WithheldSecrets, is_entered_name
from metering.models.usage import CALLS_ELEMENT
from metering.similar_keys import similar_plain_key
from revcred.external_keys import trim_key
from revcred.fingerprints import fingerprint_hex
from revcred.redaction import KnownSecrets, key_candidates, known_secrets, redact_value


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
        completed = replace(other, **_present_fields(self))
        completed.elements = other.elements | self.elements
        completed.metadata = (other.metadata or {}) | (self.metadata or {}) or None
        if self.undated and not other.undated:
            completed.occurred_at, completed.undated = other.occurred_at, False
            completed.outside = other.outside
        return completed


def caller_key_field(key: str | None) -> dict[str, Any]:
    """The key as a call has it until it is encoded; nothing if none is left of it.

    Raises:
        KeyTooLong: more than MAX_KEY_CHARACTERS are left of it.
    """
    text = trim_key(key) if key else None
    return {"key": CallerKey(text)} if text else {}


def _stored_key_fields(key: CallerKey) -> dict[str, Any]:
    """What is stored of a key, which goes no further than this."""
    kept: dict[str, Any] = {"fingerprint": key.fingerprint, "hint": key.hint}
    if found := similar_plain_key(key.text):
        kept["similar_fingerprint"], kept["oddities"] = found
    return kept


ONE_CALL: dict[str, int | Decimal] = {CALLS_ELEMENT: 1}
ABSENT_VALUES = (None, UNSET)
UNDATED_PLACEHOLDER = datetime.fromtimestamp(0, UTC)

# Sorted, so that the same content in another order is the same content.
_encode_sorted_json = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


# Whatever is text in a call, or holds some: all but its own marks and moments.
UNREDACTED_FIELDS = {
    *("key", "fingerprint", "hint", "similar_fingerprint", "oddities"),
    *("occurred_at", "undated", "outside", "distinguished_by", "content"),
}
REDACTED_FIELDS = tuple(name for name in Call.__struct_fields__ if name not in UNREDACTED_FIELDS)


def _present_fields(call: Call) -> dict[str, Any]:
    return {name: value for name, value in asdict(call).items() if value not in ABSENT_VALUES}


def delivery_row(
    gateway_id: int,
    calls: Sequence[Call],
    *,
    withheld: WithheldSecrets = NOTHING_WITHHELD,
    rejected: int = 0,
    passed_over: int = 0,
    ids_from_callers: bool | None = False,
) -> DeliveryRow:
    lines = [
        encode_call(gateway_id, call, withheld, ids_from_callers=ids_from_callers) for call in calls
    ]
    return DeliveryRow(
        gateway_id, len(calls), rejected, _json_array_of_calls(lines), passed_over=passed_over
    )


def paired_calls_row(gateway_id: int, calls: Mapping[UUID, Call]) -> DeliveryRow:
    """Of calls that were encoded half by half, by their identities."""
    joined = []
    for mark, call in calls.items():
        _, _, digest, said = encode_call(gateway_id, call, NOTHING_WITHHELD)
        joined.append((mark.hex, mark.hex, digest, said))
    return DeliveryRow(gateway_id, len(calls), 0, _json_array_of_calls(joined))


@dataclass(frozen=True, kw_only=True)
class SingleCallRow(WithDuplicateLookup, DeliveryRow):
    """One call, asking whether it came before."""

    statement: ClassVar = INSERT_AND_FIND_EARLIER

    def row(self) -> Sequence[Any]:
        return *super().row(), self.identity


def single_call_row(
    gateway_id: int, call: Call, withheld: WithheldSecrets, *, ids_from_callers: bool | None = False
) -> SingleCallRow:
    line = encode_call(gateway_id, call, withheld, ids_from_callers=ids_from_callers)
    return SingleCallRow(
        identity=UUID(line[0]),
        gateway_id=gateway_id,
        transactions=1,
        rejected=0,
        body=_json_array_of_calls([line]),
    )


def dedup_key_of_id(gateway_id: int, transaction_id: str) -> str:
    """What a transaction is remembered by: 32 hexadecimal digits for its gateway and its id."""
    return _hash_bytes(b"%d\0" % gateway_id + transaction_id.encode())


def keyed_dedup_key_of_id(gateway_id: int, transaction_id: str) -> str:
    """The same for an id in which a secret is. It is keyed, so that nobody can guess the secret."""
    return fingerprint_hex(f"{gateway_id} {transaction_id}", label="transaction id")


def possible_dedup_keys(gateway_id: int, transaction_id: str) -> list[UUID]:
    """Those that a transaction of this whole id may be remembered by."""
    return [UUID(of(gateway_id, transaction_id)) for of in (dedup_key_of_id, keyed_dedup_key_of_id)]


def dedup_key_of_call(gateway_id: int, call: Call, *, ids_from_callers: bool | None = False) -> str:
    """Return the identity of a call: by its id, and by more where others may have the same id.

    Where callers may choose ids, a call is also known by its moment, method, path and status: a
    repeat has the same ones, and another call under an id that was used before has not.
    """
    known_by = _distinguishing_parts(call, ids_from_callers=ids_from_callers)
    if not known_by:
        return dedup_key_of_id(gateway_id, call.transaction_id)
    # No id contains a NUL, so that this is never the identity of another id.
    return _hash_bytes(
        b"%d\0" % gateway_id + call.transaction_id.encode() + b"\0" + _encode_sorted_json(known_by)
    )


def _distinguishing_parts(call: Call, *, ids_from_callers: bool | None) -> list[Any]:
    known_by: list[Any] = [call.distinguished_by] if call.distinguished_by else []
    if ids_from_callers:
        moment = None if call.undated else call.occurred_at
        known_by += [moment, call.method or "", call.path or "", call.status or None]
    return known_by


# A call's identity, that of its id alone, a digest of all that it says, and that as JSON.
EncodedCall = tuple[str, str, str, str]


def encode_call(
    gateway_id: int, call: Call, withheld: WithheldSecrets, *, ids_from_callers: bool | None = False
) -> EncodedCall:
    """What is stored of a call, and nothing else is. The same call gives the same."""
    key, path, stored = call.key, call.path, call
    if key:
        stored = replace(call, key=None, **_stored_key_fields(key))
    if path and (path[0] != "/" or path[1:2] == "/" or "?" in path or "#" in path):
        stored = replace(stored, path=strip_url_to_path(path))
    content = _encode_sorted_json(stored)
    said = content.decode()
    if withheld.may_be_in(said, key):
        stored = _cut_secrets_from_call(stored, withheld.of(key), key)
        content = _encode_sorted_json(stored)
        said = content.decode()
    if not call.content:
        content = _content_to_compare(stored, content)
    own, by_id = _dedup_keys_of_call(gateway_id, call, stored, ids_from_callers=ids_from_callers)
    return own, by_id, call.content or _hash_bytes(content), said


def _dedup_keys_of_call(
    gateway_id: int, call: Call, stored: Call, *, ids_from_callers: bool | None
) -> tuple[str, str]:
    """Its own identity and that of its id, which are mostly the same."""
    is_cut = stored.transaction_id != call.transaction_id
    by_id = (keyed_dedup_key_of_id if is_cut else dedup_key_of_id)(gateway_id, call.transaction_id)
    if not (ids_from_callers or call.distinguished_by):
        return by_id, by_id
    if not is_cut:
        return dedup_key_of_call(gateway_id, stored, ids_from_callers=ids_from_callers), by_id
    return digest_of_parts(
        by_id, _distinguishing_parts(stored, ids_from_callers=ids_from_callers)
    ), by_id


def call_without_secrets(call: Call, withheld: WithheldSecrets) -> Call:
    """The call as it is stored, for whoever keeps or shows a part of it elsewhere."""
    return _cut_secrets_from_call(call, withheld.of(call.key), call.key)


def _cut_secrets_from_call(call: Call, secrets: KnownSecrets, key: CallerKey | None) -> Call:
    texts = {name: getattr(call, name) for name in REDACTED_FIELDS}
    found = {name: redact_value(value, secrets) for name, value in texts.items() if value}
    changed = {name: value for name, value in found.items() if value != texts[name]}
    if changed and key and secrets and secrets[0].text in key.text and is_entered_name(key):
        return _cut_secrets_from_call(call, secrets[1:], None)
    return replace(call, **changed) if changed else call


def call_without_its_key(call: Call) -> Call:
    """A call joined of two halves, of which only one came with the key: by its fingerprint."""
    parts = key_candidates(text_fields_of_call(call))
    return call_without_keys(
        call, [each for each in parts if fingerprint_hex(each) == call.fingerprint]
    )


def call_without_keys(call: Call, keys: Sequence[str]) -> Call:
    for key in keys:
        call = _cut_secrets_from_call(call, known_secrets(key), CallerKey(key))
    return call


def text_fields_of_call(call: Call) -> dict[str, Any]:
    """What a call says in text, by the names of its fields."""
    said = {name: getattr(call, name) for name in REDACTED_FIELDS}
    return {name: value for name, value in said.items() if isinstance(value, str | dict)}


_SCHEME_AND_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_END_OF_PATH = re.compile(r"[?#]")


def strip_url_to_path(url: str) -> str:
    """The path without scheme, user, host, query and fragment, any of which may hold a key."""
    url = url.strip()
    address = _SCHEME_AND_HOST.match(url)
    path = _END_OF_PATH.split(url[address.end() if address else 0 :], maxsplit=1)[0]
    return path or "/"


def _json_array_of_calls(calls: Sequence[EncodedCall]) -> str:
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


def digest_of_parts(*parts: Any) -> str:
    """Return 32 hexadecimal digits that stand for these parts, which JSON can hold."""
    return _hash_bytes(_encode_sorted_json(parts))


def _content_to_compare(call: Call, said: bytes) -> bytes:
    """Return what has to be the same in a repeat: not when it came, nor whether that was late."""
    if call.undated:
        return _encode_sorted_json(replace(call, occurred_at=UNDATED_PLACEHOLDER))
    return _encode_sorted_json(replace(call, outside=False)) if call.outside else said


def _hash_bytes(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
