"""Take in: keep a delivery where nothing can lose it, and ring the bell."""

from collections.abc import Sequence
from uuid import UUID

from metering.calls import (
    ONE_CALL,
    Call,
    RecallingEntry,
    digest_of,
    entry_of,
    identities,
    identity,
    identity_of,
    recalling_entry_of,
    without_secrets,
)
from metering.halves import HalfEntry, Side, entry_of_half, halves_together
from metering.inbox import Together, together
from metering.redaction import NOTHING, Withheld
from metering.tasks import bell, joining_bell
from revcred.models import Gateway

__all__ = [
    "ONE_CALL",
    "Call",
    "Side",
    "digest_of",
    "entry_of",
    "identities",
    "identity",
    "identity_of",
    "take_in",
    "take_in_half",
    "take_in_one",
    "without_secrets",
]


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


def take_in_half(
    gateway: Gateway, call: Call, side: Side, *, withheld: Withheld = NOTHING
) -> HalfEntry:
    """Keep what one half of a transaction says, until the other comes or has had its time.

    Raises django.db.OperationalError when the database is away: then sending it again is safe.
    """
    entry = entry_of_half(gateway.pk, call, side, withheld)
    halves_together.keep(entry)
    joining_bell.ring()
    return entry


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
