"""The native door: transactions in our own terms, and their receipts."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering import receipts
from metering.api import bodies, documentation
from metering.api.authentication import (
    LONGEST_WAIT,
    GatewayAuthentication,
    MayPost,
    MayRead,
    admission_of,
    token_of,
)
from metering.api.backlog import backlog
from metering.api.decoding import Decoder, Refused
from metering.ingestion import ONE_CALL, Call, take_in
from metering.receipts import Receipt
from metering.redaction import CallerKey, Withheld
from revcred.models import Assignment, Customer, Product, Source, Subscription
from revcred.postgresql import patience

MOST_METADATA = 4_096  # bytes, as JSON
DEEPEST_METADATA = 8
MOST_ELEMENTS = 50
MOST_DIGITS = 18  # of a quantity, before the point
MOST_QUANTITY = 10**MOST_DIGITS
FINEST_QUANTITY = Decimal("1e-9")

Name = Annotated[str, Meta(min_length=1, max_length=200)]
# As it was sent, so that no decimal is lost and no text passes for a number.
Quantity = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]
Size = Annotated[int, Meta(ge=0, le=2**63 - 1, description="In bytes.")]


class Posted(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One metered call. `key` or `subscription` is needed; the key itself is not kept."""

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
                max_length=1_000,
                description="What the caller came with: an API key, a client id, an alias.",
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    subscription: Name | UnsetType | None = UNSET
    source: Name | UnsetType | None = UNSET
    method: Annotated[str, Meta(max_length=20)] | UnsetType | None = UNSET
    path: Annotated[str, Meta(max_length=2_000)] | UnsetType | None = UNSET
    status: Annotated[int, Meta(ge=100, le=599)] | UnsetType | None = UNSET
    request_bytes: Size | UnsetType | None = UNSET
    response_bytes: Size | UnsetType | None = UNSET
    latency_ms: (
        Annotated[float, Meta(ge=0, le=1e12, description="In milliseconds.")] | UnsetType | None
    ) = UNSET
    elements: (
        Annotated[
            dict[Annotated[str, Meta(min_length=1, max_length=100)], Quantity],
            Meta(
                max_length=MOST_ELEMENTS,
                description="What is counted: names and quantities. Without any it is one call.",
            ),
        ]
        | UnsetType
        | None
    ) = UNSET
    metadata: (
        Annotated[dict[str, Any], Meta(description="Kept and shown. At most 4 KB.")]
        | UnsetType
        | None
    ) = UNSET


class Identified(Protocol):
    @property
    def transaction_id(self) -> str | None: ...


Item = TypeVar("Item", bound=Identified)

decoder = Decoder(Posted)


@dataclass(frozen=True)
class Window:
    """When a call may have happened to be taken now, by the database's clock."""

    oldest: datetime
    newest: datetime

    @classmethod
    def at(cls, now: datetime) -> "Window":
        return cls(
            now - timedelta(days=settings.OLDEST_TRANSACTION_DAYS),
            now + timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES),
        )

    def check(self, moment: datetime, field: str = "occurred_at") -> None:
        """Raises Refused."""
        if moment < self.oldest:
            oldest = f"It is more than {settings.OLDEST_TRANSACTION_DAYS} days ago."
            raise Refused(field, "too_old", oldest)
        if moment > self.newest:
            newest = f"It is more than {settings.NEWEST_TRANSACTION_MINUTES} minutes ahead."
            raise Refused(field, "too_new", newest)


def call_of(posted: Posted, window: Window) -> Call:
    """The call in the inbox's terms. Its key becomes a fingerprint when it is encoded.

    Raises Refused.
    """
    key = posted.key or None
    if key is None and not posted.subscription:
        raise Refused("key", "missing", "A key or a subscription is required.")
    occurred_at = posted.occurred_at
    window.check(occurred_at)
    return Call(
        transaction_id=posted.transaction_id,
        occurred_at=occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC),
        key=CallerKey(key) if key else None,
        subscription_named=posted.subscription or None,
        source_named=posted.source or None,
        method=posted.method or None,
        path=posted.path or None,
        status=posted.status,
        request_bytes=posted.request_bytes,
        response_bytes=posted.response_bytes,
        latency_ms=posted.latency_ms,
        elements=_quantities(posted.elements) if posted.elements else ONE_CALL,
        metadata=within_limits(posted.metadata) if posted.metadata else None,
    )


def _quantities(elements: dict[str, msgspec.Raw]) -> dict[str, int | Decimal]:
    return {name: _quantity(name, bytes(raw)) for name, raw in elements.items()}


def _quantity(name: str, raw: bytes) -> int | Decimal:
    """The number in its shortest form, so that 1.50 and 1.5 are the same content."""
    if raw.isdigit() and len(raw) <= MOST_DIGITS:
        return int(raw)
    if raw[:1] not in b"-0123456789":
        raise Refused(f"elements.{name}", "invalid", "A quantity is a number.")
    quantity = _exact(raw)
    if quantity is None or not 0 <= quantity < MOST_QUANTITY:
        message = "A quantity is zero or more and below 10^18."
        raise Refused(f"elements.{name}", "out_of_range", message)
    rounded = quantity.quantize(FINEST_QUANTITY)
    if rounded != quantity:
        message = "A quantity has at most nine decimal places."
        raise Refused(f"elements.{name}", "too_fine", message)
    return int(rounded) if rounded == int(rounded) else rounded.normalize()


