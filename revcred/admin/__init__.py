from revcred.admin import (
    audit,
    credentials,
    customers,
    mail,
    products,
    subscriptions,
    tokens,
    users,
)
from revcred.uploads.doors import pages as upload_pages

__all__ = [
    "audit",
    "credentials",
    "customers",
    "mail",
    "products",
    "subscriptions",
    "tokens",
    "upload_pages",
    "users",
]
