"""Tell the log records that are calls from all else that a program logs.

A record is a call if it says so, by an id of a transaction, a key or a subscription of its own; if
the gateway's page names it; or if it carries the usage of one request of a model. Some clients
report a request in their own words and in those of the GenAI conventions: then the latter are
passed over.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.api.quantities import elements_of
from metering.api.revenium.log_records import ParsedLogRecord
from revcred.models import Gateway

KEY_ATTRIBUTES = ("subscriber.credential", "subscriber.credential.value", "credential")
SUBSCRIPTION_ATTRIBUTES = ("subscription.id",)
CALL_ATTRIBUTES = ("transaction.id", "transaction_id", *KEY_ATTRIBUTES, *SUBSCRIPTION_ATTRIBUTES)

GENAI_EVENT_PREFIX = "gen_ai."  # how an event of the GenAI conventions is named
GENAI_USAGE_PREFIX = "gen_ai.usage."
RESPONSE_EVENT = "api_response"

# What a request of a model used: the words of Claude Code and Cursor, of Gemini's CLI, of Codex.
USAGE_ATTRIBUTES = frozenset(
    {
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_creation_tokens",
        "total_tokens",
        "cost_usd",
        "input_token_count",
        "output_token_count",
        "cached_content_token_count",
        "cache_creation_token_count",
        "thoughts_token_count",
        "tool_token_count",
        "total_token_count",
        "cached_token_count",
        "reasoning_token_count",
    }
)

# Of clients with words of their own, the events that are a request of a model; None: all that
# carry usage. Others of theirs may say how much a conversation has used so far.
REQUEST_EVENTS: dict[str, frozenset[str] | None] = {
    "claude_code": frozenset({"api_request"}),
    "gemini_cli": frozenset({"api_response", "api_request"}),
    "cursor_ide": frozenset({"api_response"}),
    "codex": None,
}
CLIENT_ALIASES = {"codex_cli": "codex", "codex_exec": "codex"}
# Reports each request in the GenAI conventions' words as well, mostly in the same POST.
CLIENT_REPORTING_TWICE = "gemini_cli"


def call_positions(
    records: Sequence[ParsedLogRecord | ItemRejected], gateway: Gateway
) -> list[int]:
    """Return the places of those that are calls, and of those that could not be read."""
    in_own_words = {
        each.resource_number
        for each in records
        if isinstance(each, ParsedLogRecord) and _client_of_event(each)
    }
    return [
        place
        for place, each in enumerate(records)
        if isinstance(each, ItemRejected)
        or _is_call_record(each, gateway, is_twice=each.resource_number in in_own_words)
    ]


def usage_elements(record: ParsedLogRecord, named: Iterable[str]) -> dict[str, int | Decimal]:
    """Return the quantities that the gateway's page names, or else the usage of a model.

    Raises ItemRejected.
    """
    names = list(named)
    if names:
        return elements_of(record.attributes, names, within="")
    known, others = dict[str, Any](), dict[str, Any]()
    for name, value in record.attributes.items():
        if is_usage(name):
            which = known if name.removeprefix(GENAI_USAGE_PREFIX) in USAGE_ATTRIBUTES else others
            which[name] = value
    # A known name means a number. Others of the conventions may be anything.
    said = [name for name, value in known.items() if value not in (None, *NO_VALUE_TEXTS)]
    return elements_of(known, said, within="") | elements_of(others, within="")


def _is_call_record(record: ParsedLogRecord, gateway: Gateway, *, is_twice: bool) -> bool:
    if any(fnmatchcase(record.name, each) for each in gateway.counted_records):
        return True
    if record.own(CALL_ATTRIBUTES) is not None or _has_any_attribute(
        record, gateway.event_elements
    ):
        return True
    if _follows_genai(record) and (
        is_twice or _client_of_program(record) == CLIENT_REPORTING_TWICE
    ):
        return False
    event = record.name.rpartition(".")[2]
    if event == RESPONSE_EVENT:
        return True
    requests = REQUEST_EVENTS.get(_client_of_event(record) or _client_of_program(record))
    if event and requests is not None and event not in requests:
        return False
    return any(map(is_usage, record.attributes))


def _has_any_attribute(record: ParsedLogRecord, names: Iterable[str]) -> bool:
    return any(record.attributes.get(name) is not None for name in names)


def _follows_genai(record: ParsedLogRecord) -> bool:
    return record.name.startswith(GENAI_EVENT_PREFIX) or (
        not _client_of_event(record)
        and any(name.startswith(GENAI_USAGE_PREFIX) for name in record.attributes)
    )


def is_usage(name: str) -> bool:
    return name in USAGE_ATTRIBUTES or name.startswith(GENAI_USAGE_PREFIX)


def _client_of_event(record: ParsedLogRecord) -> str:
    """Return the client with words of its own whose event this is, by the event's name."""
    body = record.body if isinstance(record.body, str) else ""
    return _client_named(record.name.partition(".")[0]) or _client_named(body.partition(".")[0])


def _client_of_program(record: ParsedLogRecord) -> str:
    """Return that client by the program that reports."""
    service = record.resource.get("service.name")
    return _client_named(record.scope) or _client_named(service if isinstance(service, str) else "")


def _client_named(name: str) -> str:
    """Return the client of this name, however its words are joined: gemini-cli, gemini_cli."""
    name = name.lower().replace("-", "_")
    name = CLIENT_ALIASES.get(name, name)
    return name if name in REQUEST_EVENTS else ""
