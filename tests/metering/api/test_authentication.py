import time

import pytest
from django.utils import timezone

from metering.api import authentication
from metering.models import GatewayToken
from metering.models.gateways import generate_gateway_token, is_well_formed_gateway_token
from tests import factories

pytestmark = pytest.mark.django_db


def test_a_bearer_token_and_an_api_key_are_the_same(client, token, call):
    for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}):
        response = client.post(
            "/v1/transactions", call(), content_type="application/json", headers=headers
        )
        assert response.status_code == 202


def test_the_prefix_that_some_clients_insist_on_may_be_left_out(client, token, call):
    assert token.startswith("hak_rvg_")
    headers = {"x-api-key": token.removeprefix("hak_")}
    response = client.post(
        "/v1/transactions", call(), content_type="application/json", headers=headers
    )

    assert response.status_code == 202


def test_no_token(client, call):
    response = client.post("/v1/transactions", call(), content_type="application/json")

    assert response.status_code == 401
    assert response.json()["code"] == "not_authenticated"
    assert response["WWW-Authenticate"] == 'Bearer realm="revcred"'


@pytest.mark.parametrize(
    "generate", [lambda: "x", lambda: "rvg_" + "0" * 38, generate_gateway_token]
)
def test_an_unknown_token(post, call, generate):
    response = post(call(), authorization=f"Bearer {generate()}")

    assert (response.status_code, response.json()["code"]) == (401, "unknown_token")


def test_a_token_that_is_mistyped_is_not_worth_a_question(token, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert (
            authentication.find_admission(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
        )


def test_a_token_is_asked_of_the_database_once_a_second(token, django_assert_num_queries):
    authentication.find_admission(token)
    with django_assert_num_queries(0):
        assert authentication.find_admission(token).gateway.name == "edge"


def test_a_revoked_token_is_dead_within_a_second(post, call, token):
    assert post(call()).status_code == 202

    GatewayToken.objects.get().revoke(at=timezone.now())
    # The cache forgets by its clock what it would have forgotten a second later.
    authentication._load_admission.cache.expire(time.monotonic() + 1.0)

    assert post(call()).status_code == 401


def test_the_tokens_of_a_suspended_gateway_are_refused(post, call, gateway):
    gateway.suspended_at = timezone.now()
    gateway.save()

    assert post(call()).status_code == 401


def test_a_token_may_do_what_its_scopes_say(client, gateway, call):
    poster = GatewayToken.issue(gateway, name="", scopes=["transactions:post"])[1]
    reader = GatewayToken.issue(gateway, name="", scopes=["receipts:read"])[1]
    factories.settled(factories.a_call(transaction_id="t-1"), gateway=gateway)

    def statuses(token):
        headers = {"x-api-key": token}
        posted = client.post(
            "/v1/transactions", call(), content_type="application/json", headers=headers
        )
        return posted.status_code, client.get("/v1/transactions/t-1", headers=headers).status_code

    assert statuses(poster) == (202, 403)
    assert statuses(reader) == (403, 200)


def test_its_use_is_noted(post, call, token):
    post(call())

    assert GatewayToken.objects.get().last_used_at is not None


def test_the_clock_is_the_databases(token):
    assert abs(authentication.find_admission(token).now() - timezone.now()).total_seconds() < 1


def test_tokens_are_told_by_their_checksum():
    tokens = [generate_gateway_token() for _ in range(200)]

    assert all(map(is_well_formed_gateway_token, tokens))
    assert not any(is_well_formed_gateway_token(each[:9] + "_" + each[10:]) for each in tokens)
    assert not is_well_formed_gateway_token("")


def test_only_a_tokens_digest_is_kept(token):
    row = GatewayToken.objects.values().get()

    assert token.removeprefix("hak_") not in str(row)
    assert str(GatewayToken.objects.get()) == f"rvg_…{token[-4:]}"
