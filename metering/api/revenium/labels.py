"""Labels: the fields of AI calls and log records that are kept as metadata.

Clients send prompts, answers and a program's own logs under names that nobody can foresee. So the
fields that are kept are listed here and in `docs/gateways.md`, and all others are dropped. An admin
may add names on a gateway's page.
"""

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from metering.api.revenium import metadata

# A longer text is no label but content, such as a prompt.
MAX_LABEL_CHARACTERS = 500

# Calls of AI models: the model, its settings, and ids that relate calls to each other.
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

# Calls of tools.
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

# OpenTelemetry's log records: attributes of its conventions, and those of known clients.
LOG_LABELS = frozenset(
    {
        # the program that reports
        "service.name",
        "service.namespace",
        "service.version",
        "deployment.environment",
        "deployment.environment.name",
        "app.version",
        "terminal.type",
        "revenium.middleware.source",
        "revenium.subscription_tier",
        # the event, and the session or user that it belongs to
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
        # the model, and the result
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
        # the API request, except for fields that have a column of their own
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

# An admin cannot add these on a gateway's page either: they hold prompts, answers, arguments of
# tools, or keys.
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
    data: Mapping[str, Any], listed: Collection[str], added: Collection[str] = ()
) -> dict[str, Any]:
    """Return the listed fields, and those that an admin has added, as far as they are labels.

    A label is a number, a boolean, a text of up to MAX_LABEL_CHARACTERS, or a list of those.
    """
    names = {*listed, *added} - NEVER_KEPT_LABELS
    labels = {name: data[name] for name in names if _is_label_value(data.get(name))}
    # In the order of the client: a set's order would change from process to process.
    return metadata.kept_metadata({name: labels[name] for name in data if name in labels})


def numeric_members(data: Any) -> dict[str, Any]:
    """Return the members of an object that are numbers or booleans."""
    members = data if isinstance(data, Mapping) else {}
    return {
        name: value
        for name, value in members.items()
        if len(name) <= MAX_LABEL_CHARACTERS
        and _is_label_value(value)
        and not isinstance(value, str | list)
    }


def _is_label_value(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(part, list) or not _is_label_value(part) for part in value)
    if isinstance(value, str):
        return len(value) <= MAX_LABEL_CHARACTERS
    return isinstance(value, int | float | Decimal)
