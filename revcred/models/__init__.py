from revcred.models.audit import AuditEvent
from revcred.models.credentials import (
    Assignment,
    Credential,
    ExternalKey,
    KeyUse,
    SealedCanary,
    SealedValue,
    Suspension,
)
from revcred.models.customers import Customer, Membership, Subscriber
from revcred.models.gateways import Gateway
from revcred.models.products import Product, Source
from revcred.models.subscriptions import Subscription
from revcred.models.users import User

__all__ = [
    "Assignment",
    "AuditEvent",
    "Credential",
    "Customer",
    "ExternalKey",
    "Gateway",
    "KeyUse",
    "Membership",
    "Product",
    "SealedCanary",
    "SealedValue",
    "Source",
    "Subscriber",
    "Subscription",
    "Suspension",
    "User",
]
