"""Calls as the inbox stores them: in revcred's own terms, and without a key.

Every door passes its calls through `encode_call`. There the key becomes a fingerprint, the key and
the gateway's token are cut out of every text, and a URL is reduced to its path.
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
from metering.inbox.redaction import (
    NOTHING_WITHHELD,
    CallerKey,
    KeyTrace,
    WithheldSecrets,
    is_entered_name,
)
from metering.models.usage import CALLS_ELEMENT
from metering.similar_keys import similar_plain_key
from revcred.external_keys import trim_key
from revcred.fingerprints import fingerprint_hex, hint
from revcred.public_ids import public_id_fingerprint
from revcred.redaction import (
    KeyCandidates,
    KnownSecrets,
    drop_unsearched,
    known_secrets,
    redact_value,
)


class Call(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One metered call: as a door reads it, with its key; as the inbox stores it, without."""

    transaction_id: str
    occurred_at: datetime
    key: CallerKey | None = None
    fingerprint: str | None = None
    hint: str | None = None
    # Of a key that is written unusually: see `metering.similar_keys`.
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
    # By it the key is found in the other part of a partial transaction: a `KeyTrace`.
    key_trace: tuple[str, str, int] | None = None
    # The sender gave no moment, so `occurred_at` is the arrival, and no part of the content.
    undated: bool = False
    # Hash of what tells it from other calls with its id; None where the id is enough.
    distinguished_by: str | None = None
    # Hash of what has to be equal in a repeat; None where that is the whole call.
    content: str | None = None
    # Its moment is outside the gateway's window, so that an admin has to choose one.
    outside: bool = False

    def completed_by(self, other: "Call") -> "Call":
        """Return this call, with the fields of the other where this one has none."""
        completed = replace(other, **_present_fields(self))
        completed.elements = other.elements | self.elements
        completed.metadata = (other.metadata or {}) | (self.metadata or {}) or None
        if self.undated and not other.undated:
            completed.occurred_at, completed.undated = other.occurred_at, False
            completed.outside = other.outside
        return completed


def caller_key_field(key: str | None) -> dict[str, Any]:
    """Return the field `key` of a Call that is not encoded yet; empty if no key is left.

    Raises:
        KeyTooLong: more than MAX_KEY_CHARACTERS are left of it.
    """
    text = trim_key(key) if key else None
    return {"key": CallerKey(text)} if text else {}


def public_id_fields(text: str) -> dict[str, Any]:
    """Return the fields of a Call that names a credential's public id; empty if the text is none.

    They win over those of a key. What a caller sends as key must never come here: public ids are
    no secrets, and only a gateway may vouch for one.
    """
    found = public_id_fingerprint(text)
    return {"fingerprint": found.hex, "hint": hint(text)} if found else {}


def _stored_key_fields(key: CallerKey) -> dict[str, Any]:
    """Return the fields of a Call that stand for its key in the inbox."""
    fields: dict[str, Any] = {
        "fingerprint": fingerprint_hex(key.text),
        "hint": hint(key.text),
    }
    if similar := similar_plain_key(key.text):
        fields["similar_fingerprint"], fields["oddities"] = similar
    return fields


ONE_CALL: dict[str, int | Decimal] = {CALLS_ELEMENT: 1}
ABSENT_VALUES = (None, UNSET)
UNDATED_PLACEHOLDER = datetime.fromtimestamp(0, UTC)

# Sorted, so that the same content in another order has the same hash.
_encode_sorted_json = msgspec.json.Encoder(decimal_format="number", order="sorted").encode


