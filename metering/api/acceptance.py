"""The answer of the native doors: what was accepted, and which items were rejected and why."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from metering.inbox.calls import Call
from metering.inbox.rejections import ItemRejection, RejectedItem


class Acceptance(msgspec.Struct, kw_only=True):
    """The answer to a POST that was safe on disk before it was answered."""

    delivery: Annotated[
        UUID,
        Meta(
            description="The stored batch, which support can look up. Small POSTs that arrive at"
            " the same moment may share one."
        ),
    ]
    accepted: Annotated[int, Meta(description="Items accepted, repeats included.")]
    rejected: Annotated[list[ItemRejection], Meta(description="The other items.")]


class NothingAccepted(Acceptance, kw_only=True):
    """The answer if every item was rejected. Code and message are those of the first.

    A sender that logs errors only then logs why.
    """

    code: str
    message: str


class EventsProblem(msgspec.Struct, kw_only=True):
    """An error as OpenMeter has it (RFC 9457), with the rejected events if there are any."""

    delivery: UUID | UnsetType = UNSET
    accepted: int | UnsetType = UNSET
    rejected: list[ItemRejection] | UnsetType = UNSET
    code: str
    message: str
    title: str
    status: int
    detail: str


def acceptance_of(
    delivery: UUID, calls: Sequence[Call], rejected: Sequence[RejectedItem]
) -> Acceptance | NothingAccepted:
    """Return the answer to a POST: its delivery, the number accepted, and the rejections."""
    told = [item.told for item in rejected]
    if calls or not told:
        return Acceptance(delivery=delivery, accepted=len(calls), rejected=told)
    return NothingAccepted(
        delivery=delivery,
        accepted=0,
        rejected=told,
        code=told[0].code,
        message=first_message(rejected),
    )


def acceptance_status(calls: Sequence[Call], rejected: Sequence[RejectedItem]) -> int:
    """Return 202 if anything was accepted, else 400.

    Many senders look at the status alone, and would take 202 for success of every item.
    """
    return 202 if calls or not rejected else 400


def first_message(rejected: Sequence[RejectedItem]) -> str:
    """Return the message of the first rejection, with its field.

    Senders log a message if they log anything, and rarely a list.
    """
    first = rejected[0].told
    return f"{first.field}: {first.message}" if first.field else first.message
