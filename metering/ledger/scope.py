"""The part of ledger and usage that one person may see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql


@dataclass(frozen=True, kw_only=True)
class LedgerScope:
    """All rows of some customers, and of others those of some credentials, as ids.

    `subscriptions`: every subscription that such a row can be charged to. Ledger and usage are
    indexed by it.
    """

    customers: Sequence[int]
    credentials: Sequence[int]
    subscriptions: Sequence[int]

    def of_subscription(self, subscription: int) -> "LedgerScope":
        """Return the part of the scope that is charged to one subscription."""
        return replace(self, subscriptions=[s for s in self.subscriptions if s == subscription])

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments that SCOPE_CONDITION needs."""
        return {
            "customers": list(self.customers),
            "credentials": list(self.credentials),
            "subscriptions": list(self.subscriptions),
        }


# Rows `t` of ledger or usage that are in the scope. The subscriptions are left to each statement.
SCOPE_CONDITION = sql.SQL("""(
    t.customer_id = ANY (%(customers)s::bigint[])
    OR t.credential_id = ANY (%(credentials)s::bigint[])
)""")
