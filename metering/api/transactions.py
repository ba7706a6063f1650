"""The native door: transactions in our own terms, and their receipts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from django.conf import settings
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import APIException, NotFound
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.api import bodies, documentation, facts
from metering.api.authentication import (
    LONGEST_WAIT,
    Admission,
    GatewayAuthentication,
    MayPost,
    MayRead,
    admission_of,
    token_of,
)
from metering.api.backlog import backlog
from metering.api.decoding import Decoder, Refused
from metering.api.doors import keep_all_rejected
from metering.inbox import rejections
from metering.inbox.calls import ONE_CALL, Call, marks_of
from metering.inbox.intake import take_in
from metering.inbox.redaction import Withheld
from metering.inbox.rejections import Rejected
from metering.ledger import receipts
from metering.ledger.receipts import Receipt
from metering.models import Rejection
from revcred.external_keys import MAX_KEY_CHARACTERS, KeyTooLong
from revcred.models import Assignment, Customer, Gateway, Product, Source, Subscription
from revcred.postgresql import patience

MOST_ELEMENTS = 50
MOST_DIGITS = 18  # of a quantity, before the point
MOST_QUANTITY = 10**MOST_DIGITS
FINEST_QUANTITY = Decimal("1e-9")

Name = Annotated[str, Meta(min_length=1, max_length=200)]
# As it was sent, so that no decimal is lost and no text passes for a number.
Quantity = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "number", "minimum": 0})]
Size = Annotated[int, Meta(ge=0, le=facts.MAX_SIZE, description="In bytes.")]
NULL = msgspec.Raw(b"null")
ADDRESS = "/v1/transactions"

_encode_exactly = msgspec.json.Encoder(decimal_format="number").encode


class Deciding(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a call is counted by: a wrong value of any of it rejects the call."""

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
    subscription: Name | UnsetType | None = UNSET
    source: Name | UnsetType | None = UNSET
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


class Posted(Deciding, kw_only=True):
    """One metered call. `key` or `subscription` is needed; the key itself is not kept.

    What it says beyond `Deciding` are facts: one that cannot be read is kept as metadata.
    """

    method: Annotated[str, Meta(max_length=facts.MAX_METHOD_CHARACTERS)] | UnsetType | None = UNSET
    path: Annotated[str, Meta(max_length=facts.MAX_PATH_CHARACTERS)] | UnsetType | None = UNSET
    status: Annotated[int, Meta(ge=100, le=599)] | UnsetType | None = UNSET
    request_bytes: Size | UnsetType | None = UNSET
    response_bytes: Size | UnsetType | None = UNSET
    latency_ms: (
        Annotated[float, Meta(ge=0, le=facts.MAX_LATENCY, description="In milliseconds.")]
        | UnsetType
        | None
    ) = UNSET
    metadata: (
        Annotated[dict[str, Any], Meta(description="Kept and shown. At most 4 KB.")]
        | UnsetType
        | None
    ) = UNSET


class Lenient(Deciding, kw_only=True):
    """The same call with its facts as they were sent."""

    method: msgspec.Raw = NULL
    path: msgspec.Raw = NULL
    status: msgspec.Raw = NULL
    request_bytes: msgspec.Raw = NULL
    response_bytes: msgspec.Raw = NULL
    latency_ms: msgspec.Raw = NULL
    metadata: msgspec.Raw = NULL


READS: dict[str, facts.Read] = {
    "method": facts.method,
    "path": facts.path,
    "status": facts.strict_status,
    "request_bytes": facts.size,
    "response_bytes": facts.size,
    "latency_ms": facts.latency,
}
FACTS = (*READS, "metadata")

_of_lenient = msgspec.json.Decoder(Lenient).decode


def read_leniently(raw: bytes) -> Posted:
    """The call without its odd facts, which are among its metadata. Raises msgspec.MsgspecError."""
    item = _of_lenient(raw)
    deciding = {name: getattr(item, name) for name in Deciding.__struct_fields__}
    said = {name: _value_of(getattr(item, name)) for name in FACTS}
    metadata = said.pop("metadata")
    odd = facts.odd_ones(said, READS)
    if not isinstance(metadata, dict | None):
        odd["metadata"] = facts.kept_as_said(metadata)
        metadata = None
    read = {name: facts.readable(READS[name], value) for name, value in said.items()}
    return Posted(**deciding, **read, metadata=facts.beside(metadata, odd))


def _value_of(raw: msgspec.Raw) -> Any:
    """What the JSON says, or its text where no number of ours can."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return bytes(raw).decode(errors="replace")


class Identified(Protocol):
    @property
    def transaction_id(self) -> str | None: ...


Item = TypeVar("Item", bound=Identified)

decoder = Decoder(Posted, facts=FACTS, leniently=read_leniently)


@dataclass(frozen=True)
class Window:
    """When a call may have happened to be counted, by the database's clock."""

    oldest: datetime
    newest: datetime
    days: int

    @classmethod
    def of(cls, gateway: Gateway, now: datetime) -> "Window":
        """The window of what this gateway sends now: the one place that knows how wide it is."""
        age = gateway.accepted_age
        ahead = timedelta(minutes=settings.NEWEST_TRANSACTION_MINUTES)
        return cls(now - age, now + ahead, age.days)

    def holds(self, moment: datetime) -> bool:
        return self.oldest <= moment <= self.newest

    def check(self, moment: datetime, field: str = "occurred_at") -> None:
        """Raises Refused."""
        if moment < self.oldest:
            raise Refused(field, "too_old", f"It is more than {self.days} days ago.")
        if moment > self.newest:
            newest = f"It is more than {settings.NEWEST_TRANSACTION_MINUTES} minutes ahead."
            raise Refused(field, "too_new", newest)


