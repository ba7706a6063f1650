"""Test calls: posted with a token that is marked so, judged at once, and never counted.

They reach neither inbox nor ledger, quarantine or usage, and provision nothing. Only the token of a
post decides that: no field of a body does.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from django.utils import timezone

from metering.attribution.hypothetical import HypotheticalCall, JudgedCall, judge_calls
from metering.inbox.calls import Call, encode_call
from metering.inbox.redaction import NOTHING_WITHHELD, WithheldSecrets
from metering.inbox.rejections import RejectedItem, redacted_rejection
from metering.ledger.receipts import HistoryEntry, Receipt, ReceiptState, receipt_fields_of_call
from metering.models import QuarantineReason, TrialCall
from revcred.models import (
    Assignment,
    Credential,
    Customer,
    ExternalKey,
    Gateway,
    Product,
    Source,
    Subscription,
)
from revcred.retention import delete_beyond, delete_in_batches

TRIAL_CALL_DAYS = 7
MAX_TRIAL_CALLS = 10_000  # kept in all
MAX_TRIAL_CALLS_PER_POST = 100  # kept; all are judged by the same rules as the first
MODELS_OF_VERDICT: dict[str, Any] = {
    "external_key": ExternalKey,
    "credential": Credential,
    "assignment": Assignment,
    "subscription": Subscription,
    "customer": Customer,
    "product": Product,
    "source": Source,
}


def keep_trial_calls(
    gateway: Gateway,
    token_id: int,
    calls: Sequence[Call],
    rejected: Sequence[RejectedItem],
    *,
    withheld: WithheldSecrets,
    at: datetime,
) -> UUID:
    """Judge the calls of a post with a test token, keep them for a week, and return the first's id.

    The first MAX_TRIAL_CALLS_PER_POST are kept.
    """
    rows = [
        TrialCall(
            gateway=gateway,
            token_id=token_id,
            transaction_id=call.transaction_id,
            received_at=at,
            call=_as_json(call),
            verdict=asdict(verdict),
        )
        for call, verdict in judge_unstored(
            gateway, calls[:MAX_TRIAL_CALLS_PER_POST], withheld=withheld
        )
    ]
    rows += [
        _rejected_call(gateway, token_id, item, withheld=withheld, at=at)
        for item in rejected[: MAX_TRIAL_CALLS_PER_POST - len(rows)]
    ]
    TrialCall.objects.bulk_create(rows)
    return rows[0].pk if rows else UUID(int=0)


def judge_unstored(
    gateway: Gateway, calls: Sequence[Call], *, withheld: WithheldSecrets = NOTHING_WITHHELD
) -> list[tuple[Call, JudgedCall]]:
    """Return each call as the inbox would store it, without its key, and the verdict on it."""
    stored = [
        msgspec.json.decode(encode_call(gateway.pk, call, withheld)[3], type=Call) for call in calls
    ]
    judged = judge_calls([_hypothetical(gateway, call) for call in stored])
    return list(zip(stored, judged, strict=True))


def find_trial_receipts(gateway: Gateway, transaction_id: str) -> list[Receipt]:
    """Return the receipts of this gateway's test calls of that id, the latest first."""
    found = TrialCall.objects.filter(gateway=gateway, transaction_id=transaction_id)
    return [receipt_of_trial(trial) for trial in found.exclude(call=None)]


def receipt_of_trial(trial: TrialCall) -> Receipt:
    """Return the receipt of a test call that was judged. What was deleted since then is None."""
    verdict = trial.verdict or {}
    call = msgspec.convert(trial.call, type=Call, strict=False)
    named = {
        name: model._base_manager.filter(pk=verdict.get(f"{name}_id")).first()
        for name, model in MODELS_OF_VERDICT.items()
        if verdict.get(f"{name}_id")
    }
    reason = verdict.get("reason") or ""
    said = f"Would wait: {QuarantineReason(reason).label}" if reason else "Would be charged"
    return Receipt(
        gateway=trial.gateway,
        state=ReceiptState.QUARANTINED if reason else ReceiptState.ATTRIBUTED,
        reason=reason,
        matched_by=verdict.get("matched_by") or "",
        received_at=trial.received_at,
        history=[
            HistoryEntry(at=trial.received_at, what=f"Received from {trial.gateway} as a test"),
            HistoryEntry(at=trial.received_at, what=f"{said}. Not counted: it is a test"),
        ],
        is_test=True,
        **named,
        **receipt_fields_of_call(call),
    )


def hypothetical_call_of(trial: TrialCall) -> HypotheticalCall:
    """Return what attribution looked at of a test call that was judged."""
    return _hypothetical(trial.gateway, msgspec.convert(trial.call, type=Call, strict=False))


def judged_call_of(trial: TrialCall) -> JudgedCall:
    """Return the verdict on a test call, as it was given on its arrival."""
    verdict = dict(trial.verdict or {})
    reason = verdict.pop("reason", None)
    return JudgedCall(reason=QuarantineReason(reason) if reason else None, **verdict)


def delete_old_trial_calls() -> None:
    """Delete test calls after TRIAL_CALL_DAYS, and the oldest over the limit."""
    before = timezone.now() - timedelta(days=TRIAL_CALL_DAYS)
    delete_in_batches(TrialCall.objects.filter(received_at__lt=before))
    delete_beyond(TrialCall.objects.all(), MAX_TRIAL_CALLS, by="received_at")


def _hypothetical(gateway: Gateway, call: Call) -> HypotheticalCall:
    return HypotheticalCall(
        gateway_id=gateway.pk,
        occurred_at=call.occurred_at,
        fingerprint=UUID(call.fingerprint) if call.fingerprint else None,
        subscription_named=call.subscription_named,
        source_named=call.source_named,
        path=call.path,
        names=call.names,
        outside=call.outside,
    )


def _as_json(call: Call) -> Any:
    return msgspec.json.decode(msgspec.json.encode(call))


def _rejected_call(
    gateway: Gateway,
    token_id: int,
    item: RejectedItem,
    *,
    withheld: WithheldSecrets,
    at: datetime,
) -> TrialCall:
    told = redacted_rejection(item, withheld)
    return TrialCall(
        gateway=gateway,
        token_id=token_id,
        transaction_id=told.transaction_id or "",
        received_at=at,
        rejection={"code": told.code, "field": told.field or "", "message": told.message},
    )
