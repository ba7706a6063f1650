"""Exports of other systems, translated to our columns."""

from revcred.uploads.reading.foreign import (
    apigee,
    apisix,
    auth0,
    aws,
    axway,
    azure,
    gravitee,
    kong,
    krakend,
    kubernetes,
    revenium,
    threescale,
    tyk,
    unkey,
    wso2,
)
from revcred.uploads.reading.foreign.export_format import ExportFormat

# In this order: the first one that fits an item is its format.
EXPORT_FORMATS = (
    # Before Kong's, whose consumers need no more than a name.
    apisix.APISIX_EXPORT,
    kong.KONG_EXPORT,
    apigee.APIGEE_EXPORT,
    threescale.THREESCALE_EXPORT,
    tyk.TYK_EXPORT,
    gravitee.GRAVITEE_EXPORT,
    wso2.WSO2_EXPORT,
    azure.AZURE_EXPORT,
    axway.AXWAY_EXPORT,
    unkey.UNKEY_EXPORT,
    auth0.AUTH0_EXPORT,
    revenium.REVENIUM_EXPORT,
    aws.AWS_EXPORT,
    krakend.KRAKEND_EXPORT,
    kubernetes.KUBERNETES_EXPORT,
)

__all__ = ["EXPORT_FORMATS", "ExportFormat"]
