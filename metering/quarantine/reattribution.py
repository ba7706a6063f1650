"""Re-attribution: work through claims, each a change that concerns transactions of the past.

A claim first judges the quarantine again, and moves out what now has an owner. If its change
reaches back, it then judges the ledger again, and writes corrections.
"""

import logging
from datetime import UTC, datetime, time
from time import monotonic
from typing import Any
from uuid import UUID

from django.db import Error, connection
from django.db.models import F
from django.db.transaction import atomic
from django.utils import timezone
from psycopg import sql

from metering import failures
from metering.attribution import slow_rules
from metering.attribution.processing import ensure_usable_connection
from metering.ledger.partitions import first_kept_day
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
from revcred.hooks import announce_change
from revcred.runtime.schema_version import code_version

logger = logging.getLogger(__name__)

MAX_TRANSACTIONS_PER_CLAIM_STEP = 2_000  # judged in one statement
CLAIM_STEP_DIVISOR = 40  # after each failed attempt the step is so many times smaller
# Of a single transaction whose attempt loses the connection or the process: another session may
# be the cause, so that a few such attempts prove nothing.
MAX_SINGLE_CLAIM_ATTEMPTS = 10
SLOW_SEARCH_SECONDS = 1.0  # slower than this, the search for a transaction is what times out
CLAIM_WORK_SECONDS = 40.0  # then the next bell continues
BEFORE_FIRST_ID = UUID(int=0)


def work_through_claims() -> None:
    """Work through the open claims, the oldest first, except those another worker has locked."""
    ensure_usable_connection()
    deadline = monotonic() + CLAIM_WORK_SECONDS
    for pk in list(Claim.objects.open().order_by("pk").values_list("pk", flat=True)):
        _wait_for_running_attributions()
        _work_through_claim(pk, deadline)


@atomic
def retry_poison_of_other_code() -> int:
    """Judge again what other code could not process, and return how many that are.

    An upgrade may have mended what they failed on. What fails again is this code's.
    """
    waiting = Quarantined.objects.filter(reason=QuarantineReason.POISON, released_at=None)
    # An error is what keeps claims away from poison.
    retried = waiting.exclude(error="").exclude(code_version=code_version()).update(error="")
    if retried:
        announce_change("revcred was upgraded", by=None)
    return retried


def _work_through_claim(pk: int, deadline: float) -> None:
    """Judge step after step, smaller ones after a failure and larger ones after a success.

    A transaction that fails alone is quarantined as poison.
    """
    step_size = MAX_TRANSACTIONS_PER_CLAIM_STEP
    while step_size and monotonic() < deadline:
        step_size = _judge_next_step(pk, step_size)


def _judge_next_step(pk: int, step_size: int) -> int:
    """Judge one step, and return the size of the next: 0 when the claim is over for now."""
    ensure_usable_connection()
    # Recorded and committed first: if this process dies, the next one knows.
    attempts = _record_claim_attempt(pk)
    if attempts is None:
        return 0
    largest = MAX_TRANSACTIONS_PER_CLAIM_STEP // CLAIM_STEP_DIVISOR ** (attempts - 1)
    step_size = max(1, min(step_size, largest))
    # More attempts than permitted without an outcome: the last one killed its process.
    if attempts > MAX_SINGLE_CLAIM_ATTEMPTS and _quarantine_next_as_poison(pk):
        return 1
    try:
        is_open = _judge_step(pk, step_size)
        return min(2 * step_size, MAX_TRANSACTIONS_PER_CLAIM_STEP) if is_open else 0
    except Error as error:
        if failures.is_unavailable(error):
            raise
        logger.warning(
            "A claim failed on a step of %d transactions: %s",
            step_size,
            failures.error_class(error),
        )
        has_to_wait = failures.is_contention(error) or failures.is_systemic(error)
        if has_to_wait or (failures.took_too_long(error) and _switch_off_slow_rules(pk, step_size)):
            # Nothing is wrong with the transactions. What has to wait is tried again by the next
            # bell, or the clock.
            Claim.objects.filter(pk=pk).update(attempts=F("attempts") - 1)
            return 0 if has_to_wait else step_size
        if step_size == 1:
            may_be_others_doing = (
                failures.connection_lost(error) and attempts < MAX_SINGLE_CLAIM_ATTEMPTS
            )
            return 0 if may_be_others_doing else int(_quarantine_next_as_poison(pk, error))
        return step_size


