"""What all of Revenium's doors share: one object in a body, leniently read, and their records."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

import msgspec
from msgspec.structs import replace
from rest_framework.exceptions import APIException

from metering.api import facts
from metering.api.decoding import ItemRejected, rejection_from_msgspec
from metering.api.doors import Answer, AnswerStyle, Dialect, GatewayPost, ParsedBody
from metering.api.quantities import decode_exact_values, exact_decimal
from metering.api.revenium import fields, idempotency
from metering.api.revenium.records import InvalidField, error_record, rate_limit_headers
from metering.api.transactions import AcceptanceWindow
from metering.inbox import calls
from metering.inbox.calls import Call
from metering.pairing.partial_transactions import PartialSide
from revcred.api.errors import MalformedRequest
from revcred.models import Gateway

JsonFields = Mapping[str, Any]
CLIENT_ID_FIELDS = ("transactionId", "requestId")
CLIENT_KEY_FIELDS = ("value", "application", "credential", "subscriberCredential", "clientId")
# By the names that clients send them under.
REVENIUM_FACT_READERS: Mapping[str, facts.FactReader] = {
    "responseCode": facts.read_status,
    **dict.fromkeys(("requestMessageSize", "responseMessageSize"), facts.read_size),
    **dict.fromkeys(
        (
            "backendLatency",
            "gatewayLatency",
            "elapsedTime",
            "totalDuration",
            "requestDuration",
            "durationMs",
        ),
        facts.read_latency,
    ),
    "method": facts.read_method,
    **dict.fromkeys(("url", "uri", "resource"), facts.read_text),
}
Item = TypeVar("Item", bound=msgspec.Struct)

NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_encode_call = msgspec.json.Encoder(decimal_format="number").encode


class ReveniumBody(msgspec.Struct, rename="camel", kw_only=True):
    """Nothing is required, and what is not known is passed over."""


class ReveniumAnswerStyle(AnswerStyle):
    def answer_error(self, error: APIException, path: str) -> Answer:
        return error_record(error, path)

    def gateway_headers(self, gateway: Gateway) -> Mapping[str, str]:
        return rate_limit_headers(gateway)


class ReveniumDialect(ReveniumAnswerStyle, Dialect, Generic[Item]):
    item: ClassVar[type[msgspec.Struct]]

    def __init__(self) -> None:
        self._decode = msgspec.json.Decoder(
            self.item, strict=False, float_hook=exact_decimal
        ).decode

    @abstractmethod
    def call_of(self, item: Any, said: JsonFields, post: GatewayPost) -> Call:
        """The call that `item` means, with what else was `said` of it. Raises ItemRejected."""

    def read(self, post: GatewayPost) -> ParsedBody:
        try:
            item = self.decoded(post.body)
            said = decode_exact_values(msgspec.Raw(post.body))
            call = keep_unreadable_facts(self.call_of(item, said, post), said)
            check_for_nul(call)
            side = self.side_of(item)
        except ItemRejected as rejection:
            raise InvalidField(rejection, *_id_and_key_in_body(post.body)) from rejection
        return ParsedBody([call], side=side)

    def process(self, post: GatewayPost) -> Answer:
        return idempotency.answer_once(post, super().process)

    def side_of(self, item: Any) -> PartialSide | None:
        """Which half of a call it is, if it is only half of one. Raises ItemRejected."""
        return None

    def decoded(self, body: bytes) -> Any:
        """Raises ItemRejected, MalformedRequest."""
        try:
            return self._decode(body)
        except msgspec.ValidationError as error:
            raise rejection_from_msgspec(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedRequest(f"The body is not JSON: {error}.") from error
        except RecursionError as error:
            raise MalformedRequest("The JSON is nested too deeply.", code="too_deep") from error


def _id_and_key_in_body(body: bytes) -> tuple[str | None, str | None]:
    """The id and the key of a call that is not taken, as far as they can be read."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    subscriber = said.get("subscriber")
    if isinstance(subscriber, dict) and isinstance(subscriber.get("credential"), dict):
        said = said | subscriber["credential"]
    return _first_text_field(said, CLIENT_ID_FIELDS), _first_text_field(said, CLIENT_KEY_FIELDS)


def _first_text_field(said: JsonFields, names: Iterable[str]) -> str | None:
    found = next((said[name] for name in names if said.get(name)), None)
    return str(found) if isinstance(found, str | int) else None


def key_fields_of(field: str, key: fields.TextValue) -> dict[str, Any]:
    """The key as a call has it, until it is encoded. Raises ItemRejected."""
    return calls.caller_key_field(fields.parse_key(field, key))


def transaction_id_or_new(field: str, said: fields.TextValue, post: GatewayPost) -> str:
    """With neither id nor idempotency key nothing tells it from a repeat. Raises ItemRejected."""
    return fields.parse_text(field, said, most=fields.MAX_ID_CHARACTERS) or new_transaction_id(post)


def new_transaction_id(post: GatewayPost) -> str:
    key = idempotency.idempotency_key_of(post)
    return str(idempotency.idempotency_digest(post, key) if key else uuid4())


def occurrence_fields(said: datetime | None, post: GatewayPost) -> dict[str, Any]:
    """When it happened: as said, or on arrival where nothing is said.

    Clients of these doors read no rejection: what is outside the window waits in quarantine.
    """
    if said is None:
        return {"occurred_at": post.now.astimezone(UTC), "undated": True}
    return {
        "occurred_at": said,
        "outside": not AcceptanceWindow.of(post.gateway, post.now).holds(said),
    }


def keep_unreadable_facts(
    call: Call, said: JsonFields, reads: Mapping[str, facts.FactReader] = REVENIUM_FACT_READERS
) -> Call:
    """The call with those facts among its metadata that could not be read."""
    if odd := facts.unreadable_facts(said, reads):
        call.metadata = facts.add_to_metadata(call.metadata, odd)
    return call


def check_for_nul(call: Call) -> None:
    """See that no text has a NUL. Of what decides nothing it is taken out. Raises ItemRejected."""
    if not NUL_ESCAPE.search(_encode_call(replace(call, key=None))):
        return
    call.method, call.path = facts.replace_nul(call.method), facts.replace_nul(call.path)
    call.metadata = facts.replace_nul(call.metadata)
    if NUL_ESCAPE.search(_encode_call(replace(call, key=None))):
        raise ItemRejected(None, "bad_text", "It contains a NUL character.")
