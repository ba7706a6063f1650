"""The native door `/v1/transactions`: transactions in revcred's own terms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, UnsetType

from metering.api import documentation, facts
from metering.api.acceptance import acceptance_of, acceptance_status
from metering.api.decoding import ItemDecoder, ItemRejected
from metering.api.dialects import Answer, Dialect, GatewayPost, ParsedBody
from metering.inbox.calls import ONE_CALL, Call, caller_key_field, public_id_fields
from metering.inbox.quantities import (
    MAX_ELEMENT_NAME_CHARACTERS,
    MAX_ELEMENTS_PER_CALL,
    UncountableQuantity,
    parse_raw_quantity,
)
from metering.inbox.rejections import ItemRejection, RejectedItem
from revcred.external_keys import MAX_KEY_CHARACTERS, KeyTooLong
from revcred.models import Gateway
from revcred.public_ids import PUBLIC_ID_PATTERN

# As long as the columns of external keys: a longer one could name nothing.
ExternalKeyText = Annotated[str, Meta(min_length=1, max_length=200)]
# Empty where the gateway passes on a header that came back without one.
PublicIdText = Annotated[
    str,
    Meta(
        pattern=f"^({PUBLIC_ID_PATTERN})?$",
        description="The public id of the credential, which the gateway vouches for, such as after "
        "a check. It decides before a key, and must not be what a caller sends.",
    ),
]
# Raw bytes, since a float would lose decimals. `parse_raw_quantity` sees that they are a number.
RawQuantity = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]
SizeInBytes = Annotated[int, Meta(ge=0, le=facts.MAX_SIZE_BYTES, description="In bytes.")]
JSON_NULL = msgspec.Raw(b"null")
TRANSACTIONS_PATH = "/v1/transactions"


class DecisiveFields(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Fields that decide whose a call is and what it counts: a wrong one rejects the call."""

    transaction_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="Unique at the gateway. Sent again it is counted once.",
        ),
    ]
    occurred_at: Annotated[
        datetime, Meta(tz=True, description="When the call happened, with its time zone.")
    ]
    key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                description="What the caller came with: an API key, a client id, an alias. "
                "White space around it is no part of it.",
                extra_json_schema={"maxLength": MAX_KEY_CHARACTERS},
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    credential: PublicIdText | UnsetType | None = UNSET
    subscription: ExternalKeyText | UnsetType | None = UNSET
    source: ExternalKeyText | UnsetType | None = UNSET
    elements: (
        Annotated[
            dict[
                Annotated[str, Meta(min_length=1, max_length=MAX_ELEMENT_NAME_CHARACTERS)],
                RawQuantity,
            ],
            Meta(
                max_length=MAX_ELEMENTS_PER_CALL,
                description="What is counted: names and quantities. Without any it is one call.",
            ),
        ]
        | UnsetType
        | None
    ) = UNSET


class PostedTransaction(DecisiveFields, kw_only=True):
    """One metered call. `key`, `credential` or `subscription` is needed; no key is kept.

    Fields beyond those of `DecisiveFields` are facts: one that cannot be read is kept as metadata.
    """

    method: Annotated[str, Meta(max_length=facts.MAX_METHOD_CHARACTERS)] | UnsetType | None = UNSET
    path: Annotated[str, Meta(max_length=facts.MAX_PATH_CHARACTERS)] | UnsetType | None = UNSET
    status: Annotated[int, Meta(ge=100, le=599)] | UnsetType | None = UNSET
    request_bytes: SizeInBytes | UnsetType | None = UNSET
    response_bytes: SizeInBytes | UnsetType | None = UNSET
    latency_ms: (
        Annotated[float, Meta(ge=0, le=facts.MAX_LATENCY_MS, description="In milliseconds.")]
        | UnsetType
        | None
    ) = UNSET
    metadata: (
        Annotated[dict[str, Any], Meta(description="Kept and shown. At most 4 KB.")]
        | UnsetType
        | None
    ) = UNSET


class LenientTransaction(DecisiveFields, kw_only=True):
    """A metered call whose facts are left as they were sent."""

    method: msgspec.Raw = JSON_NULL
    path: msgspec.Raw = JSON_NULL
    status: msgspec.Raw = JSON_NULL
    request_bytes: msgspec.Raw = JSON_NULL
    response_bytes: msgspec.Raw = JSON_NULL
    latency_ms: msgspec.Raw = JSON_NULL
    metadata: msgspec.Raw = JSON_NULL


# Without these, an unreadable fact such as a latency of "0.3, 0.1" would reject its whole call.
FACT_READERS: dict[str, facts.FactReader] = {
    "method": facts.read_method,
    "path": facts.read_path,
    "status": facts.read_strict_status,
    "request_bytes": facts.read_size,
    "response_bytes": facts.read_size,
    "latency_ms": facts.read_latency,
}
# Metadata has no reader: any object is kept as it is.
FACT_FIELDS = (*FACT_READERS, "metadata")

_decode_leniently = msgspec.json.Decoder(LenientTransaction).decode


def read_leniently(raw: bytes) -> PostedTransaction:
    """Return the call with its unreadable facts moved to its metadata.

    Raises:
        msgspec.MsgspecError: one of the decisive fields is wrong.
    """
    item = _decode_leniently(raw)
    decisive = {name: getattr(item, name) for name in DecisiveFields.__struct_fields__}
    values = {name: _json_or_text(getattr(item, name)) for name in FACT_FIELDS}
    metadata = values.pop("metadata")
    unreadable = facts.unreadable_facts(values, FACT_READERS)
    # Metadata of another type, such as a text, is a fact that cannot be read like any other.
    if not isinstance(metadata, dict | None):
        unreadable["metadata"] = facts.as_metadata_value(metadata)
        metadata = None
    readable = {
        name: facts.read_or_none(FACT_READERS[name], value) for name, value in values.items()
    }
    return PostedTransaction(
        **decisive, **readable, metadata=facts.add_to_metadata(metadata, unreadable)
    )


