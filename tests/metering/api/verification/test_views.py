"""Checks over HTTP, answered by Django from the database."""

import base64

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from metering.models import GatewayToken, RefusedCall, RefusedCount
from revcred.actions import credentials
from revcred.models import Gateway, Source
from tests import factories

pytestmark = pytest.mark.django_db

KEY = "the-key-of-a-caller-of-tests"
SCOPES = ["calls:check", "calls:vouch"]
HEADERS = (
    *("X-Revcred-Code", "X-Revcred-Credential", "X-Revcred-Subscription", "X-Revcred-Customer"),
    *("X-Revcred-Product", "X-Revcred-Quota-Remaining", "X-Revcred-Check", "X-Revcred-Claim"),
)


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", check_mode="enforce")


@pytest.fixture
def token(gateway):
    return GatewayToken.issue(gateway, name="tests", scopes=SCOPES)[1]


@pytest.fixture
def credential():
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(
        customer, external_key="fleet", product=factories.a_product("Maps"), quota=10
    )
    return factories.a_credential(
        customer, KEY, subscriptions=[subscription], environment="production", tags=["eu"]
    )


@pytest.fixture
def verify(client, token):
    def ask(data, **headers):
        headers = headers or {"Authorization": f"Bearer {token}"}
        return client.post("/v1/verify", data, content_type="application/json", headers=headers)

    return ask


@pytest.fixture
def auth(client, token):
    def ask(path="/v1/auth", method="GET", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"X-Revcred-Token": token} | headers
        return client.generic(method, path, headers=sent)

    return ask


def test_a_valid_call_is_told_whose_it_is(verify, credential):
    answer = verify({"key": KEY, "path": "/maps/1?api_key=other", "method": "GET"})

    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    found = answer.json()
    assert found.pop("quota")[0] | {"resets_at": ""} == {
        "element": "calls",
        "limit": 10,
        "used": 0,
        "resets_at": "",
    }
    assert found == {
        "allowed": True,
        "code": "valid",
        "check": None,
        "credential": credential.public_id,
        "subscription": "fleet",
        "customer": "acme",
        "product": "maps",
        "environment": "production",
        "tags": ["eu"],
        "valid_until": None,
        "stale": False,
    }


def test_many_are_answered_in_their_order(verify, credential):
    credentials.suspend_credential(credential=credential, by=None)

    answers = verify([{"key": KEY}, {"key": "unknown-to-us"}, {"id": credential.public_id}]).json()

    assert [answer["code"] for answer in answers] == ["suspended", "unknown_key", "suspended"]
    assert {answer["allowed"] for answer in answers} == {False}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"key": "a", "id": "b"}, "key"),
        ({}, "key"),
        ({"key": "a\0b"}, "key"),
        ({"key": "k" * 5_000}, "key"),
        ({"key": "  "}, "key"),
        ({"key": 5}, "key"),
        ({"key": KEY, "source": "nowhere"}, "source"),
        ({"key": KEY, "subscription": "s" * 201}, "subscription"),
        ([{"key": KEY}, {"key": "a\0b"}], "key"),
    ],
)
def test_a_wrong_field_is_named(verify, data, field):
    answer = verify(data)

    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert answer.json().get("index") == (1 if isinstance(data, list) else None)


