import json

import pytest

from metering.attribution.processing import process_waiting_deliveries
from metering.models import Quarantined, Transaction
from metering.pairing.completion import pair_due_partials
from tests import factories

KEY = "ak_live_demo_9c2e"


@pytest.fixture
def revenium(client, token):
    """Post a body, or ask, as Revenium's clients do."""

    def revenium(path, body=None, **headers):
        headers = {"x-api-key": token} | headers
        if body is None:
            return client.get(path, headers=headers)
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        return client.post(path, data, content_type="application/json", headers=headers)

    return revenium


@pytest.fixture
def subscription(db):
    return factories.a_subscription(factories.a_customer("Acme"), external_key="sub-key-1")


@pytest.fixture
def credential(subscription):
    return factories.a_credential(subscription.customer, KEY, subscriptions=[subscription])


@pytest.fixture
def settled():
    """Whatever waits, settled: the ledger's rows and those in quarantine, by transaction id."""

    def settled():
        while pair_due_partials():
            pass
        process_waiting_deliveries()
        rows = [*Transaction.objects.order_by("pk"), *Quarantined.objects.order_by("pk")]
        return {row.transaction_id: row for row in rows}

    return settled
