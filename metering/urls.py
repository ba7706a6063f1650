from django.urls import path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView

from metering.api.metrics import metrics
from metering.api.transactions import TransactionReceipt, Transactions

app_name = "metering"

urlpatterns = [
    path("v1/transactions", Transactions.as_view(), name="transactions"),
    # A slash at the end is not worth a redirect, which clients answer with a GET.
    path("v1/transactions/", Transactions.as_view(schema=None)),
    path("v1/transactions/<path:transaction_id>", TransactionReceipt.as_view(), name="receipt"),
    path("v1/openapi.json", SpectacularJSONAPIView.as_view(), name="openapi"),
    path("v1/docs/", SpectacularSwaggerSplitView.as_view(url_name="metering:openapi"), name="docs"),
    path("metrics", metrics, name="metrics"),
]
