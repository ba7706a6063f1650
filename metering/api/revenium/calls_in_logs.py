"""Tell the log records that are calls from all else that a program logs.

A record is a call if it says so, by an id of a transaction, a key or a subscription of its own; if
the gateway's page names it; or if it carries the usage of one request of a model. Some clients
report a request in their own words and in those of the GenAI conventions: then the latter are
passed over.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase

from metering.api.decoding import Refused
from metering.api.quantities import elements_of
from metering.api.revenium.log_records import Record
from revcred.models import Gateway

KEYS = ("subscriber.credential", "subscriber.credential.value", "credential")
SUBSCRIPTIONS = ("subscription.id",)
SAYS_SO = ("transaction.id", "transaction_id", *KEYS, *SUBSCRIPTIONS)

CONVENTION = "gen_ai."  # how an event of the GenAI conventions is named
CONVENTION_USAGE = "gen_ai.usage."
RESPONSE = "api_response"

# What a request of a model used: the words of Claude Code and Cursor, of Gemini's CLI, of Codex.
USAGE = frozenset(
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
REQUESTS: dict[str, frozenset[str] | None] = {
    "claude_code": frozenset({"api_request"}),
    "gemini_cli": frozenset({"api_response", "api_request"}),
    "cursor_ide": frozenset({"api_response"}),
    "codex": None,
}
ALSO_NAMED = {"codex_cli": "codex", "codex_exec": "codex"}
# Reports each request in the GenAI conventions' words as well, mostly in the same POST.
REPORTS_TWICE = "gemini_cli"


def calls_in(records: Sequence[Record | Refused], gateway: Gateway) -> list[int]:
    """Return the places of those that are calls, and of those that could not be read."""
    in_own_words = {
        each.resource_number
        for each in records
        if isinstance(each, Record) and _client_of_event(each)
    }
    return [
        place
        for place, each in enumerate(records)
        if isinstance(each, Refused)
        or _is_call(each, gateway, is_twice=each.resource_number in in_own_words)
    ]


def usage_of(record: Record, named: Iterable[str]) -> dict[str, int | Decimal]:
    """Return the quantities that the gateway's page names, or else the usage of a model.

    Raises Refused.
    """
    names = list(named)
    if names:
        return elements_of(record.attributes, names)
    return elements_of(
        {name: value for name, value in record.attributes.items() if _is_usage(name)}
    )


def _is_call(record: Record, gateway: Gateway, *, is_twice: bool) -> bool:
    if any(fnmatchcase(record.name, each) for each in gateway.counted_records):
        return True
    if record.own(SAYS_SO) is not None or _has_any(record, gateway.event_elements):
        return True
    if _is_in_convention(record) and (is_twice or _program_of(record) == REPORTS_TWICE):
        return False
    event = record.name.rpartition(".")[2]
    if event == RESPONSE:
        return True
    requests = REQUESTS.get(_client_of_event(record) or _program_of(record))
    if event and requests is not None and event not in requests:
        return False
    return any(map(_is_usage, record.attributes))


def _has_any(record: Record, names: Iterable[str]) -> bool:
    return any(record.attributes.get(name) is not None for name in names)


def _is_in_convention(record: Record) -> bool:
    return record.name.startswith(CONVENTION) or (
        not _client_of_event(record)
        and any(name.startswith(CONVENTION_USAGE) for name in record.attributes)
    )


def _is_usage(name: str) -> bool:
    return name in USAGE or name.startswith(CONVENTION_USAGE)


def _client_of_event(record: Record) -> str:
    """Return the client with words of its own whose event this is, by the event's name."""
    body = record.body if isinstance(record.body, str) else ""
    return _client(record.name.partition(".")[0]) or _client(body.partition(".")[0])


def _program_of(record: Record) -> str:
    """Return that client by the program that reports."""
    service = record.resource.get("service.name")
    return _client(record.scope) or _client(service if isinstance(service, str) else "")


def _client(name: str) -> str:
    """Return the client of this name, however its words are joined: gemini-cli, gemini_cli."""
    name = name.lower().replace("-", "_")
    name = ALSO_NAMED.get(name, name)
    return name if name in REQUESTS else ""
