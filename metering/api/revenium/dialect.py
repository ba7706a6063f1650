"""Base of Revenium's doors: one JSON object a body, read leniently, and Revenium's own answers.

Their clients are many, old and never updated: they send numbers as text, leave fields out, and read
no error. So nothing is required that a call can be counted without.
"""

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
from metering.api.dialects import Answer, AnswerStyle, Dialect, GatewayPost, ParsedBody
from metering.api.quantities import decode_exact_values, exact_decimal
from metering.api.revenium import fields, idempotency, labels
from metering.api.revenium.records import InvalidField, error_record, rate_limit_headers
from metering.api.transactions import AcceptanceWindow
from metering.inbox import calls
from metering.inbox.calls import Call
from metering.inbox.intake import Steps
from metering.pairing.partial_transactions import PartialSide
from revcred.api.errors import MalformedRequest
from revcred.models import Gateway

JsonFields = Mapping[str, Any]
# Fields in which some client sends an id or a key: for a rejected body that no struct fits.
CLIENT_ID_FIELDS = ("transactionId", "requestId")
CLIENT_KEY_FIELDS = ("value", "application", "credential", "subscriberCredential", "clientId")
# By the field names of clients, which differ from door to door.
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

# A NUL as JSON writes it. After an odd number of backslashes it is plain text.
NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

_encode_call = msgspec.json.Encoder(decimal_format="number").encode


class ReveniumBody(msgspec.Struct, rename="camel", kw_only=True):
    """A posted object. No field is required, and unknown fields are ignored."""


class ReveniumAnswerStyle(AnswerStyle):
    """Errors as Revenium's error records, and its rate limit headers on every answer."""

    def answer_error(self, error: APIException, path: str) -> Answer:
        return error_record(error, path)

    def gateway_headers(self, gateway: Gateway) -> Mapping[str, str]:
        return rate_limit_headers(gateway)


