"""Figures for Prometheus, read from the database: the same whichever process is asked."""

from collections.abc import Iterator

from django.db import connection
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

SUM_INTAKE_COUNTS = """
SELECT
    coalesce(sum(accepted), 0), coalesce(sum(rejected), 0), coalesce(sum(passed_over), 0),
    coalesce(sum(repeated), 0), coalesce(sum(conflicting), 0), coalesce(sum(attributed), 0),
    coalesce(sum(quarantined), 0), coalesce(sum(lag), 0)
FROM metering_tally
"""
MEASURE_INBOX = """
SELECT
    coalesce(sum(transactions), 0),
    coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)
FROM metering_delivery
"""
COUNT_OPEN_CLAIMS = "SELECT count(*) FROM metering_claim WHERE finished_at IS NULL"


class MeteringCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        with connection.cursor() as cursor:
            cursor.execute(SUM_INTAKE_COUNTS)
            accepted, rejected, passed_over, *further = cursor.fetchone()
            repeated, conflicting, attributed, quarantined, lag = further
            cursor.execute(MEASURE_INBOX)
            waiting, oldest = cursor.fetchone()
            cursor.execute(COUNT_OPEN_CLAIMS)
            (claims,) = cursor.fetchone()
        yield _transaction_counter("accepted", "Transactions accepted, repeats included", accepted)
        yield _transaction_counter("rejected", "Transactions refused", rejected)
        yield _transaction_counter("passed_over", "Log records that are no calls", passed_over)
        yield _transaction_counter("repeated", "Transactions sent again", repeated)
        yield _transaction_counter(
            "conflicting", "Transactions sent again with another content", conflicting
        )
        yield _transaction_counter(
            "attributed", "Transactions attributed when they were settled", attributed
        )
        yield _transaction_counter(
            "quarantined", "Transactions quarantined when they were settled", quarantined
        )
        yield CounterMetricFamily(
            "revcred_lag_seconds",
            "From received to settled, summed over transactions: divide by accepted",
            value=float(lag),
        )
        yield GaugeMetricFamily("revcred_waiting_transactions", "In the inbox", value=int(waiting))
        yield GaugeMetricFamily(
            "revcred_oldest_waiting_seconds", "Age of the oldest in the inbox", value=float(oldest)
        )
        yield GaugeMetricFamily("revcred_open_claims", "Claims not finished", value=int(claims))


def _transaction_counter(name: str, what: str, value: int) -> Metric:
    return CounterMetricFamily(f"revcred_transactions_{name}", what, value=int(value))


metrics_registry = CollectorRegistry(auto_describe=False)
metrics_registry.register(MeteringCollector())


def metrics_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(generate_latest(metrics_registry), content_type=CONTENT_TYPE_LATEST)
