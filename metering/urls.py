from django.urls import path, re_path, register_converter
from django.urls.converters import PathConverter
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from metering.agent.pages import (
    AGENT_DIGEST_PATH,
    AGENT_PATH,
    agent_digest_view,
    agent_view,
)
from metering.api.key_inventory import KeyInventoryView
from metering.api.metrics import metrics_view
from metering.api.receipts import TransactionReceiptView
from metering.api.registered_doors import DOORS, MANAGEMENT_ROOTS, METERING_ROOTS
from metering.api.rejected_list import RejectionsView
from metering.api.revenium.keys import ProductKeyView, ResolveKeyView
from metering.api.revenium.nowhere import (
    ManagementApiView,
    NothingHereView,
    OtlpMetricsView,
)
from metering.api.snapshot import SnapshotView
from metering.api.verification.answering import SIGNING_KEYS_PATH
from metering.api.verification.views import ForwardAuthView, VerifyView, signing_keys_view

app_name = "metering"


class AnythingConverter(PathConverter):
    """A part of an address with any characters: a transaction's id may contain line breaks."""

    regex = "(?s:.+)"


register_converter(AnythingConverter, "anything")


urlpatterns = [
    *(url for door in DOORS for url in door.urls()),
    path(
        "v1/transactions/<anything:transaction_id>",
        TransactionReceiptView.as_view(),
        name="receipt",
    ),
    path("v1/rejections", RejectionsView.as_view(), name="rejections"),
    path("v1/keys", SnapshotView.as_view(), name="keys"),
    path("v1/keys/inventory", KeyInventoryView.as_view(), name="key_inventory"),
    path("v1/verify", VerifyView.as_view(), name="verify"),
    path("v1/auth", ForwardAuthView.as_view(), name="forward_auth"),
    path("v1/auth/<path:called>", ForwardAuthView.as_view(schema=None)),
    path("v1/auth/", ForwardAuthView.as_view(schema=None)),
    path(SIGNING_KEYS_PATH[1:], signing_keys_view, name="signing_keys"),
    path("meter/v1/api/meter/product-key", ProductKeyView.as_view()),
    re_path(r"^(?:meter/)?v2/otlp/v1/metrics/?$", OtlpMetricsView.as_view()),
    path("meter/v2/sdk/resolve-key", ResolveKeyView.as_view()),
    path("v2/sdk/resolve-key", ResolveKeyView.as_view(schema=None)),
    re_path(rf"^(?:{'|'.join(METERING_ROOTS)})(?:/.*)?$", NothingHereView.as_view()),
    re_path(rf"^(?:{'|'.join(MANAGEMENT_ROOTS)})(?:/.*)?$", ManagementApiView.as_view()),
    path("v1/openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("v1/docs/", SpectacularSwaggerSplitView.as_view(url_name="metering:openapi"), name="docs"),
    path(AGENT_PATH[1:], agent_view, name="agent"),
    path(AGENT_DIGEST_PATH[1:], agent_digest_view, name="agent_digest"),
    path("metrics", metrics_view, name="metrics"),
]
