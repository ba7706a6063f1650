"""Erase people from stored calls: the part of an erasure that may take minutes.

The clock does it, in small transactions. What it is done for is a row until all has been read.
"""

import logging
import time

import msgspec
from django.db import OperationalError, connection
from django.db.models import F
from django.db.transaction import atomic, set_rollback
from psycopg.errors import QueryCanceled

from revcred.crypto import CannotUnseal
from revcred.hooks import steps_of_erasing
from revcred.models import AuditEvent, AuditVerb, PendingErasure, Subscriber, User
from revcred.personal_texts import PersonTexts
from revcred.postgresql.statement_timeouts import statement_timeout

logger = logging.getLogger(__name__)

MAX_STATEMENT_MILLISECONDS = 900_000


def queue_call_erasure(
    *, subscriber: Subscriber | None, user: User | None, texts: PersonTexts, by: User
) -> None:
    """Let the clock erase the person from stored calls, once this transaction is done."""
    erasure = PendingErasure.objects.create(subscriber=subscriber, user=user, requested_by=by)
    erasure.seal(texts)
    erasure.save(update_fields=["texts"])


def count_calls_to_change(texts: PersonTexts, *, seconds: float) -> int | None:
    """Return the number of stored calls that erasing changes, None if counting takes longer.

    It is done and taken back: there is no other way to know what it finds.
    """
    end, calls = time.monotonic() + seconds, 0
    try:
        with atomic(), connection.cursor() as cursor:
            for step in steps_of_erasing(texts):
                left = max(1, round((end - time.monotonic()) * 1_000))
                with statement_timeout(cursor, left):
                    calls += step()
            set_rollback(True)
    except OperationalError as error:
        if not isinstance(error.__cause__, QueryCanceled):
            raise
        return None
    return calls


def finish_erasures() -> None:
    """Erase from stored calls whoever waits for it. Interrupted, it goes on the next time."""
    for number in list(PendingErasure.objects.values_list("pk", flat=True)):
        try:
            erasure = PendingErasure.objects.get(pk=number)
            texts = msgspec.json.decode(erasure.unseal(), type=PersonTexts)
        except PendingErasure.DoesNotExist:  # another clock was quicker
            continue
        except CannotUnseal:
            logger.error("Erasure #%s waits: no key of FERNET_KEYS opens it.", number)  # noqa: TRY400 - the reason says it all
            continue
        for step in steps_of_erasing(texts):
            with (
                atomic(),
                connection.cursor() as cursor,
                statement_timeout(cursor, MAX_STATEMENT_MILLISECONDS),
            ):
                if changed := step():
                    PendingErasure.objects.filter(pk=erasure.pk).update(calls=F("calls") + changed)
        _finish(erasure)


@atomic
def _finish(erasure: PendingErasure) -> None:
    # Another clock may have come first.
    if done := PendingErasure.objects.select_for_update().filter(pk=erasure.pk).first():
        AuditEvent.objects.record(
            AuditVerb.ERASED,
            target=done.target,
            by=done.requested_by,
            details={"calls": done.calls},
        )
        done.delete()
