"""Intake: commit a delivery to the inbox, where nothing can lose it, and ring the bell."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from metering.bells import inbox_bell
from metering.inbox.calls import (
    Call,
    SingleCallRow,
    delivery_row,
    single_call_row,
)
from metering.inbox.group_commit import DeliveryRow, GroupCommit, delivery_group_commit
from metering.inbox.redaction import NOTHING_WITHHELD, WithheldSecrets
from revcred.models import Gateway

T = TypeVar("T")

# Work in steps: each that may wait for the database or the disk is yielded as a function, whose
# result or error comes back. So a thread can run all steps, and the server can move those that
# need a query out of its event loop.
Step = Callable[[], Any]
Steps = Generator[Step, Any, T]


@dataclass(frozen=True)
class CommitDelivery:
    """The step that commits a delivery, and returns the id of what it is stored in.

    Called, it joins the group commit of this process's threads. The server's event loop does not
    call it, and commits `row` in a group of its own, where small ones of a gateway become one.
    """

    row: DeliveryRow

    def __call__(self) -> UUID:
        delivery_group_commit.commit(self.row)
        return self.row.id


def accept_steps(
    gateway: Gateway | int,
    calls: Sequence[Call],
    *,
    withheld: WithheldSecrets = NOTHING_WITHHELD,
    rejected: int = 0,
    passed_over: int = 0,
) -> Steps[UUID]:
    """Commit the calls of one POST to the inbox, and return the delivery's id.

    `rejected` and `passed_over` count the items of the POST that are not among the calls.

    Raises:
        django.db.DatabaseError: the database is unavailable; sending the POST again is safe.
    """
    # A step: if a text of a call holds its key, the database is asked whether the key is also the
    # name of a customer or source, which must stay.
    row = yield partial(
        delivery_row,
        gateway if isinstance(gateway, int) else gateway.pk,
        calls,
        withheld=withheld,
        rejected=rejected,
        passed_over=passed_over,
        ids_from_callers=not isinstance(gateway, int) and gateway.ids_from_callers,
    )
    delivery: UUID = yield CommitDelivery(row)
    # After the commit: a worker that is woken earlier finds nothing.
    inbox_bell.ring()
    return delivery


def run_steps(steps: Steps[T], perform: Callable[[Step], Any] = lambda step: step()) -> T:
    """Run the steps one after the other in this thread, and return what they return.

    `perform` runs one of them. What it raises is raised in the steps, which may go on.
    """
    advance, outcome = steps.send, None
    try:
        while True:
            step = advance(outcome)
            try:
                advance, outcome = steps.send, perform(step)
            except Exception as error:  # noqa: BLE001 - it is for the steps to say what becomes of it
                advance, outcome = steps.throw, error
    except StopIteration as ended:
        result: T = ended.value
        return result


def accept_calls(gateway: Gateway | int, calls: Sequence[Call], **named: Any) -> UUID:
    """Run `accept_steps` in this thread."""
    return run_steps(accept_steps(gateway, calls, **named))


def accept_single_call(
    gateway: Gateway, call: Call, *, withheld: WithheldSecrets = NOTHING_WITHHELD
) -> SingleCallRow:
    """Commit one call to the inbox; the returned row says whether it came before.

    Raises:
        django.db.OperationalError: the database is unavailable; sending the call again is safe.
    """
    row = single_call_row(gateway.pk, call, withheld, ids_from_callers=gateway.ids_from_callers)
    single_call_group_commit.commit(row)
    inbox_bell.ring()
    return row


# A group of its own: all rows of a group have one statement.
single_call_group_commit = GroupCommit()
