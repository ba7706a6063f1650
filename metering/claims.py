"""Claim: judge again what waits in quarantine, when something appeared that it may belong to."""

import logging
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import Error, connection
from django.db.transaction import atomic
from django.utils import timezone

from metering import faults, statements
from metering.attribution import SETTLING
from metering.models import Claim, Quarantined, Reason

logger = logging.getLogger(__name__)

MOST = 2_000  # transactions judged again in one statement
FEWER = 40  # times, when that fails
LONG = 1.0  # seconds to find a transaction: then it is the search that takes long
ENOUGH = 40.0  # seconds; what is left then is taken up by the next bell
NIL = UUID(int=0)


def work() -> None:
    """Work through the open claims, the oldest first; another worker's are passed over."""
    enough = monotonic() + ENOUGH
    for pk in list(Claim.objects.open().order_by("pk").values_list("pk", flat=True)):
        _let_settlements_end()
        _work_through(pk, enough)


def _work_through(pk: int, enough: float) -> None:
    """A chunk that fails is tried again in smaller ones, and what fails alone is passed over."""
    most = MOST
    while monotonic() < enough:
        connection.ensure_connection()  # not to have one is no transaction's fault
        try:
            if not _step(pk, most):
                return
            most = min(2 * most, MOST)
        except Error as error:
            if faults.is_away(error):
                raise
            logger.warning("A claim failed, judging %d: %s", most, faults.name_of(error))
            if faults.is_contention(error) or (most == 1 and not _pass_over(pk, error)):
                return  # to be taken up with the next bell
            most = max(1, most // FEWER)


def _let_settlements_end() -> None:
    """A settlement under way may not have seen the change, and have yet to fill the quarantine."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SETTLING])


@atomic
def _step(pk: int, most: int | None = None) -> bool:
    """Judge one more chunk. False when there is no more to do, or another worker is doing it."""
    claim = Claim.objects.open().select_for_update(skip_locked=True).filter(pk=pk).first()
    if claim is None:
        return False
    looked_at, found, last = _execute(_statement(claim), claim, most=most or MOST)
    claim.note(looked_at=looked_at, found=found, last=last, at=timezone.now())
    return claim.finished_at is None


@atomic
def _pass_over(pk: int, error: Error) -> bool:
    """Name what the claim cannot judge as poison, which no other claim touches by itself.

    False if nothing can be said against it: the ledger's rows stay as they are.
    """
    claim = Claim.objects.open().select_for_update(skip_locked=True).filter(pk=pk).first()
    if claim is None or claim.correcting:
        return False
    began = monotonic()
    found = _execute(statements.next_waiting(_scope_of(claim)), claim)
    if not found or (faults.took_too_long(error) and monotonic() - began > LONG):
        return False
    poison = Quarantined.objects.filter(pk=found[0])
    poison.update(reason=Reason.POISON, error=faults.name_of(error))
    return True


def _execute(statement: str, claim: Claim, *, most: int = MOST) -> Any:
    """The statement's one row: looked at, of them with another owner, and the last one's id."""
    arguments: dict[str, Any] = {
        "claim": claim.pk,
        "after": claim.after or NIL,
        "most": most,
        "since": claim.since,
        "credential": claim.credential_id,
        "subscription": claim.subscription_id,
        "product": claim.product_id,
        "upload": claim.upload_id,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()


def _statement(claim: Claim) -> str:
    if claim.correcting:
        return statements.correct(_ledger_of(claim))
    return statements.claim(_scope_of(claim))


def _scope_of(claim: Claim) -> str:
    return f"({_concerned_by(claim)}) AND {statements.NOT_POISON}"


def _concerned_by(claim: Claim) -> str:
    if claim.upload_id:
        return statements.SCOPE_OF_UPLOAD
    if claim.credential_id:
        return statements.SCOPE_OF_CREDENTIAL
    if claim.subscription_id:
        return statements.SCOPE_OF_SUBSCRIPTION
    return statements.SCOPE_OF_PRODUCT if claim.product_id else "true"


def _ledger_of(claim: Claim) -> str:
    if claim.upload_id:
        return statements.LEDGER_OF_UPLOAD
    if claim.credential_id:
        return statements.LEDGER_OF_CREDENTIAL
    if claim.subscription_id:
        return statements.LEDGER_OF_SUBSCRIPTION
    return statements.LEDGER_OF_PRODUCT if claim.product_id else "true"
