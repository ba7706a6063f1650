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
from metering.attribution.processing import ensure_usable_connection
from metering.locks import ATTRIBUTION_LOCK, CORRECTION_LOCK
from metering.models import Claim, Quarantined, QuarantineReason
from metering.quarantine import statements
from metering.quarantine.statements import (
    LEDGER_OF_CREDENTIAL,
    LEDGER_OF_PRODUCT,
    LEDGER_OF_SUBSCRIPTION,
    LEDGER_OF_UPLOAD,
    LEDGER_WITH_SOURCES,
    NOT_POISON,
    QUARANTINE_OF_CREDENTIAL,
    QUARANTINE_OF_PRODUCT,
    QUARANTINE_OF_SUBSCRIPTION,
    QUARANTINE_OF_UPLOAD,
    QUARANTINE_WITH_SOURCES,
    correction_statement,
    first_in_scope_statement,
)

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_CLAIM_STEP = 2_000  # transactions judged again in one statement
CLAIM_STEP_DIVISOR = 40  # times, when that fails
MAX_SINGLE_CLAIM_ATTEMPTS = (
    10  # of one that loses the connection or the process, which others may have done
)
SLOW_SEARCH_SECONDS = 1.0  # seconds to find a transaction: then it is the search that takes long
CLAIM_WORK_SECONDS = 40.0  # seconds; what is left then is taken up by the next bell
BEFORE_FIRST_ID = UUID(int=0)


def work_through_claims() -> None:
    """Work through the open claims, the oldest first; another worker's are passed over."""
    ensure_usable_connection()
    enough = monotonic() + CLAIM_WORK_SECONDS
    for pk in list(Claim.objects.open().order_by("pk").values_list("pk", flat=True)):
        _wait_for_running_attributions()
        _work_through_claim(pk, enough)


def _work_through_claim(pk: int, enough: float) -> None:
    """A chunk that fails is tried again in smaller ones, and what fails alone is passed over."""
    most = MAX_TRANSACTIONS_PER_CLAIM_STEP
    while most and monotonic() < enough:
        most = _judge_next_step(pk, most)


def _judge_next_step(pk: int, most: int) -> int:
    """Judge one more chunk, and say how large the next may be: 0 when it is over for now."""
    ensure_usable_connection()
    tries = _record_claim_attempt(pk)
    if tries is None:
        return 0
    most = max(1, min(most, MAX_TRANSACTIONS_PER_CLAIM_STEP // CLAIM_STEP_DIVISOR ** (tries - 1)))
    if tries > MAX_SINGLE_CLAIM_ATTEMPTS and _quarantine_next_as_poison(
        pk
    ):  # nobody came back from the last one to say so
        return 1
    try:
        return min(2 * most, MAX_TRANSACTIONS_PER_CLAIM_STEP) if _judge_step(pk, most) else 0
    except Error as error:
        if failures.is_unavailable(error):
            raise
        logger.warning("A claim failed, judging %d: %s", most, failures.error_class(error))
        if failures.is_contention(error):
            Claim.objects.filter(pk=pk).update(attempts=F("attempts") - 1)
            return 0  # to be taken up with the next bell, or tick of the clock
        if most == 1:
            may_be_others_doing = (
                failures.connection_lost(error) and tries < MAX_SINGLE_CLAIM_ATTEMPTS
            )
            return 0 if may_be_others_doing else int(_quarantine_next_as_poison(pk, error))
        return most


def _record_claim_attempt(pk: int) -> int | None:
    """How many tries that makes since one succeeded. None if it is over, or at work elsewhere."""
    with atomic():
        claim = _lock_open_claim(pk)
        if claim is None:
            return None
        claim.attempts = min(claim.attempts + 1, MAX_SINGLE_CLAIM_ATTEMPTS + 1)
        claim.save(update_fields=["attempts"])
        return claim.attempts


def _lock_open_claim(pk: int) -> Claim | None:
    return Claim.objects.open().select_for_update(skip_locked=True).filter(pk=pk).first()


def _wait_for_running_attributions() -> None:
    """A settlement under way may not have seen the change, and have yet to fill the quarantine."""
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ATTRIBUTION_LOCK])


@atomic
def _judge_step(pk: int, most: int | None = None) -> bool:
    """Judge one more chunk. False when there is no more to do, or another worker is doing it."""
    claim = _lock_open_claim(pk)
    if claim is None:
        return False
    if claim.correcting:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTION_LOCK])
    looked_at, found, last = _execute_claim_statement(
        _statement_of_claim(claim), claim, most=most or MAX_TRANSACTIONS_PER_CLAIM_STEP
    )
    claim.note(looked_at=looked_at, found=found, last=last, at=timezone.now())
    return claim.finished_at is None


@atomic
def _quarantine_next_as_poison(pk: int, error: Error | None = None) -> bool:
    """Name what the claim cannot judge as poison, which no other claim touches by itself.

    False if nothing can be said against it: the ledger's rows stay as they are.
    """
    claim = _lock_open_claim(pk)
    if claim is None or claim.correcting:
        return False
    began = monotonic()
    found = _execute_claim_statement(first_in_scope_statement(quarantine_condition(claim)), claim)
    if not found or (
        error and failures.took_too_long(error) and monotonic() - began > SLOW_SEARCH_SECONDS
    ):
        return False
    name = failures.error_class(error) if error else failures.PROCESS_LOST
    Quarantined.objects.filter(pk=found[0]).update(reason=QuarantineReason.POISON, error=name)
    claim.attempts = 0
    claim.save(update_fields=["attempts"])
    return True


def _execute_claim_statement(
    statement: str, claim: Claim, *, most: int = MAX_TRANSACTIONS_PER_CLAIM_STEP
) -> Any:
    """The statement's one row: looked at, of them with another owner, and the last one's id."""
    arguments = claim_arguments(claim) | {"after": claim.after or BEFORE_FIRST_ID, "most": most}
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()


def claim_arguments(claim: Claim) -> dict[str, Any]:
    """What the conditions of `quarantine_condition` and `ledger_condition` name."""
    return {
        "claim": claim.pk,
        "since": claim.since,
        "credential": claim.credential_id,
        "subscription": claim.subscription_id,
        "product": claim.product_id,
        "upload": claim.upload_id,
    }


def _statement_of_claim(claim: Claim) -> str:
    if claim.correcting:
        return correction_statement(ledger_condition(claim))
    return statements.claim_statement(quarantine_condition(claim))


def quarantine_condition(claim: Claim) -> str:
    """The rows `q` of the quarantine that the claim judges, as a condition."""
    return f"({_quarantine_scope(claim)}) AND {NOT_POISON}"


def _quarantine_scope(claim: Claim) -> str:
    if claim.upload_id:
        return QUARANTINE_OF_UPLOAD
    if claim.credential_id:
        return QUARANTINE_OF_CREDENTIAL
    if claim.subscription_id:
        return QUARANTINE_OF_SUBSCRIPTION
    if claim.with_sources:
        return QUARANTINE_WITH_SOURCES
    return QUARANTINE_OF_PRODUCT if claim.product_id else "true"


def ledger_condition(claim: Claim) -> str:
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
