"""Rejected items as they are kept to be tried again: whatever may be a key is replaced.

In its place stands a text with the key's fingerprint, by which the call is attributed if the item
is accepted later. Where nobody could tell which text is the key, all that look like one are
replaced.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from metering.inbox.calls import Call
from revcred.fingerprints import fingerprint_hex, hint
from revcred.public_ids import public_id_fingerprint
from revcred.redaction import MIN_SECRET_CHARACTERS, KnownSecrets, redact_text

MAX_ITEM_CHARACTERS = 8_000
REMOVED_KEY = re.compile(r"removed-(?P<fingerprint>[0-9a-f]{32})-(?P<hint>[0-9A-Za-z]{0,4})")
# Members of such names hold keys more often than not.
KEY_NAME = re.compile(
    r"key|token|secret|auth|cookie|passw|credential|session|signature|jwt|subject|application",
    re.IGNORECASE,
)
QUERY = re.compile(r"\?[^\s\"'\\]*")
WORD = re.compile(rf"\S{{{MIN_SECRET_CHARACTERS},}}")
# Keys that nobody knows: letters with digits, or very long rows of letters. No dates.
KEY_SHAPE = re.compile(
    r"(?<![A-Za-z0-9_+=~-])(?!\d{4}-\d\d-\d\dT\d\d\b)(?=[A-Za-z_+=~-]*[0-9])(?=[0-9_+=~-]*[A-Za-z])[A-Za-z0-9_+=~-]{8,}"
    r"|[A-Za-z]{20,}"
)


def item_without_keys(
    text: str, *, key: str | None, transaction_id: str | None, secrets: KnownSecrets
) -> str | None:
    """Return an item as it may be stored, or None if it is not kept.

    `key`: if it is known which of its texts is the key. `transaction_id` stays as it is, but for a
    token of ours in it.
    """
    # Whoever knows how a removed key looks must not be taken for its owner.
    if len(text) > MAX_ITEM_CHARACTERS or REMOVED_KEY.search(text):
        return None
    key = key.strip() if key else None

    def clean(value: str, *, is_named_like_a_key: bool = False) -> str:
        holds_key = key is not None and key in value
        if value == transaction_id and not (is_named_like_a_key or holds_key):
            return redact_text(value, secrets)
        value = QUERY.sub("?", value)
        if key and holds_key and len(key) >= MIN_SECRET_CHARACTERS:
            value = value.replace(key, _removed(key))
        if is_named_like_a_key:
            value = WORD.sub(_replace_match, value)
        elif key is None:
            value = KEY_SHAPE.sub(_replace_match, value)
        return redact_text(value, secrets).replace("\0", "\N{REPLACEMENT CHARACTER}")

    try:
        data = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        data = None
    if not isinstance(data, dict | list):
        return clean(text)
    # A line with its place is a text that may be JSON itself.
    if isinstance(data, dict) and isinstance(data.get("line"), str) and "file" in data:
        line = item_without_keys(
            data["line"], key=key, transaction_id=transaction_id, secrets=secrets
        )
        return None if line is None else msgspec.json.encode(data | {"line": line}).decode()
    return _cleaned_json(data, clean)


def call_with_removed_key(call: Call) -> Call:
    """Return a call of a kept item with the fingerprint that stands in its key's place."""
    found = REMOVED_KEY.fullmatch(call.key.text) if call.key else None
    if not found:
        return call
    return replace(call, key=None, fingerprint=found["fingerprint"], hint=found["hint"])


def _cleaned_json(value: Any, clean: Callable[..., str]) -> str | None:
    try:
        return msgspec.json.encode(_cleaned(value, clean)).decode()
    except RecursionError:  # read, but too deep to be looked through
        return None


def _cleaned(value: Any, clean: Callable[..., str], *, is_named_like_a_key: bool = False) -> Any:
    if isinstance(value, str):
        return clean(value, is_named_like_a_key=is_named_like_a_key)
    if isinstance(value, list):
        return [_cleaned(each, clean, is_named_like_a_key=is_named_like_a_key) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        clean(name): _cleaned(
            member, clean, is_named_like_a_key=is_named_like_a_key or bool(KEY_NAME.search(name))
        )
        for name, member in value.items()
    }


def _replace_match(found: "re.Match[str]") -> str:
    return found[0] if REMOVED_KEY.fullmatch(found[0]) else _removed(found[0])


def _removed(text: str) -> str:
    """Return what stands in place of a key; a public id stays, since it is no secret."""
    if public_id_fingerprint(text):
        return text
    ending = hint(text)
    return (
        f"removed-{fingerprint_hex(text)}-{ending if ending.isalnum() and ending.isascii() else ''}"
    )