class ReveniumDialect(ReveniumAnswerStyle, Dialect, Generic[Item]):
    """A dialect whose body is one call, decoded into `item`."""

    item: ClassVar[type[msgspec.Struct]]
    # Only listed labels are kept, since any other text may be a prompt.
    keeps_labels_only: ClassVar[bool] = False

    def __init__(self) -> None:
        # Not strict: `"200"` is a status, too. `exact_decimal` keeps all digits of money.
        self._decode = msgspec.json.Decoder(
            self.item, strict=False, float_hook=exact_decimal
        ).decode

    @abstractmethod
    def call_of(self, item: Any, data: JsonFields, post: GatewayPost) -> Call:
        """Return the call of an item; `data` is the same object with all its fields.

        Raises:
            ItemRejected: a decisive field is wrong.
        """

    def read(self, post: GatewayPost) -> ParsedBody:
        try:
            # Twice: typed for the fields that have a meaning, and whole for labels and elements.
            item = self.decode_item(post.body)
            data = decode_exact_values(msgspec.Raw(post.body))
            call = self.call_of(item, data, post)
            keep_unreadable_facts(call, data, only_labels=self.keeps_labels_only)
            check_for_nul(call)
            side = self.side_of(item)
        except ItemRejected as rejection:
            # What may hold a prompt is not kept, not even to be tried again.
            text = None if self.keeps_labels_only else post.body.decode(errors="replace")
            raise InvalidField(rejection, *_id_and_key_in_body(post.body), text=text) from rejection
        return ParsedBody([call], side=side)

    def process(self, post: GatewayPost) -> Steps[Answer]:
        # Around everything: a repeat must neither provision nor store anything again.
        return idempotency.answer_once(post, super().process)

    def side_of(self, item: Any) -> PartialSide | None:
        """Return the side of a partial transaction, or None if the call is whole.

        Raises:
            ItemRejected: the item names a side that there is not.
        """
        return None

    def decode_item(self, body: bytes) -> Any:
        """Return the typed item of a body. Raises ItemRejected, MalformedRequest."""
        try:
            return self._decode(body)
        except msgspec.ValidationError as error:
            raise rejection_from_msgspec(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedRequest(f"The body is not JSON: {error}.") from error
        except RecursionError as error:
            raise MalformedRequest("The JSON is nested too deeply.", code="too_deep") from error


def _id_and_key_in_body(body: bytes) -> tuple[str | None, str | None]:
    """Return id and key of a rejected call as far as they can be read.

    The id is shown to the operator. The key is only needed to cut it out of what is stored.
    """
    try:
        data = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    subscriber = data.get("subscriber")
    if isinstance(subscriber, dict) and isinstance(subscriber.get("credential"), dict):
        data = data | subscriber["credential"]
    return _first_text_field(data, CLIENT_ID_FIELDS), _first_text_field(data, CLIENT_KEY_FIELDS)


def _first_text_field(data: JsonFields, names: Iterable[str]) -> str | None:
    value = next((data[name] for name in names if data.get(name)), None)
    return str(value) if isinstance(value, str | int) else None


def key_fields_of(field: str, key: fields.TextValue) -> dict[str, Any]:
    """Return the field of a call that holds its key, or nothing without a key.

    Raises:
        ItemRejected: the key is too long, or has a NUL.
    """
    return calls.caller_key_field(fields.parse_key(field, key))


def transaction_id_or_new(field: str, value: fields.TextValue, post: GatewayPost) -> str:
    """Return the id that a client sent, or a new one. Raises ItemRejected with `field`."""
    transaction_id = fields.parse_text(field, value, max_characters=fields.MAX_ID_CHARACTERS)
    return transaction_id or new_transaction_id(post)


def new_transaction_id(post: GatewayPost) -> str:
    """Return an id for a call that came without one.

    With an idempotency key a repeat gets the same id. Without one nothing can tell a repeat from
    another call, so that each post is a call of its own.
    """
    key = idempotency.idempotency_key_of(post)
    return idempotency.id_under(post, key) if key else str(uuid4())


def occurrence_fields(moment: datetime | None, post: GatewayPost) -> dict[str, Any]:
    """Return the fields of a call that say when it happened: the moment sent, or its arrival.

    Clients of these doors do not read rejections. A call outside the acceptance window is therefore
    accepted and waits in quarantine for an admin.
    """
    if moment is None:
        return {"occurred_at": post.now.astimezone(UTC), "undated": True}
    return {
        "occurred_at": moment,
        "outside": not AcceptanceWindow.for_gateway(post.gateway, post.now).contains(moment),
    }


def keep_unreadable_facts(call: Call, data: JsonFields, *, only_labels: bool) -> None:
    """Add the unreadable facts of a call to its metadata; `only_labels` leaves out content."""
    unreadable = facts.unreadable_facts(data, REVENIUM_FACT_READERS)
    if only_labels:
        # A fact's name is a listed one: what may stand under it is what a label may be.
        labelled = labels.kept_labels(data, unreadable)
        unreadable = {name: unreadable[name] for name in labelled}
    if unreadable:
        call.metadata = facts.add_to_metadata(call.metadata, unreadable)


def check_for_nul(call: Call) -> None:
    """Replace each NUL in the facts and metadata of a call; PostgreSQL cannot store it.

    Raises:
        ItemRejected: a decisive text has a NUL: another text would be another customer's.
    """
    # Encoding the whole call looks at all texts at any depth, and takes microseconds.
    if not NUL_ESCAPE.search(_encode_call(replace(call, key=None))):
        return
    call.method, call.path = facts.replace_nul(call.method), facts.replace_nul(call.path)
    call.metadata = facts.replace_nul(call.metadata)
    if NUL_ESCAPE.search(_encode_call(replace(call, key=None))):
        raise ItemRejected(None, "bad_text", "It contains a NUL character.")
