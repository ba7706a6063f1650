"""Metrics of what surrounds the calls: quarantine, attempts to sign in, mails, uploads, partitions.

Like those of the calls, they are read from the database at each scrape. Each query is bounded, so
that a scrape stays cheap whatever has piled up.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.db import connection
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from metering.ledger.partitions import partitioned_days
from metering.models import QuarantineReason
from revcred.actions.sign_ins import THROTTLED_VERBS
from revcred.models import Upload

ATTEMPT_MINUTES = 15
# No index has the moments of events. More than these in so few minutes are not counted.
MAX_LATEST_EVENTS = 10_000
MAX_COUNTED_OF_A_REASON = 100_000
MAX_ERROR_CLASSES = 20

# out: attempts by verb, those that wait to be recorded with those on record. An event stands for
# several attempts if it says so.
COUNT_ATTEMPTS = """
SELECT verb, sum(attempts) FROM (
    SELECT verb, coalesce((details ->> 'attempts')::bigint, 1) AS attempts
    FROM (
        SELECT at, verb, details FROM revcred_auditevent ORDER BY id DESC LIMIT %(events)s
    ) AS latest
    WHERE at > clock_timestamp() - make_interval(mins => %(minutes)s) AND verb = ANY(%(verbs)s)
    UNION ALL
    SELECT verb, unrecorded FROM revcred_failedsignins
) AS attempt
GROUP BY verb
"""
# Stops counting at a limit: a scanner's keys may lie there by the million. Each reason is a
# constant of the statement, so that PostgreSQL knows for which of them the index is quicker.
COUNT_OPEN_QUARANTINE = " UNION ALL ".join(
    f"""
    SELECT '{reason}', count(*) FROM (
        SELECT FROM metering_quarantined
        WHERE reason = '{reason}' AND released_at IS NULL LIMIT %(most)s
    ) AS few
    """
    for reason in QuarantineReason.values
)
MEASURE_OUTBOX = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
FROM revcred_outgoingmail WHERE next_try_at IS NOT NULL
"""
COUNT_UPLOADS = "SELECT state, count(*) FROM revcred_upload GROUP BY state"
COUNT_FAILING_DELIVERIES = """
SELECT last_error, count(*) FROM metering_delivery
WHERE attempts > 0 GROUP BY last_error ORDER BY 2 DESC LIMIT %(most)s
"""


class HealthCollector(Collector):
    """A Prometheus collector that queries the database at each scrape."""

    def collect(self) -> Iterator[Metric]:
        yield _labelled_gauge(
            "revcred_recent_attempts",
            f"Attempts of the last {ATTEMPT_MINUTES} minutes that anybody can repeat, by event",
            "event",
            dict.fromkeys(THROTTLED_VERBS, 0)
            | _query_pairs(
                COUNT_ATTEMPTS,
                verbs=[str(verb) for verb in THROTTLED_VERBS],
                minutes=ATTEMPT_MINUTES,
                events=MAX_LATEST_EVENTS,
            ),
        )
        yield _labelled_gauge(
            "revcred_open_quarantine",
            f"Transactions in quarantine, at most {MAX_COUNTED_OF_A_REASON} of each reason",
            "reason",
            _query_pairs(COUNT_OPEN_QUARANTINE, most=MAX_COUNTED_OF_A_REASON),
        )
        yield _labelled_gauge(
            "revcred_uploads",
            "Uploads, by state",
            "state",
            dict.fromkeys(Upload.State.values, 0) | _query_pairs(COUNT_UPLOADS),
        )
        yield _labelled_gauge(
            "revcred_failing_deliveries",
            "Deliveries in the inbox that were tried in vain, by the class of the last error",
            "error",
            _query_pairs(COUNT_FAILING_DELIVERIES, most=MAX_ERROR_CLASSES),
        )
        yield from _outbox_gauges()
        yield GaugeMetricFamily(
            "revcred_partition_days_ahead",
            "Days after today for which the ledger has partitions",
            value=_partition_days_ahead(),
        )


def _outbox_gauges() -> Iterator[Metric]:
    with connection.cursor() as cursor:
        cursor.execute(MEASURE_OUTBOX)
        mails, oldest = cursor.fetchone()
    yield GaugeMetricFamily("revcred_waiting_mails", "Mails in the outbox", value=int(mails))
    yield GaugeMetricFamily(
        "revcred_oldest_waiting_mail_seconds",
        "Age of the oldest mail in the outbox",
        value=float(oldest),
    )


def _partition_days_ahead() -> int:
    """Return how many days the last partition is ahead of today; negative if it is behind."""
    days = partitioned_days()
    return (days[-1] - datetime.now(UTC).date()).days if days else -1


def _query_pairs(statement: str, **arguments: Any) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(statement, arguments)
        return {str(name): int(count) for name, count in cursor.fetchall()}


def _labelled_gauge(name: str, help_text: str, label: str, values: Mapping[str, int]) -> Metric:
    gauge = GaugeMetricFamily(name, help_text, labels=(label,))
    for value, count in values.items():
        gauge.add_metric([str(value)], count)
    return gauge