@pytest.mark.parametrize("body", ["", "{", "[]", '"key"', '{"unknown": 1}', "\xff", "[" * 9_000])
def test_a_body_that_is_no_question_is_rejected(verify, body):
    answer = verify(body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed"


@pytest.mark.parametrize(
    ("scopes", "data", "status"),
    [
        (["transactions:post"], {"key": KEY}, 403),
        (["calls:check"], {"key": KEY}, 200),
        (["calls:check"], {"key": KEY, "subscription": "fleet"}, 200),
        (["calls:check"], {"subscription": "fleet"}, 403),
        (["calls:check"], {"id": KEY}, 403),
    ],
)
def test_a_token_asks_within_its_scopes(client, gateway, scopes, data, status):
    token = GatewayToken.issue(gateway, name="tests", scopes=scopes)[1]

    answer = client.post(
        "/v1/verify", data, content_type="application/json", headers={"X-Api-Key": token}
    )

    assert answer.status_code == status


def test_forward_authentication_sends_all_headers(auth, credential):
    allowed, unknown = auth(X_Api_Key=KEY), auth(X_Api_Key="unknown-to-us")

    assert (allowed.status_code, allowed.content) == (200, b"")
    assert [allowed.headers[name] for name in HEADERS] == [
        *("valid", credential.public_id, "fleet", "acme", "maps", "10", "", "")
    ]
    assert (unknown.status_code, unknown.headers["WWW-Authenticate"]) == (401, 'ApiKey realm="api"')
    assert [name for name in HEADERS if unknown.headers[name]] == [
        *("X-Revcred-Code", "X-Revcred-Check")
    ]


@pytest.mark.parametrize(
    ("place", "name", "path", "headers"),
    [
        ("header", "X-Caller", "/v1/auth", {"X_Caller": KEY}),
        ("bearer", "", "/v1/auth", {"Authorization": f"Bearer {KEY}"}),
        (
            *("basic", "", "/v1/auth"),
            {"Authorization": "Basic " + base64.b64encode(f"{KEY}:x".encode()).decode()},
        ),
        ("query", "api_key", "/v1/auth", {"X_Original_URI": f"/maps/1?a=b&API_KEY={KEY}"}),
        ("query", "api_key", "/v1/auth", {"X_Forwarded_Uri": f"/maps/1?api_key={KEY}#x"}),
        ("query", "api_key", f"/v1/auth/maps/1?api_key={KEY}", {}),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "PROPFIND"])
def test_the_key_is_read_where_the_gateway_says(  # noqa: PLR0917 - a case
    auth, credential, gateway, place, name, path, headers, method
):
    Gateway.objects.filter(pk=gateway.pk).update(key_place=place, key_name=name or "X-Api-Key")

    assert auth(path, method, **headers).status_code == 200
    assert auth(path.partition("?")[0], method).status_code == 401


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"X_Revcred_Token": ""}, 401, "not_authenticated"),
        ({"X_Revcred_Token": "hak_rvg_nobody"}, 401, "unknown_token"),
        ({"X_Revcred_Source": "nowhere"}, 403, "unknown_source"),
        ({"X_Api_Key": "k" * 5_000}, 403, "too_long"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_status_that_nginx_knows(
    auth, change, status, code
):
    answer = auth(**{"X_Api_Key": KEY} | change)

    assert (answer.status_code, answer.headers["X-Revcred-Code"]) == (status, code)
    assert all(name in answer.headers for name in HEADERS)


def test_each_code_has_its_status(auth, credential, gateway):
    Gateway.objects.filter(pk=gateway.pk).update(check_refuses_over_quota=True)
    source = Source.objects.create(name="Routes", external_key="routes")
    found = {}

    def ask(**headers):
        answer = auth(X_Api_Key=KEY, **headers)
        found[answer.headers["X-Revcred-Code"]] = answer.status_code

    credential.assignments.get().subscription.product.sources.add(source)
    ask()
    ask(X_Revcred_Source="routes")
    credential.assignments.update(
        subscription=factories.a_subscription(credential.customer, quota=0)
    )
    ask()
    credential.customer.suspended_at = factories.LONG_AGO
    credential.customer.save()
    ask()
    credentials.suspend_credential(credential=credential, by=None)
    ask()
    credentials.revoke_credential(credential=credential, reason="tested", by=None)
    ask()

    assert found == {
        "wrong_source": 403,
        "valid": 200,
        "quota_exhausted": 429,
        "customer_suspended": 403,
        "suspended": 403,
        "revoked": 403,
    }


def test_a_gateway_that_is_off_is_answered_without_a_look(
    auth, verify, gateway, django_assert_num_queries
):
    Gateway.objects.filter(pk=gateway.pk).update(check_mode="off")
    verify({"key": KEY})  # the token's admission is cached

    with django_assert_num_queries(0):
        assert verify({"key": KEY}).json()["code"] == "off"
        assert auth(X_Api_Key=KEY).headers["X-Revcred-Code"] == "off"


def test_a_gateway_that_observes_lets_all_through_and_keeps_receipts(
    auth, verify, credential, gateway
):
    Gateway.objects.filter(pk=gateway.pk).update(check_mode="observe")
    credentials.suspend_credential(credential=credential, by=None)

    found = verify({"key": KEY}).json()
    answer = auth(X_Api_Key="unknown-to-us", X_Original_URI="/maps?key=secret")

    assert (found["allowed"], found["code"], found["would_be"]) == (True, "observed", "suspended")
    assert (answer.status_code, answer.headers["X-Revcred-Code"]) == (200, "observed")
    receipts = {str(row.pk): row for row in RefusedCall.objects.all()}
    assert set(receipts) == {found["check"], answer.headers["X-Revcred-Check"]}
    unknown = receipts[answer.headers["X-Revcred-Check"]]
    assert (unknown.code, unknown.path, unknown.credential_id) == ("unknown_key", "/maps", None)
    assert unknown.observed
    counts = RefusedCount.objects.values_list("credential", "code", "observed", "calls")
    assert sorted(counts, key=str) == [
        (credential.pk, "suspended", True, 1),
        (None, "unknown_key", True, 1),
    ]


@pytest.mark.parametrize("path", ["/v1/auth", "/v1/auth/maps/1"])
def test_a_gateway_may_ask_under_the_host_that_its_caller_named(auth, credential, path):
    answer = auth(path, X_Api_Key=KEY, Host="api.customers-of-ours.example")

    assert (answer.status_code, answer.headers["X-Revcred-Code"]) == (200, "valid")


def test_no_other_address_is_answered_under_any_host(client):
    headers = {"Host": "api.customers-of-ours.example"}

    assert client.get("/v1/authority", headers=headers).status_code == 400
    assert client.post("/v1/transactions", headers=headers).status_code == 400


# --- Claims for backends --------------------------------------------------------------------------


def signed_by_published_keys(client, claim):
    """Return what a claim says, checked by the keys at the address for everybody."""
    published = client.get("/.well-known/jwks.json", headers={"Host": "somewhere.internal"})
    assert published.headers["Cache-Control"] == "public, max-age=300"
    assert "d" not in published.json()["keys"][0]
    keys = KeySet.import_key_set(published.json())
    return jwt.decode(claim, keys, algorithms=["EdDSA"]).claims


def test_a_gateway_that_asks_for_it_gets_a_claim(client, auth, verify, gateway, credential):
    Gateway.objects.filter(pk=gateway.pk).update(signs_claims=True)

    claims = [auth(X_Api_Key=KEY).headers["X-Revcred-Claim"], verify({"key": KEY}).json()["claim"]]

    for claim in claims:
        said = signed_by_published_keys(client, claim)
        assert said.pop("exp") - said.pop("iat") == 60
        assert said == {
            "iss": "http://testserver",
            "aud": "edge",
            "sub": credential.public_id,
            "credential": credential.public_id,
            "subscription": "fleet",
            "customer": "acme",
            "product": "maps",
            "environment": "production",
            "tags": ["eu"],
        }


@pytest.mark.parametrize("mode", ["enforce", "observe", "off"])
def test_only_a_valid_call_has_a_claim(auth, gateway, credential, mode):
    Gateway.objects.filter(pk=gateway.pk).update(signs_claims=True, check_mode=mode)
    credentials.suspend_credential(credential=credential, by=None)

    assert auth(X_Api_Key=KEY).headers["X-Revcred-Claim"] == ""


def test_other_gateways_and_arrays_get_none(auth, verify, gateway, credential):
    assert auth(X_Api_Key=KEY).headers["X-Revcred-Claim"] == ""
    Gateway.objects.filter(pk=gateway.pk).update(signs_claims=True)

    assert "claim" not in verify([{"key": KEY}]).json()[0]
