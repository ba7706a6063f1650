"""What each kind of list does to the tables it is about."""

from collections.abc import Mapping

from revcred.uploads.columns import Kind
from revcred.uploads.kinds import credentials, others
from revcred.uploads.kinds.merge import Merge, Undo

MERGES: Mapping[Kind, Merge] = {
    Kind.CREDENTIALS: credentials.MERGE,
}
# In the order in which they may go.
UNDOS: tuple[Undo, ...] = (
    credentials.UNDO,
    others.MEMBERSHIPS,
    others.SUBSCRIPTIONS,
    others.SUBSCRIBERS,
    others.CUSTOMERS,
)
