"""What each kind of list does to the tables it is about."""

from collections.abc import Mapping

from revcred.uploads.columns import Kind
from revcred.uploads.plans import credentials, customers, subscribers, subscriptions
from revcred.uploads.plans.plan import Merge, Undo

MERGES: Mapping[Kind, Merge] = {
    Kind.CREDENTIALS: credentials.MERGE,
    Kind.CUSTOMERS: customers.MERGE,
    Kind.SUBSCRIBERS: subscribers.MERGE,
    Kind.SUBSCRIPTIONS: subscriptions.MERGE,
}
# In the order in which things may go.
UNDOS: tuple[Undo, ...] = (
    credentials.UNDO,
    subscribers.UNDO_MEMBERSHIPS,
    subscriptions.UNDO,
    subscribers.UNDO,
    customers.UNDO,
)
