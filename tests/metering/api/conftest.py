import json

import pytest
from django.utils import timezone

from metering.models import GatewayToken
from tests import factories

SCOPES = ["transactions:post", "receipts:read"]


@pytest.fixture
def gateway(db):
    return factories.a_gateway("edge")


@pytest.fixture
def token(gateway):
    return GatewayToken.issue(gateway, name="tests", scopes=SCOPES)[1]


@pytest.fixture
def post(client, token):
    """Post a body as the gateway: bytes as they are, anything else as JSON."""

    def post(body, content_type="application/json", **headers):
        data = body if isinstance(body, bytes | str) else json.dumps(body)
        headers = {"authorization": f"Bearer {token}"} | headers
        return client.post("/v1/transactions", data, content_type=content_type, headers=headers)

    return post


@pytest.fixture
def call():
    """A transaction as a gateway posts it."""

    def call(**fields):
        now = timezone.now().isoformat()
        said = {"transaction_id": "t-1", "occurred_at": now, "key": "some-key-of-a-caller"} | fields
        return {name: value for name, value in said.items() if value is not ...}

    return call
