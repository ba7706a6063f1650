"""Claim: judge again what waits in quarantine, when something appeared that it may belong to."""

import logging
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import Error, connection
from django.db.models import F
from django.db.transaction import atomic
from django.utils import timezone

from metering import failures
from metering.attribution.processing import connect
from metering.locks import CORRECTING, SETTLING
from metering.models import Claim, Quarantined, Reason
from metering.quarantine import statements
from metering.quarantine.statements import (
    LEDGER_OF_CREDENTIAL,
    LEDGER_OF_PRODUCT,
    LEDGER_OF_SUBSCRIPTION,
    LEDGER_OF_UPLOAD,
    LEDGER_WITH_SOURCES,
    NOT_POISON,
    SCOPE_OF_CREDENTIAL,
    SCOPE_OF_PRODUCT,
    SCOPE_OF_SUBSCRIPTION,
    SCOPE_OF_UPLOAD,
    SCOPE_WITH_SOURCES,
    correct,
    next_waiting,
)

logger = logging.getLogger(__name__)

MOST = 2_000  # transactions judged again in one statement
FEWER = 40  # times, when that fails
TRIES_ALONE = 10  # of one that loses the connection or the process, which others may have done
LONG = 1.0  # seconds to find a transaction: then it is the search that takes long
ENOUGH = 40.0  # seconds; what is left then is taken up by the next bell
NIL = UUID(int=0)


def work() -> None:
    """Work through the open claims, the oldest first; another worker's are passed over."""
    connect()
    enough = monotonic() + ENOUGH
    for pk in list(Claim.objects.open().order_by("pk").values_list("pk", flat=True)):
        _let_settlements_end()
        _work_through(pk, enough)


def _work_through(pk: int, enough: float) -> None:
    """A chunk that fails is tried again in smaller ones, and what fails alone is passed over."""
    most = MOST
    while most and monotonic() < enough:
        most = _go_on(pk, most)


def _go_on(pk: int, most: int) -> int:
    """Judge one more chunk, and say how large the next may be: 0 when it is over for now."""
    connect()
    tries = _put_on_record(pk)
    if tries is None:
        return 0
    most = max(1, min(most, MOST // FEWER ** (tries - 1)))
    if tries > TRIES_ALONE and _pass_over(pk):  # nobody came back from the last one to say so
        return 1
    try:
        return min(2 * most, MOST) if _step(pk, most) else 0
    except Error as error:
        if failures.is_away(error):
            raise
        logger.warning("A claim failed, judging %d: %s", most, failures.name_of(error))
        if failures.is_contention(error):
            Claim.objects.filter(pk=pk).update(attempts=F("attempts") - 1)
            return 0  # to be taken up with the next bell, or tick of the clock
        if most == 1:
            may_be_others_doing = failures.is_lost(error) and tries < TRIES_ALONE
            return 0 if may_be_others_doing else int(_pass_over(pk, error))
        return most


def _put_on_record(pk: int) -> int | None:
    """How many tries that makes since one succeeded. None if it is over, or at work elsewhere."""
    with atomic():
        claim = _free(pk)
        if claim is None:
            return None
        claim.attempts = min(claim.attempts + 1, TRIES_ALONE + 1)
        claim.save(update_fields=["attempts"])
        return claim.attempts


def _free(pk: int) -> Claim | None:
    return Claim.objects.open().select_for_update(skip_locked=True).filter(pk=pk).first()


def _let_settlements_end() -> None:
    """A settlement under way may not have seen the change, and have yet to fill the quarantine."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SETTLING])


@atomic
def _step(pk: int, most: int | None = None) -> bool:
    """Judge one more chunk. False when there is no more to do, or another worker is doing it."""
    claim = _free(pk)
    if claim is None:
        return False
    if claim.correcting:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTING])
    looked_at, found, last = _execute(_statement(claim), claim, most=most or MOST)
    claim.note(looked_at=looked_at, found=found, last=last, at=timezone.now())
    return claim.finished_at is None


@atomic
def _pass_over(pk: int, error: Error | None = None) -> bool:
    """Name what the claim cannot judge as poison, which no other claim touches by itself.

    False if nothing can be said against it: the ledger's rows stay as they are.
    """
    claim = _free(pk)
    if claim is None or claim.correcting:
        return False
    began = monotonic()
    found = _execute(next_waiting(scope_of(claim)), claim)
    if not found or (error and failures.took_too_long(error) and monotonic() - began > LONG):
        return False
    name = failures.name_of(error) if error else failures.PROCESS_LOST
    Quarantined.objects.filter(pk=found[0]).update(reason=Reason.POISON, error=name)
    claim.attempts = 0
    claim.save(update_fields=["attempts"])
    return True


def _execute(statement: str, claim: Claim, *, most: int = MOST) -> Any:
    """The statement's one row: looked at, of them with another owner, and the last one's id."""
    arguments = arguments_of(claim) | {"after": claim.after or NIL, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()


def arguments_of(claim: Claim) -> dict[str, Any]:
    """What the conditions of `scope_of` and `ledger_of` name."""
    return {
        "claim": claim.pk,
        "since": claim.since,
        "credential": claim.credential_id,
        "subscription": claim.subscription_id,
        "product": claim.product_id,
        "upload": claim.upload_id,
    }


def _statement(claim: Claim) -> str:
    if claim.correcting:
        return correct(ledger_of(claim))
    return statements.claim(scope_of(claim))


def scope_of(claim: Claim) -> str:
    """The rows `q` of the quarantine that the claim judges, as a condition."""
    return f"({_concerned_by(claim)}) AND {NOT_POISON}"


def _concerned_by(claim: Claim) -> str:
    if claim.upload_id:
        return SCOPE_OF_UPLOAD
    if claim.credential_id:
        return SCOPE_OF_CREDENTIAL
    if claim.subscription_id:
        return SCOPE_OF_SUBSCRIPTION
    if claim.with_sources:
        return SCOPE_WITH_SOURCES
    return SCOPE_OF_PRODUCT if claim.product_id else "true"


def ledger_of(claim: Claim) -> str:
    """The rows `t` of the ledger that the claim judges again, as a condition."""
    if claim.upload_id:
        return LEDGER_OF_UPLOAD
    if claim.credential_id:
        return LEDGER_OF_CREDENTIAL
    if claim.subscription_id:
        return LEDGER_OF_SUBSCRIPTION
    if claim.with_sources:
        return LEDGER_WITH_SOURCES
    return LEDGER_OF_PRODUCT if claim.product_id else "true"
