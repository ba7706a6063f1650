from metering.admin import claims, deliveries, gateways, quarantine, sources, transactions, usage

__all__ = ["claims", "deliveries", "gateways", "quarantine", "sources", "transactions", "usage"]
