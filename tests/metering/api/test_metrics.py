import pytest
from django.db import connection

from metering.api import metrics
from metering.inbox.intake import accept_calls
from revcred import backups
from revcred.models import AuditEvent
from tests import factories

TRUSTED_TYPES_POLICY = "; require-trusted-types-for 'script'; trusted-types default"

pytestmark = pytest.mark.django_db


def test_metrics(client):
    gateway = factories.a_gateway()
    customer = factories.a_customer()
    factories.a_credential(
        customer, "a-key-for-metrics", subscriptions=[factories.a_subscription(customer)]
    )
    call = factories.a_call("a-key-for-metrics")
    factories.settled(call, call, factories.a_call("unknown-key"), gateway=gateway)
    accept_calls(gateway, [call], rejected=2)

    text = client.get("/metrics").text

    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    figures = {name.removeprefix("revcred_"): float(value) for name, value in figures.items()}
    assert figures.pop("lag_seconds_total") > 0
    assert figures.pop("oldest_waiting_seconds") > 0
    head = AuditEvent.objects.head()
    assert figures.pop(f'audit_head_info{{digest="{head.digest}"}}') == 1
    assert figures.pop("audit_events") == head.events > 0
    assert "revcred_pool_places" in text
    tables = {name for name in figures if name.startswith("table_rows")}
    assert {'table_rows{table="metering_quarantined"}'} < tables
    assert (
        figures.items()
        >= {
            "transactions_accepted_total": 3,
            "transactions_rejected_total": 0,
            "transactions_passed_over_total": 0,
            "transactions_repeated_total": 1,
            "transactions_conflicting_total": 0,
            "transactions_attributed_total": 1,
            "transactions_quarantined_total": 1,
            "waiting_transactions": 1,
            "open_claims": 1,
            "unrecorded_attempts": 0,
            "slow_path_rules": 0,
        }.items()
    )


@pytest.mark.parametrize("names", [metrics.GROWING_TABLES, backups.TABLES_WITHOUT_ROWS])
def test_tables_that_are_named_exist(names):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL", [[*names]]
        )
        assert cursor.fetchall() == []


def test_the_documentation_is_served_by_ourselves(client):
    page = client.get("/v1/docs/")

    assert page.status_code == 200
    assert "https://" not in page.text.replace("https://github.com", "")
    schema = client.get("/v1/openapi.json").json()
    assert set(schema["paths"]) >= {"/v1/transactions", "/v1/transactions/{transaction_id}"}


def test_the_documentation_is_under_the_policy_of_all_pages(client):
    client.force_login(factories.a_user())
    page, account = client.get("/v1/docs/"), client.get("/account/password/change/")

    for header in ("Cache-Control", "X-Frame-Options"):
        assert page[header] == account[header]
    # Its script makes HTML of texts, which pages with trusted types forbid.
    policy = page["Content-Security-Policy"]
    assert account["Content-Security-Policy"] == f"{policy}{TRUSTED_TYPES_POLICY}"
    assert "Content-Security-Policy" not in client.get("/v1/openapi.json")