def _exact(raw: bytes) -> Decimal | None:
    try:
        return Decimal(raw.decode())
    except InvalidOperation:  # an exponent of twenty digits
        return None


def within_limits(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(msgspec.json.encode(metadata)) > MOST_METADATA:
        message = f"It has more than {MOST_METADATA:,} bytes."
        raise Refused("metadata", "too_large", message)
    _look_through(metadata, DEEPEST_METADATA)
    return metadata


def _look_through(value: Any, levels: int) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        message = "A whole number in it does not fit 64 bits."
        raise Refused("metadata", "out_of_range", message)
    if isinstance(value, dict | list):
        if not levels:
            message = f"It is nested more than {DEEPEST_METADATA} levels deep."
            raise Refused("metadata", "too_deep", message)
        for each in value.values() if isinstance(value, dict) else value:
            _look_through(each, levels - 1)


class Transactions(APIView):
    """Where gateways post what they metered."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)

    @documentation.post_transactions(Posted)
    def post(self, request: Request) -> Response:
        admission = admission_of(request)
        backlog.check(admission.gateway.pk)
        read = read_in(bodies.read(request._request), request.headers.get("content-type", ""))
        calls, rejected = judge(read, taker(admission.now()))
        with patience(LONGEST_WAIT):
            delivery = take_in(
                admission.gateway,
                calls,
                withheld=Withheld(token_of(request.headers)),
                rejected=len(rejected),
            )
        backlog.add(admission.gateway.pk, len(calls))
        return Response(answer_of(delivery, calls, rejected), status=202)


def read_in(body: bytes, content_type: str) -> list[Posted | Refused]:
    """Raises Malformed, TooLarge."""
    return decoder.decode(body, content_type.partition(";")[0].strip().lower())


def taker(now: datetime) -> Callable[[Posted], Call]:
    return partial(call_of, window=Window.at(now))


def judge(
    items: Sequence[Item | Refused], call_of: Callable[[Item], Call]
) -> tuple[list[Call], list[dict[str, Any]]]:
    """The calls among them that are taken, and why the others are not."""
    calls, rejected = [], []
    for index, item in enumerate(items):
        try:
            if isinstance(item, Refused):
                raise item
            calls.append(call_of(item))
        except Refused as refused:
            rejected.append(_rejection(index, item, refused))
    return calls, rejected


def answer_of(
    delivery: UUID, calls: Sequence[Call], rejected: list[dict[str, Any]]
) -> dict[str, Any]:
    return {"delivery": delivery, "accepted": len(calls), "rejected": rejected}


def _rejection(index: int, item: Identified | Refused, refused: Refused) -> dict[str, Any]:
    return {
        "index": index,
        "transaction_id": item.transaction_id,
        "field": refused.field,
        "code": refused.code,
        "message": refused.message,
    }


class TransactionReceipt(APIView):
    """What became of one of the gateway's own transactions."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayRead,)

    @documentation.get_receipt
    def get(self, request: Request, transaction_id: str) -> Response:
        found = receipts.find_each(admission_of(request).gateway, transaction_id)
        if not found:
            message = (
                "This gateway sent no transaction of that id, or longer ago than is remembered."
            )
            raise NotFound(message)
        first, *others = map(_as_json, found)
        return Response(first | {"others_of_this_id": others})


def _as_json(receipt: Receipt) -> dict[str, Any]:
    return {
        "transaction_id": receipt.transaction_id,
        "gateway": receipt.gateway.name,
        "state": receipt.state,
        "reason": receipt.reason or None,
        "reason_text": receipt.reason_text or None,
        "matched_by": receipt.matched_by or None,
        "key_hint": receipt.hint or None,
        "credential": _credential(receipt),
        "assignment": _period(receipt.assignment),
        "subscription": _named(receipt.subscription),
        "customer": _named(receipt.customer),
        "product": _named(receipt.product),
        "source": _named(receipt.source),
        "subscription_named": receipt.subscription_named or None,
        "source_named": receipt.source_named or None,
        "method": receipt.method or None,
        "path": receipt.path or None,
        "status": receipt.status,
        "request_bytes": receipt.request_bytes,
        "response_bytes": receipt.response_bytes,
        "latency_ms": receipt.latency_ms,
        "elements": receipt.elements,
        "metadata": receipt.metadata,
        "names": receipt.names,
        "occurred_at": receipt.occurred_at,
        "received_at": receipt.received_at,
        "settled_at": receipt.settled_at,
        "history": [asdict(moment) for moment in receipt.history],
        "conflicts": [
            {"received_at": each.received_at, "content": each.content} for each in receipt.conflicts
        ],
    }


def _named(thing: Customer | Subscription | Product | Source | None) -> dict[str, str] | None:
    return None if thing is None else {"name": str(thing), "external_key": thing.external_key}


def _credential(receipt: Receipt) -> dict[str, Any] | None:
    credential = receipt.credential
    if credential is None:
        return None
    return {"id": credential.pk, "name": credential.name, "environment": credential.environment}


def _period(assignment: Assignment | None) -> dict[str, Any] | None:
    if assignment is None:
        return None
    return {
        "id": assignment.pk,
        "active_from": assignment.active_from,
        "active_until": assignment.active_until,
    }
