from metering.models.claims import Claim
from metering.models.deliveries import Delivery
from metering.models.gateways import GatewayToken
from metering.models.idempotency import IdempotentPost
from metering.models.partial_transactions import Half
from metering.models.rejections import Rejection
from metering.models.sources import DiscoveredSource
from metering.models.transactions import (
    Conflict,
    MatchedBy,
    Quarantined,
    QuarantineReason,
    Remembered,
    Transaction,
)
from metering.models.usage import Tally, Usage

__all__ = [
    "Claim",
    "Conflict",
    "Delivery",
    "DiscoveredSource",
    "GatewayToken",
    "Half",
    "IdempotentPost",
    "MatchedBy",
    "QuarantineReason",
    "Quarantined",
    "Rejection",
    "Remembered",
    "Tally",
    "Transaction",
    "Usage",
]
