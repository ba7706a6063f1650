"""Intake: commit a delivery to the inbox, where nothing can lose it, and ring the bell."""

from collections.abc import Sequence
from uuid import UUID

from metering.bells import inbox_bell
from metering.inbox.calls import (
    Call,
    SingleCallRow,
    delivery_row,
    single_call_row,
)
from metering.inbox.group_commit import GroupCommit, delivery_group_commit
from metering.inbox.redaction import NOTHING_WITHHELD, WithheldSecrets
from revcred.models import Gateway


def accept_calls(
    gateway: Gateway | int,
    calls: Sequence[Call],
    *,
    withheld: WithheldSecrets = NOTHING_WITHHELD,
    rejected: int = 0,
    passed_over: int = 0,
) -> UUID:
    """Commit the calls of one POST to the inbox, and return the delivery's id.

    `rejected` and `passed_over` count the items of the POST that are not among the calls.

    Raises:
        django.db.OperationalError: the database is unavailable; sending the POST again is safe.
    """
    row = delivery_row(
        gateway if isinstance(gateway, int) else gateway.pk,
        calls,
        withheld=withheld,
        rejected=rejected,
        passed_over=passed_over,
        ids_from_callers=not isinstance(gateway, int) and gateway.ids_from_callers,
    )
    delivery_group_commit.commit(row)
    # After the commit: a worker that is woken earlier finds nothing.
    inbox_bell.ring()
    return row.id


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