def _switch_off_slow_rules(pk: int, step_size: int) -> bool:
    """Switch off path rules that take long on the paths of a step; return True if any did."""
    claim = Claim.objects.get(pk=pk)
    condition = ledger_condition(claim) if claim.correcting else quarantine_condition(claim)
    return slow_rules.switch_off_rules_slow_on(
        statements.paths_in_scope_statement(condition, of_ledger=claim.correcting),
        claim_arguments(claim) | {"after": claim.after or BEFORE_FIRST_ID, "max_rows": step_size},
    )


def _record_claim_attempt(pk: int) -> int | None:
    """Record an attempt, and return the number of attempts since the last success.

    None if the claim is finished, or locked by another worker.
    """
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
    """Wait until the attributions that run now have committed.

    One that began before the claim's change judges without it, and may yet add to the quarantine
    what the claim would then have passed.
    """
    with atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ATTRIBUTION_LOCK])


@atomic
def _judge_step(pk: int, step_size: int | None = None) -> bool:
    """Judge the next transactions of a claim.

    Return False when it is finished, or locked by another worker.
    """
    claim = _lock_open_claim(pk)
    if claim is None:
        return False
    if claim.correcting:
        # Two claims, or a claim and a late part, could reverse the same row of the ledger.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CORRECTION_LOCK])
    looked_at, found, last = _execute_claim_statement(
        _statement_of_claim(claim), claim, max_rows=step_size or MAX_TRANSACTIONS_PER_CLAIM_STEP
    )
    claim.record_step(looked_at=looked_at, found=found, last=last, at=timezone.now())
    return claim.finished_at is None


@atomic
def _quarantine_next_as_poison(pk: int, error: Error | None = None) -> bool:
    """Give the next transaction of the claim the reason "poison", which other claims leave alone.

    Return False, and change nothing, if it cannot be to blame: rows of the ledger stay as they
    are, and a search that is slow by itself says nothing about what it looks for.
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
    Quarantined.objects.filter(pk=found[0]).update(
        reason=QuarantineReason.POISON, error=name, code_version=code_version()
    )
    claim.attempts = 0
    claim.save(update_fields=["attempts"])
    return True


def _execute_claim_statement(
    statement: str, claim: Claim, *, max_rows: int = MAX_TRANSACTIONS_PER_CLAIM_STEP
) -> Any:
    """Return the statement's row: number looked at, number that moved, and the last one's id."""
    arguments = claim_arguments(claim) | {
        "after": claim.after or BEFORE_FIRST_ID,
        "max_rows": max_rows,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return cursor.fetchone()


def claim_arguments(claim: Claim) -> dict[str, Any]:
    """Return the arguments of `quarantine_condition` and `ledger_condition`."""
    return {
        "claim": claim.pk,
        "since": claim.since,
        "credential": claim.credential_id,
        "subscription": claim.subscription_id,
        "product": claim.product_id,
        "upload": claim.upload_id,
        "first_kept_day": datetime.combine(first_kept_day(timezone.now()), time(tzinfo=UTC)),
    }


def _statement_of_claim(claim: Claim) -> str:
    if claim.correcting:
        return correction_statement(ledger_condition(claim))
    return statements.claim_statement(quarantine_condition(claim))


def quarantine_condition(claim: Claim) -> sql.Composable:
    """Return the condition for the rows `q` of the quarantine that the claim judges."""
    return sql.SQL("({}) AND {} AND {}").format(
        _quarantine_scope(claim), NOT_POISON, statements.LEDGER_KEEPS_ITS_DAY
    )


def _quarantine_scope(claim: Claim) -> sql.Composable:
    if claim.upload_id:
        return QUARANTINE_OF_UPLOAD
    if claim.credential_id:
        return QUARANTINE_OF_CREDENTIAL
    if claim.subscription_id:
        return QUARANTINE_OF_SUBSCRIPTION
    if claim.with_sources:
        return QUARANTINE_WITH_SOURCES
    return QUARANTINE_OF_PRODUCT if claim.product_id else sql.SQL("true")


def ledger_condition(claim: Claim) -> sql.Composable:
    """Return the condition for the rows `t` of the ledger that the claim judges again."""
    if claim.upload_id:
        return LEDGER_OF_UPLOAD
    if claim.credential_id:
        return LEDGER_OF_CREDENTIAL
    if claim.subscription_id:
        return LEDGER_OF_SUBSCRIPTION
    if claim.with_sources:
        return LEDGER_WITH_SOURCES
    return LEDGER_OF_PRODUCT if claim.product_id else sql.SQL("true")
