"""Metrics of checks, of the process that answers: what gateways were told, and the register."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Protocol

from prometheus_client import Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CHECKS = Counter(
    "revcred_checks",
    "Checks answered since the process that answers began, by what became or would become of them",
    ["gateway", "code"],
    registry=None,
)


STALE_CHECKS = Counter(
    "revcred_stale_checks",
    "Checks answered from what was last known, since the process that answers began",
    registry=None,
)


@cache
def check_counter(gateway: str, code: str) -> Counter:
    """Return the counter of these labels: to look it up by them takes several times as long."""
    return CHECKS.labels(gateway, code)


class MeasuredRegister(Protocol):
    """A register in memory as its metrics see it."""

    @property
    def is_loaded(self) -> bool: ...

    @property
    def age(self) -> float:
        """Return the seconds since the database last said what has changed."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Return the number of records by table."""
        ...


class RegisterCollector(Collector):
    """A Prometheus collector of the register in memory. Without one it has nothing to say."""

    def __init__(self) -> None:
        self.register: MeasuredRegister | None = None

    def collect(self) -> Iterator[Metric]:
        register = self.register
        if register is None or not register.is_loaded:
            return
        records = GaugeMetricFamily(
            "revcred_register_records",
            "Records in memory for checks, in the process that answers",
            labels=("table",),
        )
        for table, count in register.sizes().items():
            records.add_metric([table], count)
        yield records
        yield GaugeMetricFamily(
            "revcred_register_age_seconds",
            "Seconds since the database last said what has changed, in the process that answers",
            value=register.age,
        )


register_collector = RegisterCollector()
CHECK_METRICS = (CHECKS, STALE_CHECKS, register_collector)