# Secrets are cut out of every field that is text or may hold some. Listed are the exceptions, so
# that a field added later is cut, too.
UNREDACTED_FIELDS = {
    *("key", "fingerprint", "hint", "similar_fingerprint", "oddities", "key_trace"),
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
    """Return the inbox row of one POST.

    `ids_from_callers`: ids are chosen by callers of the gateway, so that two calls may share one.
    """
    lines = [
        encode_call(gateway_id, call, withheld, ids_from_callers=ids_from_callers) for call in calls
    ]
    return DeliveryRow(
        gateway_id, len(calls), rejected, _json_array_of_calls(lines), passed_over=passed_over
    )


def paired_calls_row(
    gateway_id: int, calls: Mapping[UUID, Call], shared_ids: Mapping[UUID, UUID] | None = None
) -> DeliveryRow:
    """Return the inbox row of calls that came in two parts, by their dedup keys.

    `shared_ids`: the dedup keys of their transaction ids, where callers may choose these.
    """
    lines = []
    for dedup_key, call in calls.items():
        # Each part was encoded on arrival: what was secret is gone, and its dedup key is fixed.
        _, _, content_hash, text = encode_call(gateway_id, call, NOTHING_WITHHELD)
        by_id = (shared_ids or {}).get(dedup_key, dedup_key)
        lines.append((dedup_key.hex, by_id.hex, content_hash, text))
    return DeliveryRow(gateway_id, len(calls), 0, _json_array_of_calls(lines))


@dataclass(frozen=True, kw_only=True)
class SingleCallRow(WithDuplicateLookup, DeliveryRow):
    """The inbox row of one call that asks whether the call came before."""

    statement: ClassVar = INSERT_AND_FIND_EARLIER

    def values(self) -> Sequence[Any]:
        return *super().values(), self.dedup_key


def single_call_row(
    gateway_id: int, call: Call, withheld: WithheldSecrets, *, ids_from_callers: bool | None = False
) -> SingleCallRow:
    line = encode_call(gateway_id, call, withheld, ids_from_callers=ids_from_callers)
    return SingleCallRow(
        dedup_key=UUID(line[0]),
        gateway_id=gateway_id,
        transactions=1,
        rejected=0,
        body=_json_array_of_calls([line]),
    )


def dedup_key_of_id(gateway_id: int, transaction_id: str) -> str:
    """Return the deduplication key of a transaction's id at its gateway, 32 hexadecimal digits."""
    return _hash_bytes(b"%d\0" % gateway_id + transaction_id.encode())


def keyed_dedup_key_of_id(gateway_id: int, transaction_id: str) -> str:
    """Return the deduplication key of an id that contains a secret.

    A keyed hash, so that nobody can find the secret by trying.
    """
    return fingerprint_hex(f"{gateway_id} {transaction_id}", label="transaction id")


def possible_dedup_keys(gateway_id: int, transaction_id: str) -> list[UUID]:
    """Return the deduplication keys that a transaction of this id, uncut, may have."""
    return [
        UUID(dedup_key(gateway_id, transaction_id))
        for dedup_key in (dedup_key_of_id, keyed_dedup_key_of_id)
    ]


def dedup_key_of_call(gateway_id: int, call: Call, *, ids_from_callers: bool | None = False) -> str:
    """Return the deduplication key of a call: of its id, and of more where others may share it.

    Where callers choose ids, moment, method, path and status belong to the key: they are the same
    in a repeat, and differ in another call with the same id.
    """
    parts = _distinguishing_parts(call, ids_from_callers=ids_from_callers)
    if not parts:
        return dedup_key_of_id(gateway_id, call.transaction_id)
    # No id contains a NUL, so that this is never the key of another id.
    return _hash_bytes(
        b"%d\0" % gateway_id + call.transaction_id.encode() + b"\0" + _encode_sorted_json(parts)
    )


def _distinguishing_parts(call: Call, *, ids_from_callers: bool | None) -> list[Any]:
    parts: list[Any] = [call.distinguished_by] if call.distinguished_by else []
    if ids_from_callers:
        moment = None if call.undated else call.occurred_at
        parts += [moment, call.method or "", call.path or "", call.status or None]
    return parts


# The dedup key of a call, the dedup key of its id alone, its content hash, and the call as JSON.
EncodedCall = tuple[str, str, str, str]


def encode_call(
    gateway_id: int, call: Call, withheld: WithheldSecrets, *, ids_from_callers: bool | None = False
) -> EncodedCall:
    """Return all that is stored of a call. Equal calls give equal results.

    `call` may hold a key and secrets in its texts; the result never does.
    """
    key, path, stored = call.key, call.path, call
    if key:
        # A public id beside it says whose the call is. The key is then only cut out of all texts.
        stored = replace(call, key=None, **({} if call.fingerprint else _stored_key_fields(key)))
    if path and (path[0] != "/" or path[1:2] == "/" or "?" in path or "#" in path):
        stored = replace(stored, path=strip_url_to_path(path))
    content = _encode_sorted_json(stored)
    text = content.decode()
    # One search through the whole text first: nearly all calls contain no secret.
    # Without its own fingerprint, which looks like encoded text.
    fingerprint = (stored.fingerprint or "").encode()
    if withheld.may_be_in(text, key, raw=content.replace(fingerprint, b"", 1)):
        stored = _cut_secrets_from_call(stored, withheld.secrets_for(key), key)
        content = _encode_sorted_json(stored)
        text = content.decode()
    if not call.content:
        content = _content_to_compare(stored, content)
    own, by_id = _dedup_keys_of_call(gateway_id, call, stored, ids_from_callers=ids_from_callers)
    return own, by_id, call.content or _hash_bytes(content), text


def _dedup_keys_of_call(
    gateway_id: int, call: Call, stored: Call, *, ids_from_callers: bool | None
) -> tuple[str, str]:
    """Return the call's dedup key and that of its id, which are mostly the same."""
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
    """Return the call with secrets cut out, for code that stores or shows a part of it."""
    return _cut_secrets_from_call(call, withheld.secrets_for(call.key), call.key)


def _cut_secrets_from_call(call: Call, secrets: KnownSecrets, key: CallerKey | None) -> Call:
    texts = {name: getattr(call, name) for name in REDACTED_FIELDS}
    found = {name: redact_value(value, secrets) for name, value in texts.items() if value}
    changed = {name: value for name, value in found.items() if value != texts[name]}
    # A key that is also a name, such as a customer's, stays: it decides who is charged.
    if changed and key and secrets and secrets[0].text in key.text and is_entered_name(key):
        return _cut_secrets_from_call(call, secrets[1:], None)
    return replace(call, **changed) if changed else call


def call_without_its_key(call: Call) -> Call:
    """Return a paired call without its key in any text, and without its trace.

    Only one of its parts came with the key, so the texts of the other may still contain it.
    """
    trace = KeyTrace(*call.key_trace) if call.key_trace else None
    if trace is None and call.fingerprint:  # the part came before there were traces
        trace = KeyTrace(call.fingerprint, call.hint or "")
    if trace:
        call = call_without_found_keys(call, trace.found_in(text_fields_of_call(call)))
    return replace(call, key_trace=None) if call.key_trace else call


def call_without_found_keys(call: Call, found: KeyCandidates) -> Call:
    """Return the call without these keys, and without texts that took too long to search."""
    for key in sorted(found.parts):
        call = _cut_secrets_from_call(call, known_secrets(key), CallerKey(key))
    texts = {name: getattr(call, name) for name in REDACTED_FIELDS}
    searched = {name: drop_unsearched(value, found.unsearched) for name, value in texts.items()}
    changed = {name: value for name, value in searched.items() if value != texts[name]}
    return replace(call, **changed) if changed else call


def text_fields_of_call(call: Call) -> dict[str, Any]:
    """Return the fields of a call that are or contain text."""
    fields = {name: getattr(call, name) for name in REDACTED_FIELDS}
    return {name: value for name, value in fields.items() if isinstance(value, str | dict)}


# A URL with its scheme and host, or with the host alone: "https://user@host", "//host".
_SCHEME_AND_HOST = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*")
_END_OF_PATH = re.compile(r"[?#]")


def strip_url_to_path(url: str) -> str:
    """Return the path without scheme, user, host, query and fragment: each may contain a key."""
    url = url.strip()
    if url[:1] == "/" != url[1:2] and "?" not in url and "#" not in url:
        return url
    address = _SCHEME_AND_HOST.match(url)
    path = _END_OF_PATH.split(url[address.end() if address else 0 :], maxsplit=1)[0]
    return path or "/"


def _json_array_of_calls(calls: Sequence[EncodedCall]) -> str:
    """Return a JSON array of the calls, each with its dedup keys and content hash in front."""
    first = time_ordered_id()
    lines = []
    for n, (own, by_id, content_hash, text) in enumerate(calls):
        shared = "" if own == by_id else f'"shared_id":"{by_id}",'
        # Spliced into the JSON that is there already, so that no call is encoded twice.
        lines.append(
            f'{{"made_id":"{first + n:032x}","dedup_key":"{own}",{shared}'
            f'"content_hash":"{content_hash}",{text[1:]}'
        )
    return f"[{','.join(lines)}]"


def digest_of_parts(*parts: Any) -> str:
    """Return a hash of these values, which JSON can hold, as 32 hexadecimal digits."""
    return _hash_bytes(_encode_sorted_json(parts))


def _content_to_compare(call: Call, encoded: bytes) -> bytes:
    """Return what has to be equal in a repeat: neither its arrival, nor that it was late."""
    if call.undated:
        return _encode_sorted_json(replace(call, occurred_at=UNDATED_PLACEHOLDER))
    return _encode_sorted_json(replace(call, outside=False)) if call.outside else encoded


def _hash_bytes(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
