from revcred.admin import (
    appearance,
    audit,
    credential_requests,
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
    "appearance",
    "audit",
    "credential_requests",
    "credentials",
    "customers",
    "mail",
    "products",
    "subscriptions",
    "tokens",
    "upload_pages",
    "users",
]
