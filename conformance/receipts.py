"""What became of a client's calls, as our own API tells it."""

import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

import psycopg

from conformance import leaks
from conformance.cast import CREDENTIAL, CUSTOMER, SUBSCRIPTION

PATIENCE = 30.0
GLANCE = 0.1

# Every id that a client's gateways have sent, and in how many rows it is.
SENT = """
SELECT g.name, t.transaction_id, count(*) FROM (
    SELECT gateway_id, transaction_id FROM metering_transaction
    UNION ALL
    SELECT gateway_id, transaction_id FROM metering_quarantined
) t JOIN revcred_gateway g ON g.id = t.gateway_id
WHERE g.name = ANY(%s)
GROUP BY 1, 2
"""
WAITING = """
SELECT (SELECT count(*) FROM metering_delivery)
    + (SELECT count(*) FROM metering_partialtransaction WHERE next_look_at <= now())
"""

Said = Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """One call, as the client's script told of it."""

    call: str
    mark: dict[str, Any] | None
    expected: dict[str, Any]
    error: str


class Ledger:
    def __init__(self, database: str, address: str) -> None:
        self._database = psycopg.connect(database, autocommit=True)
        self._address = address

    def wait(self) -> None:
        """Until nothing waits to be settled."""
        deadline = time.monotonic() + PATIENCE
        while self._one(WAITING) and time.monotonic() < deadline:
            time.sleep(GLANCE)

    def receipts(self, tokens: Mapping[str, str]) -> list[dict[str, Any]]:
        """Of all that these gateways have sent: what is there once too often is here as often."""
        found: list[dict[str, Any]] = []
        for gateway, name, rows in self._database.execute(SENT, [list(tokens)]):
            first = self._receipt(name, tokens[gateway])
            told = [first, *first["others_of_this_id"]]
            found += told + [first] * (rows - len(told))
        return found

    def lines_with(self, secrets: Collection[str]) -> list[str]:
        """Return the rows of any table in which one of these is, in whatever form."""
        with self._database.cursor() as cursor:
            return leaks.lines_with(leaks.everything(cursor), secrets)

    def _one(self, question: str) -> int:
        row = self._database.execute(question.encode()).fetchone()
        return int(row[0]) if row else 0

    def _receipt(self, transaction_id: str, token: str) -> dict[str, Any]:
        address = f"{self._address}/v1/transactions/{quote(transaction_id, safe='/')}"
        asked = Request(address, headers={"authorization": f"Bearer {token}"})  # noqa: S310
        with urlopen(asked) as response:  # noqa: S310
            receipt: dict[str, Any] = json.load(response)
        return receipt


def judged(told: Told, receipts: list[dict[str, Any]]) -> str:
    """What is wrong with this call; its receipt is taken from the others."""
    if told.error or told.mark is None:
        return told.error
    found = [each for each in receipts if _says(each, told.mark)]
    if len(found) != 1:
        return f"{len(found)} transactions"
    receipts.remove(found[0])
    return "; ".join(_differences(found[0], _wanted(told.expected)))


def left_over(receipts: Sequence[Said]) -> str:
    return f"{len(receipts)} transactions more than calls" if receipts else ""


def _wanted(expected: Said) -> dict[str, Any]:
    by_key = expected.get("matched_by", "key") == "key"
    return {
        "state": "attributed",
        "matched_by": "key",
        "credential": {"name": CREDENTIAL} if by_key else None,
        "subscription": {"external_key": SUBSCRIPTION},
        "customer": {"external_key": CUSTOMER},
        "conflicts": [],
        **expected,
    }


def _differences(receipt: Said, wanted: Said) -> list[str]:
    return [
        f"{name} is {receipt[name]}, not {value}"
        for name, value in wanted.items()
        if not _says(receipt[name], value) or (name == "elements" and receipt[name] != value)
    ]


def _says(said: Any, wanted: Any) -> bool:
    """Whether all that is wanted is said. More may be."""
    if isinstance(wanted, dict):
        return isinstance(said, dict) and all(
            _says(said.get(name), value) for name, value in wanted.items()
        )
    return bool(said == wanted)
