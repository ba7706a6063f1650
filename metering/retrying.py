"""Rejected items that are tried again: read as on arrival, by what holds now.

That may be another format or another accepted age. Items are kept without their keys; a text in a
key's place says which it was.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet
from django.db.transaction import atomic, on_commit
from django.utils import timezone
from msgspec.structs import replace
from rest_framework.exceptions import APIException

from metering import provisioning
from metering.api.dialects import GatewayPost
from metering.api.line_formats.compiled import LINE_ID_PREFIX
from metering.api.pipeline import rejection_from_error
from metering.api.registered_doors import DOORS
from metering.bells import inbox_bell
from metering.inbox.calls import Call, delivery_row
from metering.inbox.redaction import NOTHING_WITHHELD
from metering.inbox.rejected_items import REMOVED_KEY, call_with_removed_key
from metering.inbox.rejections import ItemRejection, redacted_rejection
from metering.models import Delivery, Rejection
from revcred.models import AuditEvent, Gateway, User

ID_REMOVED = ItemRejection(
    index=0,
    transaction_id=None,
    field="transaction_id",
    code="id_removed",
    message="Its id looked like a key and was not kept. Send it again from the gateway.",
)
NOT_ALONE = ItemRejection(
    index=0,
    transaction_id=None,
    field=None,
    code="not_alone",
    message="It is only a part of a call, or none. Send it again from the gateway.",
)
DIALECTS = {path: door.dialect for door in DOORS for path in door.paths}


@dataclass(frozen=True, kw_only=True)
class RetriedItems:
    """Outcome of trying rejected items again."""

    accepted: Sequence[tuple[Rejection, Call]]
    rejected: Sequence[tuple[Rejection, ItemRejection]]


def kept_items(gateway: Gateway, *, code: str = "") -> QuerySet[Rejection]:
    """Return the gateway's rejected items that are kept, those of one code if it is given."""
    kept = Rejection.objects.filter(gateway=gateway, item__isnull=False).order_by("pk")
    return kept.filter(code=code) if code else kept


def read_again(rejections: Iterable[Rejection], gateway: Gateway, now: datetime) -> RetriedItems:
    """Return what rejected items would be now. Nothing is written."""
    accepted, rejected = [], []
    for rejection in rejections:
        outcome = _read_one(rejection, gateway, now)
        if isinstance(outcome, Call):
            accepted.append((rejection, outcome))
        else:
            rejected.append((rejection, outcome))
    return RetriedItems(accepted=accepted, rejected=rejected)


@atomic
def retry_rejections(*, gateway: Gateway, code: str = "", by: User | None) -> RetriedItems:
    """Accept the rejected items that can be accepted now, and note why the others cannot.

    Accepted ones are no longer among the rejections. An item that its gateway sent again meanwhile
    is counted once.
    """
    # Locked, so that nobody else accepts the same ones at this moment.
    found = list(kept_items(gateway, code=code).select_for_update())
    outcome = read_again(found, gateway, timezone.now())
    calls = [call for _, call in outcome.accepted]
    if calls:
        provisioning.provision_named_in_calls(calls, NOTHING_WITHHELD)
        row = delivery_row(gateway.pk, calls, ids_from_callers=gateway.ids_from_callers)
        Delivery.objects.create(
            id=row.id, gateway_id=row.gateway_id, transactions=row.transactions, body=row.body
        )
        on_commit(inbox_bell.ring)
        Rejection.objects.filter(pk__in=[kept.pk for kept, _ in outcome.accepted]).delete()
    for rejection, told in outcome.rejected:
        rejection.field, rejection.code = told.field or "", told.code
        rejection.message = told.message
    Rejection.objects.bulk_update(
        [rejection for rejection, _ in outcome.rejected], ["field", "code", "message"]
    )
    details = {"retried": len(found), "accepted": len(calls)}
    AuditEvent.objects.record(AuditEvent.Verb.CHANGED, target=gateway, by=by, details=details)
    return outcome


def _read_one(rejection: Rejection, gateway: Gateway, now: datetime) -> Call | ItemRejection:
    dialect = DIALECTS.get(rejection.door)
    if dialect is None or rejection.item is None:
        return NOT_ALONE
    post = GatewayPost(
        gateway=gateway,
        path=rejection.door,
        headers={"content-type": dialect.item_media_type},
        body=rejection.item.encode(),
        now=now,
        token="",
    )
    try:
        reading = dialect.read(post)
    except APIException as error:
        return redacted_rejection(rejection_from_error(error), NOTHING_WITHHELD)
    if reading.rejected:
        return redacted_rejection(reading.rejected[0], NOTHING_WITHHELD)
    if len(reading.calls) != 1 or reading.side:
        return NOT_ALONE
    call = call_with_removed_key(reading.calls[0])
    if call.undated:
        call = replace(call, occurred_at=rejection.rejected_at)
    if call.transaction_id.startswith(LINE_ID_PREFIX) and rejection.transaction_id:
        # Its own was made of the line before the key was removed, and a repeat has the same.
        content = rejection.transaction_id.removeprefix(LINE_ID_PREFIX).partition("-")[0]
        return replace(call, transaction_id=rejection.transaction_id, content=content)
    return ID_REMOVED if REMOVED_KEY.search(call.transaction_id) else call
