"""Receipts over the API: what became of one of the gateway's own transactions."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from metering.api import documentation
from metering.api.authentication import GatewayAuthentication, MayRead, admission_of
from metering.inbox import rejections
from metering.ledger import receipts
from metering.ledger.receipts import HistoryEntry, Receipt, ReceiptState
from metering.models import MatchedBy, QuarantineReason, Rejection
from metering.trial_calls import find_trial_receipts
from revcred.api.rendering import StructRenderer
from revcred.models import Assignment, Credential, Customer, Product, Source, Subscription

# One of the words of an enumeration of ours.
ReceiptStateText = Annotated[str, Meta(extra_json_schema={"enum": ReceiptState.values})]
QuarantineReasonText = Annotated[str, Meta(extra_json_schema={"enum": QuarantineReason.values})]
MatchedByText = Annotated[str, Meta(extra_json_schema={"enum": MatchedBy.values})]


class NamedObject(msgspec.Struct):
    """A customer, product, subscription or source: a name for people, a key for programs."""

    name: str
    external_key: str


class CredentialOfReceipt(msgspec.Struct):
    """The credential that a call came with."""

    id: int
    name: str
    environment: str


class AssignmentOfReceipt(msgspec.Struct):
    """The period in which the credential's calls are charged to the subscription."""

    id: int
    active_from: datetime
    active_until: datetime | None


class ConflictOfReceipt(msgspec.Struct):
    """Another content that was sent under the same id later, and changed nothing."""

    received_at: datetime
    content: dict[str, Any]


class TransactionReceipt(msgspec.Struct, kw_only=True):
    """The present state of a transaction. Sizes are in bytes, latency in milliseconds."""

    transaction_id: str
    gateway: str
    state: ReceiptStateText
    reason: QuarantineReasonText | None = None
    reason_text: str | None = None
    matched_by: MatchedByText | None = None
    key_hint: str | None = None
    credential: CredentialOfReceipt | None = None
    assignment: AssignmentOfReceipt | None = None
    subscription: NamedObject | None = None
    customer: NamedObject | None = None
    product: NamedObject | None = None
    source: NamedObject | None = None
    subscription_named: str | None = None
    source_named: str | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    request_bytes: int | None = None
    response_bytes: int | None = None
    latency_ms: float | None = None
    elements: Annotated[
        dict[str, Any], Meta(extra_json_schema={"additionalProperties": {"type": "number"}})
    ]
    metadata: dict[str, Any] | None = None
    names: dict[str, Any] | None = None
    occurred_at: datetime
    received_at: datetime
    attributed_at: datetime | None = None
    history: list[HistoryEntry] = msgspec.field(default_factory=list)
    conflicts: list[ConflictOfReceipt] = msgspec.field(default_factory=list)
    is_test: (
        Annotated[
            bool,
            Meta(description="True: it came with a test token, and was never counted."),
        ]
        | UnsetType
    ) = UNSET
    others_of_this_id: (
        Annotated[
            list["TransactionReceipt"],
            Meta(
                description="Receipts of other calls with the same id: where callers may choose "
                "ids, and for tools that a model called under the id of its answer."
            ),
        ]
        | UnsetType
    ) = UNSET


class RejectedReceipt(msgspec.Struct, kw_only=True):
    """The receipt of an id that was rejected and never accepted."""

    transaction_id: str
    gateway: str
    state: Literal["rejected"] = "rejected"
    reason: Annotated[str, Meta(description="The code of the rejection.")]
    reason_text: str
    field: str | None
    rejected_at: datetime


class TransactionReceiptView(APIView):
    """The view of the receipt of one of the gateway's own transactions."""

    authentication_classes = (GatewayAuthentication,)
    permission_classes = (MayRead,)
    renderer_classes = (StructRenderer,)

    @documentation.document_get_receipt(TransactionReceipt, RejectedReceipt)
    def get(self, request: Request, transaction_id: str) -> Response:
        # An accepted transaction first: a rejected attempt before it does not matter any more.
        admission = admission_of(request)
        # A test token sees test calls only, and any other token none of them.
        if admission.test_token:
            found = find_trial_receipts(admission.gateway, transaction_id)
        else:
            found = receipts.find_receipts(admission.gateway, transaction_id)
        if not found:
            rejection = (
                None
                if admission.test_token
                else rejections.latest_rejection(admission.gateway, transaction_id)
            )
            if rejection is None:
                message = "This gateway sent no transaction with that id, or sent it too long ago."
                raise NotFound(message)
            return Response(_rejected_receipt(rejection, transaction_id))
        first, *others = map(_transaction_receipt, found)
        first.others_of_this_id = others
        return Response(first)


def _rejected_receipt(rejection: Rejection, transaction_id: str) -> RejectedReceipt:
    """Return the receipt of a transaction that was rejected."""
    return RejectedReceipt(
        transaction_id=transaction_id,
        gateway=rejection.gateway.name,
        reason=rejection.code,
        reason_text=rejection.message,
        field=rejection.field or None,
        rejected_at=rejection.rejected_at,
    )


def _transaction_receipt(receipt: Receipt) -> TransactionReceipt:
    return TransactionReceipt(
        transaction_id=receipt.transaction_id,
        gateway=receipt.gateway.name,
        state=receipt.state.value,
        reason=receipt.reason or None,
        reason_text=receipt.reason_text or None,
        matched_by=receipt.matched_by or None,
        key_hint=receipt.hint or None,
        credential=_credential_of(receipt.credential),
        assignment=_assignment_of(receipt.assignment),
        subscription=_named(receipt.subscription),
        customer=_named(receipt.customer),
        product=_named(receipt.product),
        source=_named(receipt.source),
        subscription_named=receipt.subscription_named or None,
        source_named=receipt.source_named or None,
        method=receipt.method or None,
        path=receipt.path or None,
        status=receipt.status,
        request_bytes=receipt.request_bytes,
        response_bytes=receipt.response_bytes,
        latency_ms=receipt.latency_ms,
        elements=receipt.elements,
        metadata=receipt.metadata,
        names=receipt.names,
        occurred_at=receipt.occurred_at,
        received_at=receipt.received_at,
        attributed_at=receipt.attributed_at,
        history=receipt.history,
        is_test=receipt.is_test or UNSET,
        conflicts=[
            ConflictOfReceipt(received_at=each.received_at, content=each.content)
            for each in receipt.conflicts
        ],
    )


def _named(thing: Customer | Subscription | Product | Source | None) -> NamedObject | None:
    return None if thing is None else NamedObject(str(thing), thing.external_key)


def _credential_of(credential: Credential | None) -> CredentialOfReceipt | None:
    if credential is None:
        return None
    return CredentialOfReceipt(credential.pk, credential.name, credential.environment)


def _assignment_of(assignment: Assignment | None) -> AssignmentOfReceipt | None:
    if assignment is None:
        return None
    return AssignmentOfReceipt(assignment.pk, assignment.active_from, assignment.active_until)
