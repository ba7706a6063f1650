"""Take in: keep a delivery where nothing can lose it, and ring the bell."""

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
    """Keep one POST's calls and answer with the delivery's id, once that is committed.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = delivery_row(
        gateway if isinstance(gateway, int) else gateway.pk,
        calls,
        withheld=withheld,
        rejected=rejected,
        passed_over=passed_over,
        ids_from_callers=not isinstance(gateway, int) and gateway.ids_from_callers,
    )
    delivery_group_commit.keep(entry)
    inbox_bell.ring()
    return entry.id


def accept_single_call(
    gateway: Gateway, call: Call, *, withheld: WithheldSecrets = NOTHING_WITHHELD
) -> SingleCallRow:
    """Keep one call, and hear whether it came before.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = single_call_row(gateway.pk, call, withheld, ids_from_callers=gateway.ids_from_callers)
    single_call_group_commit.keep(entry)
    inbox_bell.ring()
    return entry


single_call_group_commit = GroupCommit()
