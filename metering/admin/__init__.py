from metering.admin import claims, deliveries, gateways, quarantine, transactions, usage

__all__ = ["claims", "deliveries", "gateways", "quarantine", "transactions", "usage"]
