from metering.admin import (
    claims,
    deliveries,
    gateways,
    quarantine,
    rejections,
    sources,
    transactions,
    usage,
)

__all__ = [
    "claims",
    "deliveries",
    "gateways",
    "quarantine",
    "rejections",
    "sources",
    "transactions",
    "usage",
]
