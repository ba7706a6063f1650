"""What a format would make of some lines, for people who set a gateway up. Nothing is stored."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metering.api.line_formats.compiled import LINE_ID_PREFIX, CompiledFormat
from metering.api.line_formats.posted_lines import PostedLine, split_lines
from metering.api.lines import LinesReader
from metering.api.transactions import AcceptanceWindow
from metering.attribution.hypothetical import JudgedCall
from metering.inbox.calls import Call
from metering.inbox.redaction import NOTHING_WITHHELD
from metering.inbox.rejections import ItemRejection, RejectedItem, redacted_rejection
from metering.trial_calls import judge_unstored
from revcred.models import Gateway

# Facts of a call, in the order in which a page shows them, by the field of a definition.
FACTS: Mapping[str, str] = {
    "transaction_id": "id",
    "occurred_at": "moment",
    "key": "key or credential",
    "subscription_named": "subscription",
    "source_named": "source",
    "method": "method",
    "path": "path",
    "status": "status",
    "request_bytes": "request size",
    "response_bytes": "response size",
    "latency_ms": "latency",
}
MAX_UNREAD_NAMES = 40
MAX_NAME_CHARACTERS = 60


@dataclass(frozen=True, kw_only=True)
class TriedCall:
    """A call that a line would be: as it would be stored, and the verdict on it."""

    call: Call
    verdict: JudgedCall
    id_origin: str


@dataclass(frozen=True, kw_only=True)
class TriedLine:
    """One of the lines. Without calls and rejections it would be ignored."""

    number: int
    calls: Sequence[TriedCall]
    rejected: Sequence[ItemRejection]


@dataclass(frozen=True, kw_only=True)
class TriedLines:
    """What a format reads of some lines, and what it leaves."""

    lines: Sequence[TriedLine]
    missing_facts: Sequence[str]  # that it looks for and found in no line
    unread_names: Sequence[str]  # of members that no pointer leads to


def try_lines(
    text: str, line_format: CompiledFormat, gateway: Gateway, window: AcceptanceWindow
) -> TriedLines:
    """Return what a format would make of these lines.

    Raises:
        MalformedRequest, BodyTooLarge: they cannot be split into lines.
    """
    parts = _read(text, line_format, window)
    calls = [call for _, found, _ in parts for call in found]
    judged = iter(judge_unstored(gateway, calls))
    lines = [
        TriedLine(
            number=number,
            calls=[
                TriedCall(
                    call=stored, verdict=verdict, id_origin=_id_origin(call, line_id, gateway)
                )
                for call, (stored, verdict) in zip(found, judged, strict=False)
            ],
            rejected=[redacted_rejection(item, NOTHING_WITHHELD) for item in rejected],
        )
        for number, (line_id, found, rejected) in enumerate(parts, 1)
    ]
    return TriedLines(
        lines=lines,
        missing_facts=_missing_facts(line_format, calls) if calls else [],
        unread_names=_unread_names(text, line_format),
    )


def count_read_facts(text: str, line_format: CompiledFormat, window: AcceptanceWindow) -> int:
    """Return how many facts a format reads of all these lines together."""
    calls = [call for _, found, _ in _read(text, line_format, window) for call in found]
    return sum(_has(call, fact) for call in calls for fact in FACTS)


def _read(
    text: str, line_format: CompiledFormat, window: AcceptanceWindow
) -> list[tuple[str | None, list[Call], list[RejectedItem]]]:
    """Return the id of each line, if its place is known, its calls and its rejections."""
    reader, parts = LinesReader(line_format, window), []
    for index, line in enumerate(split_lines(text.encode(), "")):
        calls, rejected = len(reader.calls), len(reader.rejected)
        reader.read(index, line)
        line_id = line.line_id if isinstance(line, PostedLine) else None
        parts.append((line_id, reader.calls[calls:], reader.rejected[rejected:]))
    return parts


def _has(call: Call, fact: str) -> bool:
    if fact == "key":
        return bool(call.key or call.fingerprint)
    if fact == "transaction_id":
        return not call.transaction_id.startswith(LINE_ID_PREFIX)
    return getattr(call, fact) is not None


def _id_origin(call: Call, line_id: str | None, gateway: Gateway) -> str:
    if call.transaction_id.startswith(LINE_ID_PREFIX):
        return "made of the line"
    if line_id and call.transaction_id.startswith(line_id):
        return "the line's place"
    if call.distinguished_by or gateway.ids_from_callers:
        return "callers may choose it"
    return "the gateway's own"


def _missing_facts(line_format: CompiledFormat, calls: Iterable[Call]) -> list[str]:
    sought = {field.removesuffix("_from_caller") for field in line_format.sought_fields}
    columns = {"subscription": "subscription_named", "source": "source_named", "credential": "key"}
    wanted = {columns.get(field, field) for field in sought} & FACTS.keys()
    found = list(calls)
    return [
        label
        for fact, label in FACTS.items()
        if fact in wanted and not any(_has(call, fact) for call in found)
    ]


def _unread_names(text: str, line_format: CompiledFormat) -> list[str]:
    names: dict[str, Any] = {}
    for line in split_lines(text.encode(), ""):
        if isinstance(line, PostedLine):
            names |= dict.fromkeys(line_format.unread_names(line.text))
    return [name for name in names if len(name) <= MAX_NAME_CHARACTERS][:MAX_UNREAD_NAMES]
