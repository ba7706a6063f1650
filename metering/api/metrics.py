"""Metrics for Prometheus.

Nearly all are read from the database and not counted in memory, so that every web process answers
the same numbers and none are lost when a process ends. Pools of threads and checks of calls are
each process's own.
"""

from collections.abc import Iterable, Iterator, Mapping

from django.db import connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from metering.api.health_metrics import HealthCollector
from metering.verification.check_metrics import CHECK_METRICS
from revcred import backups
from revcred.models import AuditEvent
from revcred.postgresql.estimates import estimate_rows
from revcred.server.pools import POOL_METRICS

# All hours together: Prometheus needs counters that only grow, and it makes rates of them itself.
SUM_INTAKE_COUNTS = """
SELECT
    coalesce(sum(accepted), 0), coalesce(sum(rejected), 0), coalesce(sum(passed_over), 0),
    coalesce(sum(repeated), 0), coalesce(sum(conflicting), 0), coalesce(sum(attributed), 0),
    coalesce(sum(quarantined), 0), coalesce(sum(lag), 0)
FROM metering_intakestats
"""
# The age of the oldest delivery is the first figure that shows that no worker is running.
MEASURE_INBOX = """
SELECT
    coalesce(sum(transactions), 0),
    coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)
FROM metering_delivery
"""
SUM_DROPPED_CALLS = "SELECT reason, cause, sum(calls) FROM metering_quarantinedrop GROUP BY 1, 2"
# Tables that grow by what others send. The numbers are what PostgreSQL last saw: counting millions
# of rows at each scrape would take long.
GROWING_TABLES = (
    *("metering_transaction", "metering_quarantined", "metering_seentransaction"),
    *("metering_conflict", "metering_partialtransaction", "metering_idempotentpost"),
    *("metering_discoveredsource", "metering_claim", "metering_rejection"),
    *("revcred_session", "revcred_ratecounter", "revcred_failedsignins", "revcred_auditevent"),
    *("revcred_uploadchange", "revcred_outgoingmail"),
)
COUNT_SLOW_PATH_RULES = """
SELECT count(*) FROM revcred_pathrule WHERE switched_off AND found_slow_at IS NOT NULL
"""
SUM_UNRECORDED_ATTEMPTS = "SELECT coalesce(sum(unrecorded), 0) FROM revcred_failedsignins"
COUNT_OPEN_CLAIMS = "SELECT count(*) FROM metering_claim WHERE finished_at IS NULL"


class MeteringCollector(Collector):
    """A Prometheus collector that queries the database at each scrape."""

    def collect(self) -> Iterator[Metric]:
        with connection.cursor() as cursor:
            cursor.execute(SUM_INTAKE_COUNTS)
            accepted, rejected, passed_over, *further = cursor.fetchone()
            repeated, conflicting, attributed, quarantined, lag = further
            cursor.execute(MEASURE_INBOX)
            waiting, oldest = cursor.fetchone()
            cursor.execute(COUNT_OPEN_CLAIMS)
            (claims,) = cursor.fetchone()
            cursor.execute(SUM_DROPPED_CALLS)
            dropped = cursor.fetchall()
            cursor.execute(SUM_UNRECORDED_ATTEMPTS)
            (unrecorded,) = cursor.fetchone()
            cursor.execute(COUNT_SLOW_PATH_RULES)
            (slow_rules,) = cursor.fetchone()
        head = AuditEvent.objects.head()
        yield _transaction_counter("accepted", "Transactions accepted, repeats included", accepted)
        yield _transaction_counter("rejected", "Transactions rejected", rejected)
        yield _transaction_counter("passed_over", "Log records that are no calls", passed_over)
        yield _transaction_counter("repeated", "Transactions sent again", repeated)
        yield _transaction_counter(
            "conflicting", "Transactions sent again with another content", conflicting
        )
        yield _transaction_counter(
            "attributed", "Transactions attributed when they were processed", attributed
        )
        yield _transaction_counter(
            "quarantined", "Transactions quarantined when they were processed", quarantined
        )
        yield CounterMetricFamily(
            "revcred_lag_seconds",
            "Seconds from receipt to attribution, summed: divide by accepted",
            value=float(lag),
        )
        yield GaugeMetricFamily(
            "revcred_waiting_transactions", "Transactions in the inbox", value=int(waiting)
        )
        yield GaugeMetricFamily(
            "revcred_oldest_waiting_seconds",
            "Age of the oldest delivery in the inbox",
            value=float(oldest),
        )
        yield GaugeMetricFamily(
            "revcred_open_claims", "Re-attributions that are not finished", value=int(claims)
        )
        yield _dropped_counter(dropped)
        yield _rows_gauge(estimate_rows(GROWING_TABLES))
        yield GaugeMetricFamily(
            "revcred_unrecorded_attempts",
            "Failed and refused attempts that are counted and not yet in the audit",
            value=int(unrecorded),
        )
        yield GaugeMetricFamily(
            "revcred_slow_path_rules",
            "Path rules that were switched off because they took long",
            value=int(slow_rules),
        )
        if made_at := backups.last_backup_at():
            yield GaugeMetricFamily(
                "revcred_last_backup_timestamp_seconds",
                "When the last backup was made",
                value=made_at.timestamp(),
            )
        yield GaugeMetricFamily("revcred_audit_events", "Events in the audit", value=head.events)
        yield InfoMetricFamily(
            "revcred_audit_head", "The last digest of the audit", value={"digest": head.digest}
        )


def _dropped_counter(rows: Iterable[tuple[str, str, int]]) -> Metric:
    counter = CounterMetricFamily(
        "revcred_transactions_dropped",
        "Transactions dropped from quarantine, which belonged to nobody",
        labels=("reason", "cause"),
    )
    for reason, cause, calls in rows:
        counter.add_metric([reason, cause], int(calls))
    return counter


def _rows_gauge(tables: Mapping[str, int]) -> Metric:
    gauge = GaugeMetricFamily(
        "revcred_table_rows", "Rows of tables that grow, estimated", labels=("table",)
    )
    for name, rows in tables.items():
        gauge.add_metric([name], rows)
    return gauge


def _transaction_counter(name: str, help_text: str, value: int) -> Metric:
    return CounterMetricFamily(f"revcred_transactions_{name}", help_text, value=int(value))


# A registry of its own leaves out the metrics of this one process, such as its memory and threads.
# `auto_describe=False` since describing the collector would query the database at import.
metrics_registry = CollectorRegistry(auto_describe=False)
metrics_registry.register(MeteringCollector())
metrics_registry.register(HealthCollector())
disable_created_metrics()  # type: ignore[no-untyped-call]  # when one began is of no use
for process_metric in (*POOL_METRICS, *CHECK_METRICS):
    metrics_registry.register(process_metric)


def metrics_view(request: HttpRequest) -> HttpResponse:
    """Answer all metrics in Prometheus' text format."""
    return HttpResponse(generate_latest(metrics_registry), content_type=CONTENT_TYPE_LATEST)