def checked_marks(field: str, key: str | None) -> dict[str, Any]:
    """What a call keeps of its key. Raises Refused."""
    try:
        return marks_of(key)
    except KeyTooLong as error:
        raise Refused(field, "too_long", str(error)) from error


def call_of(posted: Posted, window: Window) -> Call:
    """The call in the inbox's terms. Its key becomes a fingerprint when it is encoded.

    Raises Refused.
    """
    marks = checked_marks("key", posted.key or None)
    if not marks and not posted.subscription:
        raise Refused("key", "missing", "A key or a subscription is required.")
    occurred_at = posted.occurred_at
    window.check(occurred_at)
    return Call(
        transaction_id=posted.transaction_id,
        occurred_at=occurred_at if occurred_at.tzinfo is UTC else occurred_at.astimezone(UTC),
        subscription_named=posted.subscription or None,
        source_named=posted.source or None,
        method=posted.method or None,
        path=posted.path or None,
        status=posted.status,
        request_bytes=posted.request_bytes,
        response_bytes=posted.response_bytes,
        latency_ms=posted.latency_ms,
        elements=_quantities(posted.elements) if posted.elements else ONE_CALL,
        metadata=(facts.fitting(posted.metadata) or None) if posted.metadata else None,
        **marks,
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


class Transactions(APIView):
    """Where gateways post what they metered."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayPost,)

    @documentation.post_transactions(Posted)
    def post(self, request: Request) -> Response:
        admission = admission_of(request)
        backlog.check(admission.gateway.pk)
        withheld = Withheld(token_of(request.headers))
        try:
            read = read_in(bodies.read(request._request), request.headers.get("content-type", ""))
        except APIException as error:
            with patience(LONGEST_WAIT):
                keep_all_rejected(admission.gateway.pk, ADDRESS, error, withheld)
            raise
        calls, rejected = judge(read, taker(admission))
        with patience(LONGEST_WAIT):
            delivery = take_in(
                admission.gateway,
                calls,
                withheld=withheld,
                rejected=len(rejected),
            )
            rejections.keep(admission.gateway.pk, ADDRESS, rejected, withheld=withheld)
        backlog.add(admission.gateway.pk, len(calls))
        return Response(answer_of(delivery, calls, rejected), status=status_of(calls, rejected))


def read_in(body: bytes, content_type: str) -> list[Posted | Refused]:
    """Raises Malformed, TooLarge."""
    return decoder.decode(body, content_type.partition(";")[0].strip().lower())


def taker(admission: Admission) -> Callable[[Posted], Call]:
    return partial(call_of, window=Window.of(admission.gateway, admission.now()))


def judge(
    items: Sequence[Item | Refused], call_of: Callable[[Item], Call]
) -> tuple[list[Call], list[Rejected]]:
    """The calls among them that are taken, and why the others are not."""
    calls: list[Call] = []
    rejected: list[Rejected] = []
    for index, item in enumerate(items):
        try:
            if isinstance(item, Refused):
                raise item
            calls.append(call_of(item))
        except Refused as refused:
            rejected.append(_rejection(index, item, refused))
    return calls, rejected


def answer_of(
    delivery: UUID, calls: Sequence[Call], rejected: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    answer = {"delivery": delivery, "accepted": len(calls), "rejected": rejected}
    return answer if calls or not rejected else answer | why_nothing(rejected)


def status_of(calls: Sequence[Call], rejected: Sequence[Any]) -> int:
    """202 if anything was taken. Senders that look at the status alone learn that nothing was."""
    return 202 if calls or not rejected else 400


def why_nothing(rejected: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The first reason as the code and message of the whole, for who reads the senders' logs."""
    first = rejected[0]
    where = f"{first['field']}: " if first["field"] else ""
    return {"code": first["code"], "message": f"{where}{first['message']}"}


def _rejection(index: int, item: Any, refused: Refused) -> Rejected:
    rejected = Rejected(
        index=index,
        transaction_id=item.transaction_id,
        field=refused.field,
        code=refused.code,
        message=refused.message,
    )
    rejected.key = getattr(item, "key", None) or getattr(item, "subject", None) or None
    return rejected


class ExactRenderer(JSONRenderer):
    """Writes decimals as numbers with all their digits."""

    def render(self, data: Any, *args: Any, **named: Any) -> bytes:
        return b"" if data is None else _encode_exactly(data)


class TransactionReceipt(APIView):
    """What became of one of the gateway's own transactions."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayRead,)
    renderer_classes = (ExactRenderer,)

    @documentation.get_receipt
    def get(self, request: Request, transaction_id: str) -> Response:
        found = receipts.find_each(admission_of(request).gateway, transaction_id)
        if not found:
            rejection = rejections.latest(admission_of(request).gateway, transaction_id)
            if rejection is None:
                message = (
                    "This gateway sent no transaction of that id, or longer ago than is remembered."
                )
                raise NotFound(message)
            return Response(_why_rejected(rejection, transaction_id))
        first, *others = map(_as_json, found)
        return Response(first | {"others_of_this_id": others})


def _why_rejected(rejection: Rejection, transaction_id: str) -> dict[str, Any]:
    """What is known of a transaction that was not taken."""
    return {
        "transaction_id": transaction_id,
        "gateway": rejection.gateway.name,
        "state": "rejected",
        "reason": rejection.code,
        "reason_text": rejection.message,
        "field": rejection.field or None,
        "rejected_at": rejection.rejected_at,
    }


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
