from django.urls import URLPattern, path, re_path, register_converter
from django.urls.converters import PathConverter
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from metering.api.cloudevents import CloudEventsDialect, OpenMeterDialect
from metering.api.doors import Dialect, Door
from metering.api.metrics import metrics_view
from metering.api.revenium import ai, partial_transactions, v1, v2
from metering.api.revenium.keys import ProductKeyView, ResolveKeyView
from metering.api.revenium.nowhere import (
    ManagementApiView,
    NothingHereView,
    OtherSignalsView,
    OtlpMetricsView,
)
from metering.api.revenium.otlp import OtlpLogsDialect, OtlpLogsDoor
from metering.api.revenium.tools import ToolEventsDialect
from metering.api.transactions import TransactionReceiptView, TransactionsView

app_name = "metering"


class AnythingConverter(PathConverter):
    """A part of an address with any characters: a transaction's id may contain line breaks."""

    regex = "(?s:.+)"


register_converter(AnythingConverter, "anything")


def door_urls(address: str, dialect: Dialect, door: type[Door] = Door) -> list[URLPattern]:
    """Return the patterns of a door, with and without a slash at the end."""
    # No redirect from one to the other: clients follow it with a GET, and the calls are lost.
    return [
        path(address, door.as_view(dialect=dialect)),
        path(f"{address}/", door.as_view(dialect=dialect, schema=None)),
    ]


urlpatterns = [
    path("v1/transactions", TransactionsView.as_view(), name="transactions"),
    path("v1/transactions/", TransactionsView.as_view(schema=None)),
    path(
        "v1/transactions/<anything:transaction_id>",
        TransactionReceiptView.as_view(),
        name="receipt",
    ),
    *door_urls("v1/events", CloudEventsDialect()),
    *door_urls("api/v1/events", OpenMeterDialect()),
    *door_urls("meter/v1/api/meter", v1.MeterDialect()),
    path("meter/v1/api/meter/product-key", ProductKeyView.as_view()),
    *door_urls("meter/v1/api/event", partial_transactions.V1EventsDialect()),
    *door_urls("meter/v2/events", v2.ProductEventsDialect()),
    *door_urls("meter/v2/apis/requests", partial_transactions.ApiRequestsDialect()),
    *door_urls("meter/v2/apis/responses", partial_transactions.ApiResponsesDialect()),
    *door_urls("meter/v2/ai/completions", ai.AiCompletionsDialect()),
    *door_urls("meter/v2/ai/images", ai.AiImagesDialect()),
    *door_urls("meter/v2/ai/audio", ai.AiAudioDialect()),
    *door_urls("meter/v2/ai/video", ai.AiVideoDialect()),
    *door_urls("meter/v2/tool/events", ToolEventsDialect()),
    *door_urls("meter/v2/otlp/v1/logs", OtlpLogsDialect(), OtlpLogsDoor),
    # Addresses without the prefix "meter/v2/", as one SDK builds them.
    path("tool/events", Door.as_view(dialect=ToolEventsDialect(), schema=None)),
    path("v2/otlp/v1/logs", OtlpLogsDoor.as_view(dialect=OtlpLogsDialect(), schema=None)),
    re_path(r"^(?:meter/)?v2/otlp/v1/traces/?$", OtherSignalsView.as_view()),
    re_path(r"^(?:meter/)?v2/otlp/v1/metrics/?$", OtlpMetricsView.as_view()),
    path("meter/v2/sdk/resolve-key", ResolveKeyView.as_view()),
    path("v2/sdk/resolve-key", ResolveKeyView.as_view(schema=None)),
    re_path(r"^(?:meter|tool|v2)(?:/.*)?$", NothingHereView.as_view()),
    re_path(r"^(?:profitstream|api/v2)(?:/.*)?$", ManagementApiView.as_view()),
    path("v1/openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("v1/docs/", SpectacularSwaggerSplitView.as_view(url_name="metering:openapi"), name="docs"),
    path("metrics", metrics_view, name="metrics"),
]
