from metering.models.claims import Claim
from metering.models.deliveries import Delivery
from metering.models.drops import QuarantineDrop
from metering.models.gateways import GatewayToken
from metering.models.idempotency import IdempotentPost
from metering.models.inventories import InventoriedKey, KeyInventory
from metering.models.line_formats import LineFormat
from metering.models.partial_transactions import PartialTransaction
from metering.models.refused_calls import RefusedCall, RefusedCount
from metering.models.rejections import Rejection
from metering.models.sources import DiscoveredSource
from metering.models.transactions import (
    Conflict,
    MatchedBy,
    Quarantined,
    QuarantineReason,
    SeenTransaction,
    Transaction,
)
from metering.models.trial_calls import TrialCall
from metering.models.usage import (
    DailyGatewayUsage,
    DailyUsage,
    IntakeStats,
    StaleUsageDay,
    SummedUpDays,
    Usage,
)

__all__ = [
    "Claim",
    "Conflict",
    "DailyGatewayUsage",
    "DailyUsage",
    "Delivery",
    "DiscoveredSource",
    "GatewayToken",
    "IdempotentPost",
    "IntakeStats",
    "InventoriedKey",
    "KeyInventory",
    "LineFormat",
    "MatchedBy",
    "PartialTransaction",
    "QuarantineDrop",
    "QuarantineReason",
    "Quarantined",
    "RefusedCall",
    "RefusedCount",
    "Rejection",
    "SeenTransaction",
    "StaleUsageDay",
    "SummedUpDays",
    "Transaction",
    "TrialCall",
    "Usage",
]
