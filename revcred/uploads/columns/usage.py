"""Columns of lists of usage."""

from django.utils.translation import gettext_noop

from revcred.external_keys import MAX_KEY_CHARACTERS
from revcred.models.names import MAX_EXTERNAL_KEY_CHARACTERS
from revcred.public_ids import PUBLIC_ID_CHARACTERS
from revcred.uploads.columns.cell_rules import parse_moment_cell
from revcred.uploads.columns.cells import (
    parse_decimal_cell,
    parse_json_object_cell,
    parse_whole_number_cell,
    text_parser,
    without_query,
)
from revcred.uploads.columns.list_column import ListColumn

USAGE_COLUMNS = (
    ListColumn(
        name="transaction_id",
        title=gettext_noop("Transaction"),
        help=gettext_noop(
            "The id of the call, unique at its gateway. A call that was counted before is not"
            " counted again."
        ),
        example="7c41d0b2-0001",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        identifying=True,
        required=True,
        aliases=(
            *("id", "request id", "x request id", "call id", "event id", "log id", "message id"),
            *("correlation id", "trace id"),
        ),
    ),
    ListColumn(
        name="occurred_at",
        title=gettext_noop("Occurred at"),
        help=gettext_noop("When the call was made. UTC unless it says otherwise."),
        example="2026-11-01T08:15:30Z",
        parse=parse_moment_cell,
        identifying=True,
        required=True,
        aliases=(
            *("time", "timestamp", "date", "datetime", "request time", "started at", "created at"),
            *("event time", "at", "zeit", "zeitpunkt", "datum", "time iso8601"),
            "request timestamp",
        ),
    ),
    ListColumn(
        name="gateway",
        title=gettext_noop("Gateway"),
        help=gettext_noop("The name of the gateway that metered the call."),
        example="edge-eu",
        parse=text_parser(100),
        required=True,
        aliases=("gateway name", "cluster", "instance"),
    ),
    ListColumn(
        name="key",
        title=gettext_noop("Key"),
        help=gettext_noop(
            "What the caller sent: an API key, a client id, an alias. Needed if neither credential"
            " nor subscription is named."
        ),
        example="ak_live_5f2b8c1e9d",
        parse=text_parser(MAX_KEY_CHARACTERS),
        secret=True,
        aliases=(
            *("api key", "external key", "client id", "consumer key", "app id", "user key"),
            *("subscription key", "credential id", "consumer", "caller"),
        ),
    ),
    ListColumn(
        name="credential",
        title=gettext_noop("Credential"),
        help=gettext_noop(
            "The public id of the credential, cred_…, which the gateway vouches for. It decides"
            " before a key."
        ),
        example="cred_4d0c77d1f3a94c0d8f6b5c1e2a7b9d30",
        parse=text_parser(PUBLIC_ID_CHARACTERS),
        aliases=("public id", "credential public id", "x revcred credential"),
    ),
    ListColumn(
        name="subscription",
        title=gettext_noop("Subscription"),
        help=gettext_noop("The external key of the subscription that the call is charged to."),
        example="acme-maps",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        aliases=("subscription id", "product key"),
    ),
    ListColumn(
        name="source",
        title=gettext_noop("Source"),
        help=gettext_noop("The external key of the source that was called."),
        example="tiles",
        parse=text_parser(MAX_EXTERNAL_KEY_CHARACTERS),
        aliases=("api", "service", "api id", "api name", "service name"),
    ),
    ListColumn(
        name="method",
        title=gettext_noop("Method"),
        help=gettext_noop("Such as GET."),
        example="GET",
        parse=text_parser(20),
        aliases=("http method", "verb", "request method"),
    ),
    ListColumn(
        name="path",
        title=gettext_noop("Path"),
        help=gettext_noop("The path of the call. Host and query are left out."),
        example="/tiles/v1/12/2200/1343",
        parse=text_parser(2_000),
        shown_as=without_query,
        aliases=("uri", "url", "request uri", "request path", "resource path", "endpoint"),
    ),
    ListColumn(
        name="status",
        title=gettext_noop("Status"),
        help=gettext_noop("The status of the answer, such as 200."),
        example="200",
        parse=parse_whole_number_cell,
        aliases=("status code", "response code", "response status", "http status"),
    ),
    ListColumn(
        name="request_bytes",
        title=gettext_noop("Request bytes"),
        help=gettext_noop("The size of the request."),
        example="512",
        parse=parse_whole_number_cell,
        aliases=("request size", "request length", "bytes in", "bytes received"),
    ),
    ListColumn(
        name="response_bytes",
        title=gettext_noop("Response bytes"),
        help=gettext_noop("The size of the answer."),
        example="20480",
        parse=parse_whole_number_cell,
        aliases=("response size", "response length", "bytes out", "bytes sent"),
    ),
    ListColumn(
        name="latency_ms",
        title=gettext_noop("Latency in ms"),
        help=gettext_noop("How long the call took, in milliseconds."),
        example="12.5",
        parse=parse_decimal_cell,
        aliases=("latency", "duration ms", "response time", "response latency", "duration"),
    ),
    ListColumn(
        name="calls",
        title=gettext_noop("Calls"),
        help=gettext_noop(
            "How many calls the row stands for. Empty: one, unless there are elements."
        ),
        example="1",
        parse=parse_whole_number_cell,
        aliases=("count", "hits", "requests", "quantity", "anzahl"),
    ),
    ListColumn(
        name="elements",
        title=gettext_noop("Elements"),
        help=gettext_noop("What else is counted, as a JSON object of names and quantities."),
        example='{"tokens": 532}',
        parse=parse_json_object_cell,
        aliases=("metrics", "quantities"),
    ),
)
