from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import PathConverter
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from metering.api.cloudevents import CloudEvents, OpenMeter
from metering.api.doors import Dialect, Door
from metering.api.metrics import metrics
from metering.api.revenium import ai, partial_transactions, v1, v2
from metering.api.revenium.keys import ProductKey, ResolveKey
from metering.api.revenium.nowhere import ManagementApi, Metrics, Nowhere, OtherSignals
from metering.api.revenium.otlp import Logs, LogsDoor
from metering.api.revenium.tools import ToolEvents
from metering.api.transactions import TransactionReceipt, Transactions

app_name = "metering"


class AnythingConverter(PathConverter):
    """Also a line's end, which an id may have."""

    regex = "(?s:.+)"


register_converter(AnythingConverter, "anything")


# A slash at the end is not worth a redirect, which clients answer with a GET.
def posted_at(address: str, dialect: Dialect, door: type[Door] = Door) -> list[URLPattern]:
    return [
        path(address, door.as_view(dialect=dialect)),
        path(f"{address}/", door.as_view(dialect=dialect, schema=None)),
    ]


urlpatterns = [
    path("v1/transactions", Transactions.as_view(), name="transactions"),
    path("v1/transactions/", Transactions.as_view(schema=None)),
    path("v1/transactions/<anything:transaction_id>", TransactionReceipt.as_view(), name="receipt"),
    *posted_at("v1/events", CloudEvents()),
    *posted_at("api/v1/events", OpenMeter()),
    *posted_at("meter/v1/api/meter", v1.Meter()),
    path("meter/v1/api/meter/product-key", ProductKey.as_view()),
    *posted_at("meter/v1/api/event", partial_transactions.V1Events()),
    *posted_at("meter/v2/events", v2.Events()),
    *posted_at("meter/v2/apis/requests", partial_transactions.ApiRequests()),
    *posted_at("meter/v2/apis/responses", partial_transactions.ApiResponses()),
    *posted_at("meter/v2/ai/completions", ai.Completions()),
    *posted_at("meter/v2/ai/images", ai.Images()),
    *posted_at("meter/v2/ai/audio", ai.Audio()),
    *posted_at("meter/v2/ai/video", ai.Video()),
    *posted_at("meter/v2/tool/events", ToolEvents()),
    *posted_at("meter/v2/otlp/v1/logs", Logs(), LogsDoor),
    # An SDK leaves out the beginning.
    path("tool/events", Door.as_view(dialect=ToolEvents(), schema=None)),
    path("v2/otlp/v1/logs", LogsDoor.as_view(dialect=Logs(), schema=None)),
    re_path(r"^(?:meter/)?v2/otlp/v1/traces/?$", OtherSignals.as_view()),
    re_path(r"^(?:meter/)?v2/otlp/v1/metrics/?$", Metrics.as_view()),
    path("meter/v2/sdk/resolve-key", ResolveKey.as_view()),
    path("v2/sdk/resolve-key", ResolveKey.as_view(schema=None)),
    re_path(r"^(?:meter|tool|v2)(?:/.*)?$", Nowhere.as_view()),
    re_path(r"^(?:profitstream|api/v2)(?:/.*)?$", ManagementApi.as_view()),
    path("v1/openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("v1/docs/", SpectacularSwaggerSplitView.as_view(url_name="metering:openapi"), name="docs"),
    path("metrics", metrics, name="metrics"),
]
