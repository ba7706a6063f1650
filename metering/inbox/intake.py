"""Take in: keep a delivery where nothing can lose it, and ring the bell."""

from collections.abc import Sequence
from uuid import UUID

from metering.bells import bell
from metering.inbox.calls import (
    Call,
    RecallingEntry,
    entry_of,
    recalling_entry_of,
)
from metering.inbox.group_commit import Together, together
from metering.inbox.redaction import NOTHING, Withheld
from revcred.models import Gateway


def take_in(
    gateway: Gateway | int,
    calls: Sequence[Call],
    *,
    withheld: Withheld = NOTHING,
    rejected: int = 0,
    passed_over: int = 0,
) -> UUID:
    """Keep one POST's calls and answer with the delivery's id, once that is committed.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = entry_of(
        gateway if isinstance(gateway, int) else gateway.pk,
        calls,
        withheld=withheld,
        rejected=rejected,
        passed_over=passed_over,
        ids_from_callers=not isinstance(gateway, int) and gateway.ids_from_callers,
    )
    together.keep(entry)
    bell.ring()
    return entry.id


def take_in_one(gateway: Gateway, call: Call, *, withheld: Withheld = NOTHING) -> RecallingEntry:
    """Keep one call, and hear whether it came before.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = recalling_entry_of(
        gateway.pk, call, withheld, ids_from_callers=gateway.ids_from_callers
    )
    recalling_together.keep(entry)
    bell.ring()
    return entry


recalling_together = Together()
