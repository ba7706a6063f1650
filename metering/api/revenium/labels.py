"""The metadata that is kept of calls of AI and of OpenTelemetry's records: these names, no others.

Clients send prompts, answers and a program's own logs under names nobody can foresee, so that what
is kept is listed, and the list is in `docs/gateways.md`. A gateway's page may name further ones.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from metering.api.revenium import metadata

MAX_LABEL_CHARACTERS = 500  # characters; a longer text is more than a label

AI_LABELS = frozenset(
    {
        "model",
        "provider",
        "costType",
        "isStreamed",
        "stopReason",
        "requestTime",
        "completionStartTime",
        "responseTime",
        "operationType",
        "operationSubtype",
        "timeToFirstToken",
        "mediationLatency",
        "temperature",
        "responseQualityScore",
        "retryNumber",
        "subscriberEmailSource",
        "costMultiplier",
        "billingSkipped",
        "skipReason",
        "actualServiceTier",
        "requestedServiceTier",
        "pricingTier",
        "subscriptionTier",
        "agent",
        "agentVersion",
        "taskType",
        "transactionName",
        "parentTransactionId",
        "traceId",
        "traceType",
        "traceName",
        "ticketId",
        "environment",
        "region",
        "modelSource",
        "modelHost",
        "middlewareSource",
        "systemFingerprint",
        "errorReason",
        "errorCode",
        "effort",
        "speed",
        "querySource",
        "subagentType",
        "clientSurface",
        "entrypoint",
        "promptId",
        "promptLength",
        "promptsTruncated",
        "agenticJobId",
        "agenticJobName",
        "agenticJobType",
        "agenticJobVersion",
        "squadId",
        "squadName",
        "squadRole",
        "codingAssistantAccountUuid",
        "resolution",
        "aspectRatio",
        "quality",
        "style",
        "format",
        "revisedPromptProvided",
        "language",
        "voice",
        "audioFormat",
        "sampleRate",
        "responseFormat",
        "sourceLanguage",
        "targetLanguage",
        "isRealtime",
        "billingUnit",
        "fps",
        "videoJobId",
        "asyncOperation",
        "completionStatus",
        "sourceTransactionId",
        "creditRate",
    }
)

TOOL_LABELS = frozenset(
    {
        "toolId",
        "operation",
        "success",
        "errorMessage",
        "agent",
        "workflowId",
        "traceId",
        "agenticJobId",
    }
)

LOG_LABELS = frozenset(
    {
        # who reports
        "service.name",
        "service.namespace",
        "service.version",
        "deployment.environment",
        "deployment.environment.name",
        "app.version",
        "terminal.type",
        "revenium.middleware.source",
        "revenium.subscription_tier",
        # what it belongs to
        "event.name",
        "event.kind",
        "event.timestamp",
        "event.sequence",
        "session.id",
        "conversation.id",
        "prompt.id",
        "prompt_id",
        "request_id",
        "installation.id",
        "user.id",
        "user.account_uuid",
        "organization.id",
        # which model, and how it went
        "model",
        "slug",
        "role",
        "speed",
        "effort",
        "query_source",
        "auth_type",
        "auth_mode",
        "attempt",
        "success",
        "status_code",
        "finish_reasons",
        "error.type",
        "billing.kind",
        "cursor.is_token_based",
        "cursor.requests_costs",
        "cursor.token_fee",
        "gen_ai.system",
        "gen_ai.provider.name",
        "gen_ai.operation.name",
        "gen_ai.output.type",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.response.id",
        "gen_ai.response.finish_reasons",
        "gen_ai.conversation.id",
        "gen_ai.agent.id",
        "gen_ai.agent.name",
        "gen_ai.agent.version",
        "gen_ai.tool.name",
        "gen_ai.tool.type",
        # the request of an API, beside what has a column of its own
        "http.route",
        "http.request.resend_count",
        "url.scheme",
        "server.address",
        "server.port",
        "client.address",
        "user_agent.original",
        "network.protocol.name",
        "network.protocol.version",
    }
)

# What a gateway's page cannot name either: prompts, answers, what tools were asked, and keys.
NEVER_KEPT_LABELS = frozenset(
    {
        "body",
        "prompt",
        "prompts",
        "messages",
        "request_text",
        "response_text",
        "systemPrompt",
        "inputMessages",
        "outputResponse",
        "function_args",
        "tool_input",
        "tool_parameters",
        "gen_ai.prompt",
        "gen_ai.completion",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "revenium.api_key",
    }
)


def kept_labels(
    said: Mapping[str, Any], listed: Collection[str], named: Collection[str] = ()
) -> dict[str, Any]:
    """Return what is said under the listed names, and under those that the gateway's page names.

    Only plain values: numbers, yes or no, text that is short enough for a label, and lists of them.
    """
    names = {*listed, *named} - NEVER_KEPT_LABELS
    plain = {name: said[name] for name in names if _is_label_value(said.get(name))}
    return metadata.kept_metadata({name: plain[name] for name in said if name in plain})


def numeric_members(said: Any) -> dict[str, Any]:
    """Return the members of an object that are numbers, or yes or no."""
    members = said if isinstance(said, Mapping) else {}
    return {
        name: value
        for name, value in members.items()
        if len(name) <= MAX_LABEL_CHARACTERS
        and _is_label_value(value)
        and not isinstance(value, str | list)
    }


def _is_label_value(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(each, list) or not _is_label_value(each) for each in value)
    if isinstance(value, str):
        return len(value) <= MAX_LABEL_CHARACTERS
    return isinstance(value, int | float | Decimal)
