"""Claim: judge again what waits in quarantine, when something appeared that it may belong to."""

from time import monotonic
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.transaction import atomic
from django.utils import timezone

from metering import statements
from metering.attribution import SETTLING
from metering.models import Claim

MOST = 2_000  # transactions judged again in one statement
ENOUGH = 40.0  # seconds; what is left then is taken up by the next bell
NIL = UUID(int=0)


def work() -> None:
    """Work through the open claims, the oldest first; another worker's are passed over."""
    enough = monotonic() + ENOUGH
    for pk in list(Claim.objects.open().order_by("pk").values_list("pk", flat=True)):
        _let_settlements_end()
        while monotonic() < enough and _step(pk):
            pass


def _let_settlements_end() -> None:
    """A settlement under way may not have seen the change, and have yet to fill the quarantine."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SETTLING])


@atomic
def _step(pk: int) -> bool:
    """Judge one more chunk. False when there is no more to do, or another worker is doing it."""
    claim = Claim.objects.open().select_for_update(skip_locked=True).filter(pk=pk).first()
    if claim is None:
        return False
    looked_at, found, last = _execute(claim)
    claim.note(looked_at=looked_at, found=found, last=last, at=timezone.now())
    return claim.finished_at is None


def _execute(claim: Claim) -> tuple[int, int, UUID | None]:
    """How many were looked at, how many of them found another owner, and the last one's id."""
    arguments: dict[str, Any] = {
        "claim": claim.pk,
        "after": claim.after or NIL,
        "most": MOST,
        "since": claim.since,
        "credential": claim.credential_id,
        "subscription": claim.subscription_id,
        "product": claim.product_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(_statement(claim), arguments)
        looked_at, found, last = cursor.fetchone()
    return looked_at, found, last


def _statement(claim: Claim) -> str:
    if claim.correcting:
        return statements.correct(_ledger_of(claim))
    return statements.claim(_scope_of(claim))


def _scope_of(claim: Claim) -> str:
    if claim.credential_id:
        return statements.SCOPE_OF_CREDENTIAL
    if claim.subscription_id:
        return statements.SCOPE_OF_SUBSCRIPTION
    return statements.SCOPE_OF_PRODUCT if claim.product_id else "true"


def _ledger_of(claim: Claim) -> str:
    if claim.credential_id:
        return statements.LEDGER_OF_CREDENTIAL
    if claim.subscription_id:
        return statements.LEDGER_OF_SUBSCRIPTION
    return statements.LEDGER_OF_PRODUCT if claim.product_id else "true"
