"""Plans by kind of list: the SQL that checks, writes and undoes rows."""

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

LIST_PLANS: dict[ListKind, ListPlan] = {
    ListKind.CREDENTIALS: credentials.CREDENTIALS_PLAN,
    ListKind.CUSTOMERS: customers.CUSTOMERS_PLAN,
    ListKind.SUBSCRIBERS: subscribers.SUBSCRIBERS_PLAN,
    ListKind.SUBSCRIPTIONS: subscriptions.SUBSCRIPTIONS_PLAN,
    ListKind.PRODUCTS: products.PRODUCTS_PLAN,
    ListKind.SOURCES: sources.SOURCES_PLAN,
    ListKind.GATEWAYS: gateways.GATEWAYS_PLAN,
}
# A thing is deleted after all that may refer to it: customers last.
UNDO_PLANS: list[UndoPlan] = [
    credentials.UNDO_CREDENTIALS,
    subscribers.UNDO_MEMBERSHIPS,
    subscriptions.UNDO_SUBSCRIPTIONS,
    products.UNDO_PRODUCTS,
    subscribers.UNDO_SUBSCRIBERS,
    customers.UNDO_CUSTOMERS,
    sources.UNDO_PATH_RULES,
    sources.UNDO_SOURCES,
    gateways.UNDO_GATEWAYS,
]


def connect_usage_lists(plan: ListPlan, undo: UndoPlan) -> None:
    """Connect metering's plan for lists of usage, when the process starts."""
    LIST_PLANS[ListKind.USAGE] = plan
    UNDO_PLANS.insert(0, undo)
