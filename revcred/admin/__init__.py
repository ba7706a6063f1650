from revcred.admin import (
    audit,
    credentials,
    customers,
    products,
    subscriptions,
    tokens,
    uploads,
    users,
)

__all__ = [
    "audit",
    "credentials",
    "customers",
    "products",
    "subscriptions",
    "tokens",
    "uploads",
    "users",
]
