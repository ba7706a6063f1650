"""Whether what the clients were told agrees with what is stored. The clients' record decides."""

from dataclasses import dataclass
from typing import Any

from bench.stack import Bench
from revcred.launcher.errors import LaunchError

ACCOUNT = """
WITH sent AS (
    SELECT
        transaction_id, min(known) AS known, count(answered_at) AS times,
        bool_or(answered_at IS NOT NULL) AS accepted
    FROM bench_sent GROUP BY 1
), stored AS (
    SELECT transaction_id, count(*) AS times, sum(ledger) AS ledger FROM (
        SELECT transaction_id, 1 AS ledger FROM metering_transaction
        UNION ALL SELECT transaction_id, 0 FROM metering_quarantined
    ) each GROUP BY 1
)
SELECT
    coalesce(sum(sent.times), 0)::bigint AS accepted,
    coalesce(sum(sent.times) FILTER (WHERE accepted) - count(*) FILTER (WHERE accepted), 0)::bigint
        AS repeats,
    count(*) FILTER (WHERE NOT accepted) AS unanswered,
    coalesce(sum(stored.ledger), 0)::bigint AS ledger,
    coalesce(sum(stored.times - stored.ledger), 0)::bigint AS quarantine,
    count(*) FILTER (WHERE accepted AND stored.times IS NULL) AS lost,
    count(*) FILTER (WHERE stored.times > 1) AS twice,
    count(*) FILTER (WHERE sent.transaction_id IS NULL) AS never_sent,
    count(*) FILTER (WHERE stored.ledger <> sent.known) AS misjudged,
    count(*) FILTER (WHERE NOT accepted AND stored.times IS NOT NULL) AS kept_unanswered,
    (SELECT coalesce(sum(repeated), 0)::bigint FROM metering_intakestats) AS repeats_tallied
FROM sent FULL JOIN stored USING (transaction_id)
"""


@dataclass(frozen=True)
class Proof:
    usage: str  # what verify_usage says
    accepted: int  # by the clients' record, as all that follows but what is said otherwise
    repeats: int
    unanswered: int  # no answer or a 5xx: kept or not, both are right
    ledger: int  # in the database, as the rest
    quarantine: int
    lost: int
    twice: int
    never_sent: int
    misjudged: int  # known keys in quarantine, or unknown ones in the ledger
    kept_unanswered: int
    repeats_tallied: int

    @property
    def is_exact(self) -> bool:
        """Whether all that was answered 202 stands once, where it belongs, and nothing else."""
        stored = self.ledger + self.quarantine - self.kept_unanswered
        wrong = self.lost + self.twice + self.never_sent + self.misjudged
        adds_up = self.accepted == stored + self.repeats
        return adds_up and not wrong and self.usage.endswith(" 0 differences.")

    @property
    def holds(self) -> bool:
        # A repeat of what was kept unanswered is one for the server alone.
        tallied = bool(self.unanswered) or self.repeats == self.repeats_tallied
        return self.is_exact and tallied


def prove(bench: Bench) -> Proof:
    account: Any = bench.database.execute(ACCOUNT).fetchone()
    return Proof(_verified(bench), *account)


def _verified(bench: Bench) -> str:
    try:
        return bench.manage("verify_usage")
    except LaunchError as problem:
        return str(problem)
