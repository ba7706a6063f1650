"""Metrics of checks: what gateways were told, by process, and what the process knows."""

import pytest

from metering.api.metrics import metrics_registry
from metering.verification.check_metrics import RegisterCollector, register_collector
from tests.metering.verification.test_memory import (  # noqa: F401 - fixtures
    KEY,
    ask,
    checks,
    credential,
    gateway,
    idle_checks,
    memory,
    token,
)

pytestmark = pytest.mark.django_db(transaction=True)


def counted(code):
    labels = {"gateway": "edge", "code": code}
    return metrics_registry.get_sample_value("revcred_checks_total", labels) or 0


def test_answers_are_counted_by_gateway_and_code_also_from_the_cache(
    checks, token  # noqa: F811
):  # fmt: skip
    before = {code: counted(code) for code in ("valid", "unknown_key")}

    given = ask(checks, token, x_api_key=KEY)
    assert ask(checks, token, x_api_key=KEY) is given
    ask(checks, token, x_api_key="nobody-has-this-key")

    assert counted("valid") - before["valid"] == 2
    assert counted("unknown_key") - before["unknown_key"] == 1


def test_stale_answers_are_counted(checks, memory, token):  # noqa: F811
    before = metrics_registry.get_sample_value("revcred_stale_checks_total")
    memory._beat_at -= 1_000

    ask(checks, token, x_api_key=KEY)

    assert metrics_registry.get_sample_value("revcred_stale_checks_total") == before + 1


def test_the_register_tells_its_size_and_age(checks, memory):  # noqa: F811
    assert register_collector.register is memory
    found = {
        (sample.name, sample.labels.get("table")): sample.value
        for metric in register_collector.collect()
        for sample in metric.samples
    }

    assert found["revcred_register_records", "keys"] == 1
    assert found["revcred_register_records", "subscriptions"] == 1
    assert 0 <= found["revcred_register_age_seconds", None] < 60


def test_without_a_register_nothing_is_told_of_one():
    assert list(RegisterCollector().collect()) == []