def _json_or_text(raw: msgspec.Raw) -> Any:
    """Return the decoded JSON, or its text if it holds a number that msgspec cannot decode."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return bytes(raw).decode(errors="replace")


class HasTransactionId(Protocol):
    """An item that can be named in a rejection by its id."""

    @property
    def transaction_id(self) -> str | None: ...


Item = TypeVar("Item", bound=HasTransactionId)

transaction_decoder = ItemDecoder(PostedTransaction, facts=FACT_FIELDS, leniently=read_leniently)


@dataclass(frozen=True)
class AcceptanceWindow:
    """The period in which a call must have happened to be counted, by the database's clock."""

    oldest: datetime
    newest: datetime
    days: int

    @classmethod
    def for_gateway(cls, gateway: Gateway, now: datetime) -> "AcceptanceWindow":
        """Return the window for calls that this gateway sends now.

        Every door asks here, so that no two doors have windows of different width.
        """
        # An admin may let one gateway send older calls.
        return cls(*gateway.accepted_period(now), gateway.accepted_age.days)

    def contains(self, moment: datetime) -> bool:
        return self.oldest <= moment <= self.newest

    def check(self, moment: datetime, field: str = "occurred_at") -> None:
        """Accept a moment within the window; for any other raise ItemRejected with `field`."""
        if moment < self.oldest:
            raise ItemRejected(field, "too_old", f"It is more than {self.days} days ago.")
        if moment > self.newest:
            message = f"It is more than {settings.NEWEST_TRANSACTION_MINUTES} minutes ahead."
            raise ItemRejected(field, "too_new", message)


def checked_key_fields(field: str, key: str | None) -> dict[str, Any]:
    """Return the field of a call that holds its key, or nothing without a key.

    Raises:
        ItemRejected: the key is too long.
    """
    try:
        return caller_key_field(key)
    except KeyTooLong as error:
        raise ItemRejected(field, "too_long", str(error)) from error


def call_from_transaction(posted: PostedTransaction, window: AcceptanceWindow) -> Call:
    """Return a call in the inbox's terms. Its key becomes a fingerprint when it is encoded.

    Raises:
        ItemRejected: it says not whose it is, the moment is outside the window, or a quantity
            cannot be counted.
    """
    key_fields = checked_key_fields("key", posted.key or None)
    if posted.credential:
        key_fields |= public_id_fields(posted.credential)
    if not key_fields and not posted.subscription:
        raise ItemRejected("key", "missing", "A key or a subscription is required.")
    occurred_at = posted.occurred_at
    window.check(occurred_at)
    return Call(
        transaction_id=posted.transaction_id,
        # Most gateways send UTC already; converting costs time in the busiest function of the door.
        occurred_at=occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC),
        subscription_named=posted.subscription or None,
        source_named=posted.source or None,
        method=posted.method or None,
        path=posted.path or None,
        status=posted.status,
        request_bytes=posted.request_bytes,
        response_bytes=posted.response_bytes,
        latency_ms=posted.latency_ms,
        elements=_parse_quantities(posted.elements) if posted.elements else ONE_CALL,
        metadata=(facts.fit_metadata(posted.metadata) or None) if posted.metadata else None,
        **key_fields,
    )


def _parse_quantities(elements: dict[str, msgspec.Raw]) -> dict[str, int | Decimal]:
    quantities = {}
    for name, raw in elements.items():
        try:
            quantities[name] = parse_raw_quantity(bytes(raw))
        except UncountableQuantity as error:
            raise ItemRejected(f"elements.{name}", error.code, str(error)) from error
    return quantities


def accept_or_reject(
    items: Sequence[Item | ItemRejected], call_of: Callable[[Item], Call]
) -> tuple[list[Call], list[RejectedItem]]:
    """Return the accepted items as calls, and the rejections of the others with their index."""
    calls: list[Call] = []
    rejected: list[RejectedItem] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, ItemRejected):
                raise item
            calls.append(call_of(item))
        except ItemRejected as rejection:
            rejected.append(_rejection_of_item(index, item, rejection))
    return calls, rejected


def _rejection_of_item(index: int, item: Any, rejection: ItemRejected) -> RejectedItem:
    told = ItemRejection(
        index=index,
        transaction_id=item.transaction_id,
        field=rejection.field,
        code=rejection.code,
        message=rejection.message,
    )
    # Only the native door has `key`; a CloudEvent has its key in `subject`.
    key = getattr(item, "key", None) or getattr(item, "subject", None) or None
    return RejectedItem(told, key, _text_of_item(item))


def _text_of_item(item: Any) -> str | None:
    """Return an item as JSON, so that it can be tried again; None if it is no JSON by itself."""
    if isinstance(item, ItemRejected):
        return item.text
    return msgspec.json.encode(item).decode() if isinstance(item, msgspec.Struct) else None


class TransactionsDialect(Dialect):
    """Transactions in revcred's own terms."""

    documented = documentation.post_transactions(PostedTransaction)

    def read(self, post: GatewayPost) -> ParsedBody:
        window = AcceptanceWindow.for_gateway(post.gateway, post.now)
        make_call = partial(call_from_transaction, window=window)
        items = transaction_decoder.decode(post.body, post.media_type)
        return ParsedBody(*accept_or_reject(items, make_call))

    def answer(self, post: GatewayPost, reading: ParsedBody, delivery: UUID) -> Answer:
        body = acceptance_of(delivery, reading.calls, reading.rejected)
        return Answer(acceptance_status(reading.calls, reading.rejected), body)
