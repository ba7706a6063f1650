from revcred.admin import audit, credentials, customers, products, subscriptions, users

__all__ = ["audit", "credentials", "customers", "products", "subscriptions", "users"]
