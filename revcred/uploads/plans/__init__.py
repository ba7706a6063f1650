"""Plans by kind of list: the SQL that checks, writes and undoes rows."""

from collections.abc import Mapping

from revcred.uploads.columns import ListKind
from revcred.uploads.plans import (
    credentials,
    customers,
    gateways,
    products,
    sources,
    subscribers,
    subscriptions,
)
from revcred.uploads.plans.plan import ListPlan, UndoPlan

LIST_PLANS: Mapping[ListKind, ListPlan] = {
    ListKind.CREDENTIALS: credentials.CREDENTIALS_PLAN,
    ListKind.CUSTOMERS: customers.CUSTOMERS_PLAN,
    ListKind.SUBSCRIBERS: subscribers.SUBSCRIBERS_PLAN,
    ListKind.SUBSCRIPTIONS: subscriptions.SUBSCRIPTIONS_PLAN,
    ListKind.PRODUCTS: products.PRODUCTS_PLAN,
    ListKind.SOURCES: sources.SOURCES_PLAN,
    ListKind.GATEWAYS: gateways.GATEWAYS_PLAN,
}
# A thing is deleted after all that may refer to it: customers last.
UNDO_PLANS: tuple[UndoPlan, ...] = (
    credentials.UNDO_CREDENTIALS,
    subscribers.UNDO_MEMBERSHIPS,
    subscriptions.UNDO_SUBSCRIPTIONS,
    products.UNDO_PRODUCTS,
    subscribers.UNDO_SUBSCRIBERS,
    customers.UNDO_CUSTOMERS,
    sources.UNDO_PATH_RULES,
    sources.UNDO_SOURCES,
    gateways.UNDO_GATEWAYS,
)
