"""Formats of known gateways. A change of one that reads lines differently raises its version.

Pointers in front are what the recipes in `docs/gateways.md` write; those behind them are the names
that such logs have without a recipe.
"""

from dataclasses import dataclass

import msgspec

from metering.api.line_formats.definition import (
    CountWhen,
    FormatDefinition,
    Owners,
    Pointer,
)
from revcred.models import Gateway
from revcred.public_ids import PUBLIC_ID_PATTERN

# What a caller asks for. It gives nothing back (`++`): in a line that is cut behind a long address,
# each place would otherwise be tried as the address's end.
REQUEST = r'(?P<method>[A-Z]+) (?P<path>(?:[^\s"\\]|\\\S)++)(?:[^"\\]|\\.)*+'
# The common log format with anything behind it. Key or credential is its last text in quotes.
COMBINED_PATTERN = (
    r"(?P<client>\S+) \S+ (?P<user>\S+) \[(?P<occurred_at>[^\]]+)\] "
    rf'"(?:{REQUEST}|(?:[^"\\]|\\.)*+)" (?P<status>\d{{3}}) '
    r"(?P<response_bytes>\d+|-)"
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<user_agent>(?:[^"\\]|\\.)*)")?'
    r'(?: "(?P<key>(?:[^"\\]|\\.)*)")?(?: |$)'
)
# Traefik's: behind the agent come the number of the request, router, service and the duration.
TRAEFIK_PATTERN = (
    r"(?P<client>\S+) \S+ (?P<user>\S+) \[(?P<occurred_at>[^\]]+)\] "
    rf'"{REQUEST}" (?P<status>\d{{3}}) (?P<response_bytes>\d+|-) '
    r'"(?P<referer>[^"]*)" "(?P<user_agent>[^"]*)" (?P<number>\d+) '
    r'"(?P<router>[^"]*)" "(?P<server>[^"]*)" (?P<duration>\d+)ms'
)
BEARER = r"(?i)^(?:bearer|apikey) +(\S+)$"
PUBLIC_ID_CAPTURE = f"^({PUBLIC_ID_PATTERN})$"
REQUEST_METHOD = r"^([A-Z]+) "
REQUEST_PATH = r"^[A-Z]+ (\S+)"


@dataclass(frozen=True, kw_only=True)
class BuiltInFormat:
    """A format that every installation has."""

    name: str
    title: str
    version: int = 1
    kinds: tuple[Gateway.Kind, ...] = ()  # whose gateways have it unless another is chosen
    definition: FormatDefinition


OWN_NAMES = FormatDefinition(
    transaction_id_from_caller=("transaction_id", "id", "request_id"),
    occurred_at=("occurred_at", "ts", "time", "timestamp", "@timestamp", "time_iso8601", "msec"),
    key=("key", "api_key"),
    credential=("credential", "credential_id"),
    subscription=("subscription",),
    source=("source",),
    owners=Owners(
        customer=("customer", "organization"), product=("product",), subscriber=("subscriber",)
    ),
    method=("method", "request_method"),
    path=("path", "uri", "url", "request_uri"),
    status=("status", "status_code"),
    request_bytes=("request_bytes", "request_length"),
    response_bytes=("response_bytes", "bytes_sent", "body_bytes_sent"),
    latency_ms=("latency_ms", "duration_ms", Pointer("latency_s", "s"), Pointer("seconds", "s")),
)

WEB_SERVER = FormatDefinition(
    transaction_id=("transaction_id", "id", "request_id", "unique_id"),
    occurred_at=("occurred_at", "ts", "msec", "time", "time_iso8601", "timestamp", "time_local"),
    key=(
        *("key", "http_x_api_key", "api_key", "x_api_key", "arg_api_key"),
        Pointer("authorization", capture=BEARER),
        Pointer("http_authorization", capture=BEARER),
    ),
    credential=("credential", "revcred_credential"),
    method=("method", "request_method", Pointer("request", capture=REQUEST_METHOD)),
    path=("path", "uri", "request_uri", Pointer("request", capture=REQUEST_PATH)),
    status=("status",),
    request_bytes=("request_bytes", "request_length"),
    response_bytes=("response_bytes", "bytes_sent", "body_bytes_sent"),
    latency_ms=(
        "latency_ms",
        Pointer("seconds", "s"),
        Pointer("request_time", "s"),
        Pointer("latency_us", "us"),
        Pointer("duration_us", "us"),
    ),
    metadata={"host": ("host", "server_name")},
)

TRAEFIK_DEFINITION = FormatDefinition(
    occurred_at=("StartUTC", "StartLocal", "time"),
    key=(
        "request_X-Api-Key",
        "request_Apikey",
        Pointer("request_Authorization", capture=BEARER),
    ),
    method=("RequestMethod",),
    path=("RequestPath",),
    status=("DownstreamStatus",),
    request_bytes=("RequestContentSize",),
    response_bytes=("DownstreamContentSize",),
    latency_ms=(Pointer("Duration", "ns"),),
    metadata={"router": ("RouterName",), "service": ("ServiceName",)},
)

BUILT_IN_FORMATS = (
    BuiltInFormat(
        name="names",
        title="JSON with revcred's names",
        kinds=(Gateway.Kind.OTHER, Gateway.Kind.APIGEE),
        definition=OWN_NAMES,
    ),
    BuiltInFormat(
        name="nginx", title="nginx, JSON", kinds=(Gateway.Kind.NGINX,), definition=WEB_SERVER
    ),
    BuiltInFormat(
        name="apache", title="Apache, JSON", kinds=(Gateway.Kind.APACHE,), definition=WEB_SERVER
    ),
    BuiltInFormat(
        name="combined",
        title="nginx and Apache, combined log with the key",
        definition=FormatDefinition(
            lines="regex",
            pattern=COMBINED_PATTERN,
            occurred_at=("occurred_at",),
            key=("key",),
            method=("method",),
            path=("path",),
            status=("status",),
            response_bytes=("response_bytes",),
        ),
    ),
    BuiltInFormat(
        name="haproxy",
        title="HAProxy, JSON",
        kinds=(Gateway.Kind.HAPROXY,),
        definition=FormatDefinition(
            transaction_id=("transaction_id", "id"),
            occurred_at=("occurred_at", "ts"),
            key=("key",),
            credential=("credential",),
            method=("method",),
            path=("path", "uri"),
            status=("status",),
            request_bytes=("request_bytes",),
            response_bytes=("response_bytes", "bytes_read"),
            latency_ms=("latency_ms", "Ta", "Tt"),
            metadata={"backend": ("backend",)},
        ),
    ),
    BuiltInFormat(
        name="caddy",
        title="Caddy",
        kinds=(Gateway.Kind.CADDY,),
        definition=FormatDefinition(
            transaction_id=("id", "uuid"),
            occurred_at=("ts",),
            key=(
                "request/headers/X-Api-Key/0",
                "request/headers/Apikey/0",
                Pointer("request/headers/Authorization/0", capture=BEARER),
            ),
            credential=("credential",),
            method=("request/method",),
            path=("request/uri",),
            status=("status",),
            request_bytes=("bytes_read",),
            response_bytes=("size",),
            latency_ms=(Pointer("duration", "s"),),
            metadata={"host": ("request/host",)},
            # Its log of errors has the same request once more.
            count_when=CountWhen(texts={"logger": ("http.log.access*",)}),
        ),
    ),
    BuiltInFormat(
        name="traefik",
        title="Traefik, JSON",
        version=2,
        kinds=(Gateway.Kind.TRAEFIK,),
        definition=TRAEFIK_DEFINITION,
    ),
    # Traefik logs headers as the backend gets them. Only where it asks revcred about each call is
    # this one none that the caller sent: the answer replaces it.
    BuiltInFormat(
        name="traefik-checked",
        title="Traefik that asks revcred, JSON",
        definition=msgspec.structs.replace(
            TRAEFIK_DEFINITION, credential=("request_X-Revcred-Credential",)
        ),
    ),
    BuiltInFormat(
        name="traefik-clf",
        title="Traefik, common log, with the user as credential",
        version=2,
        definition=FormatDefinition(
            lines="regex",
            pattern=TRAEFIK_PATTERN,
            occurred_at=("occurred_at",),
            credential=("user",),
            method=("method",),
            path=("path",),
            status=("status",),
            response_bytes=("response_bytes",),
            latency_ms=("duration",),
            metadata={"router": ("router",)},
            # With 401 the user is whoever somebody claims to be, who did not know the password.
            count_when=CountWhen(statuses=("1xx", "2xx", "3xx", "400", "402-499", "5xx")),
        ),
    ),
    BuiltInFormat(
        name="envoy",
        title="Envoy and Istio, JSON",
        kinds=(Gateway.Kind.ENVOY, Gateway.Kind.ISTIO),
        definition=FormatDefinition(
            transaction_id=("transaction_id", "unique_id"),
            transaction_id_from_caller=("id", "request_id", "x_request_id", "stream_id"),
            occurred_at=("occurred_at", "start_time", "ts"),
            key=("key", "x_api_key", "api_key", Pointer("authorization", capture=BEARER)),
            credential=("credential", "x_revcred_credential"),
            method=("method", "request_method"),
            path=("path", "x_envoy_origin_path"),
            status=("status", "response_code"),
            request_bytes=("request_bytes", "bytes_received"),
            response_bytes=("response_bytes", "bytes_sent"),
            latency_ms=("latency_ms", "duration"),
            metadata={
                "authority": ("authority",),
                "response_flags": ("response_flags",),
                "upstream_cluster": ("upstream_cluster",),
            },
        ),
    ),
    BuiltInFormat(
        name="kong",
        title="Kong, http-log and file-log",
        kinds=(Gateway.Kind.KONG,),
        definition=FormatDefinition(
            transaction_id=("request/id",),
            occurred_at=(Pointer("started_at", "ms"),),
            key=(
                "request/headers/x-api-key",
                "request/headers/apikey",
                Pointer("request/headers/authorization", capture=BEARER),
            ),
            credential=(
                "consumer/custom_id",
                "authenticated_entity/id",
                "consumer/username",
            ),
            method=("request/method",),
            path=("request/uri",),
            status=("response/status",),
            request_bytes=("request/size",),
            response_bytes=("response/size",),
            latency_ms=("latencies/request",),
            metadata={"route": ("route/name",), "service": ("service/name",)},
        ),
    ),
    BuiltInFormat(
        name="apisix",
        title="APISIX, http-logger and file-logger",
        kinds=(Gateway.Kind.APISIX,),
        definition=FormatDefinition(
            # $request_id in a log_format is nginx's own; the header is the caller's if he sent one.
            transaction_id=("request_id",),
            transaction_id_from_caller=(
                "response/headers/x-request-id",
                "request/headers/x-request-id",
            ),
            occurred_at=("start_time", "timestamp", "@timestamp", "time_iso8601"),
            key=(
                "request/headers/x-api-key",
                "request/headers/apikey",
                Pointer("request/headers/authorization", capture=BEARER),
            ),
            credential=("consumer/username", "consumer_name"),
            method=("request/method", "method"),
            path=("request/uri", "uri"),
            status=("response/status", "status"),
            request_bytes=("request/size", "request_length"),
            response_bytes=("response/size", "bytes_sent"),
            latency_ms=("latency", Pointer("request_time", "s")),
            metadata={"route": ("route_id",), "service": ("service_id",)},
        ),
    ),
    BuiltInFormat(
        name="tyk",
        title="Tyk, analytics of its pump",
        version=2,
        kinds=(Gateway.Kind.TYK,),
        definition=FormatDefinition(
            records=("event",),  # as Splunk's pump wraps it
            occurred_at=("timestamp", "TimeStamp"),
            # The key's alias is set by whoever made the key at Tyk, and may be a public id.
            credential=(
                Pointer("alias", capture=PUBLIC_ID_CAPTURE),
                Pointer("Alias", capture=PUBLIC_ID_CAPTURE),
            ),
            # What the caller sent, also where Tyk refused it; a hash of it if `hash_keys` is on,
            # which is noted as an alias.
            key=("api_key", "APIKey", "alias", "Alias", "oauth_id", "OauthID"),
            method=("method", "Method"),
            path=("path", "Path", "raw_path", "RawPath"),
            status=("response_code", "ResponseCode"),
            request_bytes=("content_length", "ContentLength"),
            latency_ms=("request_time_ms", "request_time", "RequestTime"),
            metadata={"api": ("api_name", "APIName"), "api_id": ("api_id", "APIID")},
        ),
    ),
    BuiltInFormat(
        name="gravitee",
        title="Gravitee, file and TCP reporter",
        kinds=(Gateway.Kind.GRAVITEE,),
        definition=FormatDefinition(
            transaction_id=("requestId", "request-id", "id"),
            occurred_at=("timestamp", "@timestamp"),
            credential=(
                *("applicationId", "application-id", "application"),
                *("subscriptionId", "subscription-id", "subscription"),
            ),
            method=("httpMethod", "http-method", "method"),
            path=("uri", "pathInfo", "path"),
            status=("status", "response-status"),
            request_bytes=("requestContentLength", "request-content-length"),
            response_bytes=("responseContentLength", "response-content-length"),
            latency_ms=("gatewayResponseTimeMs", "proxyResponseTimeMs", "response-time"),
            metadata={"api": ("apiId", "api-id", "api"), "plan": ("planId", "plan-id", "plan")},
        ),
    ),
    BuiltInFormat(
        name="aws",
        title="AWS API Gateway, JSON",
        kinds=(Gateway.Kind.AWS,),
        definition=FormatDefinition(
            records=("logEvents", "message"),
            transaction_id=("extendedRequestId", "transaction_id"),
            transaction_id_from_caller=("requestId",),
            occurred_at=("requestTimeEpoch", "requestTime", "occurred_at"),
            key=("apiKey",),
            credential=("apiKeyId", "credential", "principalId", "identity/apiKeyId"),
            method=("httpMethod", "method"),
            path=("path", "resourcePath"),
            status=("status",),
            response_bytes=("responseLength",),
            latency_ms=("responseLatency",),
            metadata={"stage": ("stage",), "api": ("apiId",)},
        ),
    ),
    BuiltInFormat(
        name="azure",
        title="Azure API Management, GatewayLogs",
        kinds=(Gateway.Kind.AZURE,),
        definition=FormatDefinition(
            records=("records",),
            transaction_id=("correlationId", "CorrelationId"),
            occurred_at=("time", "TimeGenerated"),
            credential=("properties/apimSubscriptionId", "ApimSubscriptionId"),
            method=("properties/method", "Method"),
            path=("properties/url", "Url"),
            status=("properties/responseCode", "ResponseCode"),
            request_bytes=("properties/requestSize", "RequestSize"),
            response_bytes=("properties/responseSize", "ResponseSize"),
            latency_ms=("durationMs", "TotalTime"),
            metadata={
                "api": ("properties/apiId", "ApiId"),
                "operation": ("properties/operationId", "OperationId"),
                "product": ("properties/productId", "ProductId"),
            },
        ),
    ),
    BuiltInFormat(
        name="revenium",
        title="MuleSoft, IBM and Snowflake, by Revenium's log fields",
        kinds=(Gateway.Kind.MULESOFT, Gateway.Kind.IBM, Gateway.Kind.SNOWFLAKE),
        definition=FormatDefinition(
            transaction_id_from_caller=("transactionId", "requestId", "correlationId"),
            occurred_at=("requestTime", "timestamp", "@timestamp", "time"),
            key=("application",),
            method=("method",),
            path=("url", "uri", "api"),
            status=("responseCode",),
            request_bytes=("requestMessageSize",),
            response_bytes=("responseMessageSize",),
            latency_ms=("totalDuration", "elapsedTime", "backendLatency"),
            metadata={"api": ("api",)},
            # "So that clients are never charged for failed transactions."
            count_when=CountWhen(statuses=("1xx", "2xx", "3xx")),
        ),
    ),
    BuiltInFormat(
        name="csv",
        title="CSV with revcred's columns",
        definition=FormatDefinition(
            lines="separated",
            columns=(
                *("transaction_id", "occurred_at", "key", "credential", "subscription", "source"),
                *("method", "path", "status", "request_bytes", "response_bytes", "latency_ms"),
            ),
            transaction_id_from_caller=("transaction_id",),
            occurred_at=("occurred_at",),
            key=("key",),
            credential=("credential",),
            subscription=("subscription",),
            source=("source",),
            method=("method",),
            path=("path",),
            status=("status",),
            request_bytes=("request_bytes",),
            response_bytes=("response_bytes",),
            latency_ms=("latency_ms",),
        ),
    ),
)
BUILT_IN_BY_NAME = {each.name: each for each in BUILT_IN_FORMATS}
BUILT_IN_BY_KIND = {kind: each for each in BUILT_IN_FORMATS for kind in each.kinds}
