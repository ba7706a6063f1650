"""Figures about the service itself, and what is made of them: alerts and a dashboard."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from metering.ledger.partitions import PARTITION_DAYS_AHEAD
from metering.models import Delivery, Quarantined, QuarantineReason
from revcred import outbox
from revcred.actions import sign_ins
from revcred.models import AuditVerb, OutgoingMail, Upload
from revcred.server.pools import RequestPool
from tests import factories

pytestmark = pytest.mark.django_db

DEPLOY = Path(__file__).parents[3] / "deploy"
# Prometheus makes this one itself, of each process that it asks.
MADE_BY_PROMETHEUS = {"up"}
METRIC_NAME = re.compile(r"\b(?:revcred_\w+|up)\b")
MATCHERS = re.compile(r"\b(revcred_\w+)\{([^}]*)\}")
MATCHER = re.compile(r"(\w+)=~?\"([^\"]*)\"")


@pytest.fixture
def samples(client):
    """What /metrics says, as it is asked: `{(name, label's value): figure}`."""

    def ask():
        families = text_string_to_metric_families(client.get("/metrics").text)
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }

    return ask


def a_delivery(error):
    """One that failed with this error, or waits for its first attempt."""
    return Delivery.objects.create(
        gateway=factories.a_gateway(),
        transactions=1,
        body="[]",
        attempts=1 if error else 0,
        last_error=error,
    )


def test_attempts_of_the_last_minutes_are_counted_by_event(samples):
    ann, bo = factories.a_user(), factories.a_user()
    for user in (ann, ann, ann, bo, None):
        sign_ins.record_throttled_event(
            verb=AuditVerb.SIGN_IN_FAILED, user=user, address="192.0.2.1"
        )

    said = samples()

    # Two of these are not yet in the audit.
    assert said["revcred_recent_attempts", "sign_in_failed"] == 5
    assert said["revcred_recent_attempts", "sign_in_limited"] == 0


def test_quarantine_is_counted_by_reason_without_what_was_released(samples):
    factories.settled(factories.a_call("one"), factories.a_call("two"), factories.a_call("three"))
    Quarantined.objects.filter(pk=Quarantined.objects.first().pk).update(released_at=timezone.now())

    said = samples()

    assert said["revcred_open_quarantine", "unknown_key"] == 2
    assert all(("revcred_open_quarantine", reason) in said for reason in QuarantineReason.values)


def test_mails_in_the_outbox_have_an_age(samples):
    assert samples()["revcred_waiting_mails",] == 0
    mail = outbox.queue_mail(
        "emails/password_link", "ann@example.com", {"user": factories.a_user(), "url": "https://a"}
    )
    OutgoingMail.objects.filter(pk=mail.pk).update(
        created_at=timezone.now() - timedelta(seconds=90)
    )

    said = samples()

    assert said["revcred_waiting_mails",] == 1
    assert 90 <= said["revcred_oldest_waiting_mail_seconds",] < 600


def test_uploads_and_failing_deliveries_are_counted_by_what_they_are(samples):
    Upload.objects.create(kind="customers", file_name="a.csv", size=1, state=Upload.State.APPLYING)
    for error in ("QueryCanceled", "QueryCanceled", ""):
        a_delivery(error)

    said = samples()

    assert said["revcred_uploads", "applying"] == 1
    assert said["revcred_uploads", "checking"] == 0
    assert said["revcred_failing_deliveries", "QueryCanceled"] == 2
    assert ("revcred_failing_deliveries", "") not in said


def test_the_ledger_has_partitions_ahead(samples):
    # On a busy machine the day may have changed since they were made.
    days = samples()["revcred_partition_days_ahead",]
    assert days in {PARTITION_DAYS_AHEAD, PARTITION_DAYS_AHEAD - 1}


# --- Alerts and dashboard -------------------------------------------------------------------------


def alert_expressions():
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    return {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}


def panel_expressions():
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    return {
        f"{panel['title']}, {target['refId']}": target["expr"]
        for panel in panels
        for target in panel["targets"]
    }


def test_alerts_and_panels_use_what_is_there(samples):
    a_delivery("QueryCanceled")  # without one, there is no figure of them
    RequestPool("pages", threads=1, seconds=1)  # likewise
    said = samples()
    names = {name for name, *_ in said}
    used = alert_expressions() | panel_expressions()

    assert len(used) > 20
    for place, expression in used.items():
        found = set(METRIC_NAME.findall(expression))
        assert found, place
        assert found - MADE_BY_PROMETHEUS <= names, place
        for name, matchers in MATCHERS.findall(expression):
            for _, values in MATCHER.findall(matchers):
                for value in values.split("|"):
                    assert (name, value) in said, place


def test_every_metric_is_explained(samples):
    a_delivery("QueryCanceled")
    explained = METRIC_NAME.findall((DEPLOY.parent / "docs/operating.md").read_text())

    assert {name for name, *_ in samples()} - set(explained) == set()


def test_every_alert_says_what_to_do():
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
            assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
            assert rule["for"], rule["alert"]
