"""Tell the log records and spans that are calls from everything else that a program reports.

A record is a call if it has a transaction id, a key or a subscription of its own; if the gateway's
page names it; or if it carries the usage of one request to an AI model. Some clients report each
request twice, in their own format and in that of the GenAI conventions: then the latter is ignored.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from metering.api.decoding import ItemRejected
from metering.api.facts import NO_VALUE_TEXTS
from metering.api.quantities import elements_of
from metering.api.revenium.log_records import ParsedLogRecord, attribute_spellings
from revcred.models import Gateway

KEY_ATTRIBUTES = ("subscriber.credential", "subscriber.credential.value", "credential")
SUBSCRIPTION_ATTRIBUTES = ("subscription.id",)
CALL_ATTRIBUTES = ("transaction.id", "transaction_id", *KEY_ATTRIBUTES, *SUBSCRIPTION_ATTRIBUTES)

# Gateways log calls under these names, too, and their formats say what they hold.
NAMES_OF_ACCESS_LOGS = frozenset({"credential", "transaction_id"})
UNAMBIGUOUS_CALL_ATTRIBUTES = tuple(
    name for name in attribute_spellings(CALL_ATTRIBUTES) if name not in NAMES_OF_ACCESS_LOGS
)

GENAI_EVENT_PREFIX = "gen_ai."  # of the names of events in the GenAI conventions
GENAI_USAGE_PREFIX = "gen_ai.usage."
RESPONSE_EVENT = "api_response"

# Operations of the GenAI conventions: requests to a model, and what consists of such requests.
MODEL_OPERATIONS = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
SUMMING_OPERATIONS = frozenset({"create_agent", "invoke_agent", "invoke_workflow", "execute_tool"})

# Amounts that a request to a model used, as named by Claude Code and Cursor, by Gemini's CLI and
# by Codex.
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

# The events of each client that are one request to a model; None stands for all that carry usage.
# Other events of theirs carry the sum of a whole conversation, which would be counted twice.
REQUEST_EVENTS: dict[str, frozenset[str] | None] = {
    "claude_code": frozenset({"api_request"}),
    "gemini_cli": frozenset({"api_response", "api_request"}),
    "cursor_ide": frozenset({"api_response"}),
    "codex": None,
}
CLIENT_ALIASES = {"codex_cli": "codex", "codex_exec": "codex"}
# It reports each request in the GenAI conventions' format as well, mostly in the same POST.
CLIENT_REPORTING_TWICE = "gemini_cli"


def call_positions(
    records: Sequence[ParsedLogRecord | ItemRejected], gateway: Gateway
) -> list[int]:
    """Return the indexes of records that are calls, and of records that could not be read."""
    # A client's own events and their GenAI twins have the same resource, but come in any order.
    resources_in_own_format = {
        record.resource_number
        for record in records
        if isinstance(record, ParsedLogRecord) and _client_of_event(record)
    }
    return [
        index
        for index, record in enumerate(records)
        if isinstance(record, ItemRejected)
        or _is_call_record(
            record, gateway, is_twice=record.resource_number in resources_in_own_format
        )
    ]


def is_model_span(span: ParsedLogRecord) -> bool:
    """Return True for the span of one request to a model.

    Spans of agents and their tools carry the sum of such requests. A program that reports each
    request in a log record is counted by those.
    """
    if _client_of_program(span):
        return False
    operation = span.attributes.get("gen_ai.operation.name")
    if operation in MODEL_OPERATIONS:
        return True
    return operation not in SUMMING_OPERATIONS and any(
        name.startswith(GENAI_USAGE_PREFIX) for name in span.attributes
    )


def usage_elements(record: ParsedLogRecord, named: Iterable[str]) -> dict[str, int | Decimal]:
    """Return the quantities that the gateway's page names, or without any the usage of a model.

    Raises:
        ItemRejected: a quantity cannot be counted.
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
    given_names = [name for name, value in known.items() if value not in (None, *NO_VALUE_TEXTS)]
    return elements_of(known, given_names, within="") | elements_of(others, within="")


def says_that_it_is_a_call(record: ParsedLogRecord) -> bool:
    """Return True if the record names an id, a key or usage in OTLP's own terms."""
    attributes = record.attributes
    return any(attributes.get(name) is not None for name in UNAMBIGUOUS_CALL_ATTRIBUTES) or any(
        map(is_usage, attributes)
    )


def _is_call_record(record: ParsedLogRecord, gateway: Gateway, *, is_twice: bool) -> bool:
    if any(fnmatchcase(record.name, pattern) for pattern in gateway.counted_records):
        return True
    if record.own_attribute(CALL_ATTRIBUTES) is not None or _has_any_attribute(
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
    """Return the client that has sent this event, by the event's name, or an empty string."""
    body = record.body if isinstance(record.body, str) else ""
    return _client_named(record.name.partition(".")[0]) or _client_named(body.partition(".")[0])


def _client_of_program(record: ParsedLogRecord) -> str:
    """Return the client that has sent this event, by its program, or an empty string."""
    service = record.resource.get("service.name")
    return _client_named(record.scope) or _client_named(service if isinstance(service, str) else "")


def _client_named(name: str) -> str:
    """Return the known client of a name, gemini-cli or gemini_cli alike, or an empty string."""
    name = name.lower().replace("-", "_")
    name = CLIENT_ALIASES.get(name, name)
    return name if name in REQUEST_EVENTS else ""
