"""Questions that gateways ask before a call, and what is wrong with them."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import PermissionDenied

from metering.inbox.calls import strip_url_to_path
from metering.models import GatewayToken
from metering.verification.checking import CallAhead
from revcred.api.errors import MalformedRequest
from revcred.external_keys import KEY_TOO_LONG_MESSAGE, MAX_KEY_CHARACTERS, KeyTooLong, trim_key
from revcred.fingerprints import fingerprint
from revcred.public_ids import public_id_fingerprint

MAX_QUESTIONS = 1_000
SourceNamed = Callable[[str, datetime], str | None]
NameText = Annotated[str, Meta(min_length=1, max_length=200)]


class CheckQuestion(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A call that is about to be made. One of `key`, `id` and `subscription` is needed."""

    key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="What the caller sent as key.",
                extra_json_schema={"maxLength": MAX_KEY_CHARACTERS},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    id: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="A credential's public id, alias or client id, which the gateway "
                "has checked itself. Needs the scope `calls:vouch`.",
                extra_json_schema={"maxLength": MAX_KEY_CHARACTERS},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    subscription: (
        Annotated[
            NameText,
            Meta(
                description="Beside a key, the one that it has to be assigned to. Alone, it "
                "needs the scope `calls:vouch`."
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    source: NameText | UnsetType | None = UNSET
    path: Annotated[str, Meta(max_length=8_000)] | UnsetType | None = UNSET
    method: Annotated[str, Meta(max_length=20)] | UnsetType | None = UNSET


class InvalidQuestion(MalformedRequest):
    """A question that cannot be answered. `field` says where it is wrong."""

    def __init__(self, field: str, code: str, message: str, index: int | None = None) -> None:
        super().__init__(message, code)
        self.field, self.index = field, index


class CheckedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A question in revcred's terms, and what its receipt says of it."""

    call: CallAhead
    method: str
    path: str


_decode_one = msgspec.json.Decoder(CheckQuestion).decode
_decode_many = msgspec.json.Decoder(list[CheckQuestion]).decode


def decode_questions(body: bytes) -> tuple[list[CheckQuestion], bool]:
    """Return the questions of a body, and True if it is an array.

    Raises:
        MalformedRequest: the body is no question and no array of at most MAX_QUESTIONS.
    """
    is_many = body.lstrip()[:1] == b"["
    try:
        questions = _decode_many(body) if is_many else [_decode_one(body)]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _decoding_error(error) from None
    if not 1 <= len(questions) <= MAX_QUESTIONS:
        message = f"An array has 1 to {MAX_QUESTIONS:,} questions."
        raise MalformedRequest(message)
    return questions, is_many


def _decoding_error(error: Exception) -> MalformedRequest:
    """Return the error with the name of the field, which the body's own text never reaches."""
    if not isinstance(error, msgspec.ValidationError):
        return MalformedRequest("The body is no JSON.")
    text, _, place = str(error).rpartition(" - at `$")
    field = place.rstrip("`").rpartition(".")[2]
    if field in CheckQuestion.__struct_fields__:
        return InvalidQuestion(field, "invalid", f"{field}: {text}.")
    if "unknown field" in str(error):
        fields = ", ".join(CheckQuestion.__struct_fields__)
        return MalformedRequest(f"There is a field that no question has. Fields are: {fields}.")
    return MalformedRequest('The body is no question, such as {"key": "…"}.')


def read_question(
    question: CheckQuestion,
    *,
    gateway: int,
    at: datetime,
    scopes: frozenset[str],
    source_named: SourceNamed,
    index: int | None = None,
) -> CheckedCall:
    """Return the call that a question is about.

    Raises:
        InvalidQuestion: a field is wrong.
        PermissionDenied: it asks by an id or a subscription alone, and the token may not.
    """
    key, vouched = question.key or None, question.id or None
    name = question.subscription or None
    if (key and vouched) or not (key or vouched or name):
        message = "Give one of key, id and subscription; a subscription may stand beside a key."
        raise InvalidQuestion("key", "one_of", message, index)
    if not key and GatewayToken.Scope.VOUCH not in scopes:
        message = "This token may not ask by id or subscription: it lacks the scope calls:vouch."
        raise PermissionDenied(message, "not_allowed")
    source = question.source or None
    for field in ("key", "id", "subscription", "source", "path", "method"):
        if "\0" in (getattr(question, field) or ""):
            raise InvalidQuestion(field, "nul", f"{field}: it contains a NUL.", index)
    path = strip_url_to_path(question.path) if question.path else None
    return CheckedCall(
        call=CallAhead(
            gateway=gateway,
            at=at,
            **_identity_fields(key, vouched, index),
            subscription_named=name,
            source=known_source(source, source_named, at, index),
            path=path,
        ),
        method=question.method or "",
        path=path or "",
    )


def _identity_fields(key: str | None, vouched: str | None, index: int | None) -> dict[str, Any]:
    """Return the fields of a CallAhead that say whose it is."""
    field, text = ("key", key) if key else ("id", vouched)
    if not text:
        return {}
    trimmed = trimmed_key(text, field, index)
    if field == "id" and (found := public_id_fingerprint(trimmed)):
        return {"fingerprint": found, "public_id": trimmed, "may_be_alias": True}
    return {"fingerprint": fingerprint(trimmed), "may_be_alias": field == "id"}


def fingerprint_of(text: str, field: str) -> UUID:
    """Return the fingerprint of what a caller sent. Raises InvalidQuestion: empty or too long."""
    return fingerprint(trimmed_key(text, field))


def trimmed_key(text: str, field: str, index: int | None = None) -> str:
    """Return a key without the space around it. Raises InvalidQuestion: empty or too long."""
    try:
        trimmed = trim_key(text)
    except KeyTooLong:
        message = f"{field}: {KEY_TOO_LONG_MESSAGE}"
        raise InvalidQuestion(field, "too_long", message, index) from None
    if not trimmed:
        raise InvalidQuestion(field, "empty", f"{field}: it is empty.", index)
    return trimmed


def known_source(
    name: str | None, source_named: SourceNamed, at: datetime, index: int | None = None
) -> str | None:
    """Return the present external key of a named source. Raises InvalidQuestion: unknown."""
    if name is None:
        return None
    known = source_named(name, at)
    if known is None:
        message = "source: there is no source of this external key."
        raise InvalidQuestion("source", "unknown_source", message, index)
    return known
