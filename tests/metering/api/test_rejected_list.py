import pytest

from metering.models import GatewayToken
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "some-key-of-a-caller"


@pytest.fixture
def listed(client, token):
    def listed(query="", token=token):
        answer = client.get(f"/v1/rejections{query}", headers={"x-api-key": token})
        assert answer.status_code == 200
        return answer.json()

    return listed


def test_the_latest_rejections_of_a_gateway(listed, post, call, gateway):
    post([call(), call(transaction_id="t-2", occurred_at="soon"), call(source=5)])
    other = factories.a_gateway("other")
    assert other != gateway

    found = listed()

    assert found["counts"] == {"invalid": 2}
    latest, first = found["rejections"]
    assert (first["transaction_id"], first["field"], first["index"]) == ("t-2", "occurred_at", 1)
    assert (latest["code"], latest["door"]) == ("invalid", "/v1/transactions")
    assert "removed-" in latest["item"]
    assert KEY not in latest["item"]


def test_rejections_of_one_code(listed, post, call):
    post([call(occurred_at="soon"), call(occurred_at="2001-01-01T00:00:00Z")])

    found = listed("?code=too_old")

    assert [each["code"] for each in found["rejections"]] == ["too_old"]
    assert found["counts"] == {"invalid": 1, "too_old": 1}


def test_nothing_of_another_gateway_is_listed(listed, post, call):
    post([call(occurred_at="soon")])
    other = factories.a_gateway("other")
    _, token = GatewayToken.issue(other, name="tests", scopes=["receipts:read"])

    assert listed(token=token) == {"rejections": [], "counts": {}}


def test_a_test_token_sees_none(listed, post, call, gateway):
    post([call(occurred_at="soon")])
    scopes = ["receipts:read"]
    _, token = GatewayToken.issue(gateway, name="tests", scopes=scopes, is_test=True)

    assert listed(token=token)["rejections"] == []


def test_a_token_needs_the_right(client, gateway):
    _, token = GatewayToken.issue(gateway, name="tests", scopes=["transactions:post"])

    assert client.get("/v1/rejections", headers={"x-api-key": token}).status_code == 403
