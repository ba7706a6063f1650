from revcred.admin import (
    audit,
    credentials,
    customers,
    mail,
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
    "mail",
    "products",
    "subscriptions",
    "tokens",
    "uploads",
    "users",
]
