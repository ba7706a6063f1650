"""The memory of the register follows what PostgreSQL announces, and outlives the database."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from types import SimpleNamespace
from unittest.mock import patch

import msgspec
import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone

from metering.api.verification import event_loop_checks
from metering.api.verification.event_loop_checks import EventLoopChecks
from metering.models import GatewayToken, RefusedCall, RefusedCount
from metering.verification import memory as memory_module
from metering.verification.checking import CallAhead, judge_ahead
from metering.verification.loading import LoadedRegister
from metering.verification.memory import RegisterMemory
from revcred.actions import credentials
from revcred.models import Credential, Customer, Gateway, Source, Subscription
from revcred.postgresql.base import DatabaseWrapper
from revcred.signing import rotate_keys
from tests import factories
from tests.metering.verification.test_checking import World
from tests.owner import owner_cursor

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "the-key-of-a-caller-of-tests"
SECONDS = 10  # until a change has surely been heard


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", check_mode="enforce")


@pytest.fixture
def token(gateway):
    return GatewayToken.issue(gateway, name="tests", scopes=["calls:check", "calls:vouch"])[1]


@pytest.fixture
def credential(gateway):
    customer = factories.a_customer("Acme")
    subscription = factories.a_subscription(customer, external_key="fleet")
    return factories.a_credential(customer, KEY, subscriptions=[subscription])


@pytest.fixture
def memory():
    memory = RegisterMemory()
    yield memory
    memory.stop()
    assert not memory.is_alive()


@pytest.fixture
def idle_checks(memory, credential, token, monkeypatch):
    monkeypatch.setattr(event_loop_checks, "PATHS_SECONDS", 60.0)
    with ThreadPoolExecutor(1) as thread:
        yield EventLoopChecks(memory, thread)
        thread.submit(connections.close_all)


@pytest.fixture
def checks(memory, idle_checks):
    idle_checks.begin()
    wait_until(lambda: memory.is_loaded)
    return idle_checks


def wait_until(is_so):
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


def ask(checks, token, path="/v1/auth", body=b"", **headers):
    sent = {"x-revcred-token": token} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    method = "POST" if path == "/v1/verify" else "GET"
    assert checks.take(method, path)
    check = SimpleNamespace(method=method, path=path, query_string="")

    async def receive():
        return body

    return asyncio.run(checks.answer(check, sent, receive))


def header(answer, name):
    return dict(answer.headers).get(f"X-Revcred-{name}")


def code(checks, token, **headers):
    answer = ask(checks, token, **{"x_api_key": KEY} | headers)
    return answer.status, header(answer, "Code")


# By how people change something: the code that callers get afterwards.
CHANGES = {
    "suspended": lambda it: credentials.suspend_credential(credential=it, by=None),
    "revoked": lambda it: credentials.revoke_credential(credential=it, reason="tested", by=None),
    "expired": lambda _: Credential.objects.update(expires_at=timezone.now()),
    "no_subscription": lambda it: it.assignments.all().delete(),
    "customer_suspended": lambda _: Customer.objects.update(suspended_at=timezone.now()),
    "wrong_source": lambda _: Subscription.objects.get().product.sources.add(
        Source.objects.create(name="Maps", external_key="maps")
    ),
    "unknown_key": lambda it: it.delete(),
    "quota_exhausted": lambda _: Subscription.objects.update(quota=0),
}


@pytest.mark.parametrize("expected", CHANGES)
def test_a_change_is_in_force_at_once(checks, token, gateway, credential, expected):
    Gateway.objects.update(check_refuses_over_quota=True)
    assert code(checks, token) == (200, "valid")

    CHANGES[expected](credential)

    wait_until(lambda: code(checks, token)[1] != "valid")
    assert code(checks, token)[1] == expected


def test_a_cached_answer_ends_when_the_credential_does(checks, memory, token, credential):
    generation = memory.generation
    until = timezone.now() + timedelta(seconds=1)
    Credential.objects.update(expires_at=until)
    wait_until(lambda: memory.generation > generation)
    assert ask(checks, token, x_api_key=KEY).status == 200

    wait_until(lambda: ask(checks, token, x_api_key=KEY).status == 403)

    late = timezone.now() - until
    assert timedelta(0) <= late < timedelta(seconds=5)


def test_a_rotated_key_opens_no_more_and_its_subscription_ends(checks, token, credential):
    assert code(checks, token) == (200, "valid")

    new_key = "the-key-after-the-rotation"
    credentials.rotate_credential(credential=credential, overlap=timedelta(), by=None, key=new_key)

    wait_until(lambda: code(checks, token, x_api_key=new_key) == (200, "valid"))
    assert code(checks, token)[0] in {401, 403}

    Subscription.objects.update(active_until=timezone.now())

    wait_until(lambda: code(checks, token, x_api_key=new_key) == (403, "no_subscription"))


def test_a_new_key_and_a_new_policy_are_heard(checks, token, gateway, credential):
    new = factories.a_credential(
        credential.customer, "a-key-that-comes-later", subscriptions=[Subscription.objects.get()]
    )
    wait_until(lambda: code(checks, token, x_api_key="a-key-that-comes-later")[0] == 200)
    answer = ask(
        checks,
        token,
        "/v1/verify",
        b'[{"id": "%s"}, {"subscription": "fleet"}]' % new.public_id.encode(),
    )
    assert answer.body.count(b'"code":"valid"') == 2

    Gateway.objects.update(check_mode="off")

    wait_until(lambda: code(checks, token, x_api_key="nobody-has-it") == (200, "off"))
    GatewayToken.objects.update(revoked_at=timezone.now())
    wait_until(lambda: code(checks, token) == (401, "unknown_token"))


@pytest.mark.parametrize("seed", range(2))
def test_the_memory_says_what_the_database_says(memory, seed):
    world = World(seed)
    memory.connect()
    now = timezone.now()
    calls = [
        CallAhead(at=now, gateway=gateway.pk, **ahead) for gateway, ahead, _ in world.some_calls()
    ]
    register = LoadedRegister(calls, now)
    memory.remember_paths(
        {call.path or "": register.source_of_path(call.path or "") for call in calls}
    )

    by_memory, by_database = (
        [judge_ahead(call, source, refuse_over_quota=False) for call in calls]
        for source in (memory, register)
    )

    assert by_memory == by_database


@contextmanager
def database_away():
    """End the sessions of other threads, and let none begin until the block ends."""
    refused = OperationalError("connection refused")
    with patch.object(DatabaseWrapper, "get_new_connection", side_effect=refused):
        with owner_cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        yield


def test_known_keys_are_answered_while_the_database_is_away(checks, memory, token, credential):
    with patch.object(memory_module, "RETRY_SECONDS", 0.05):
        with database_away():
            wait_until(lambda: memory.is_stale)
            answers = [
                ask(checks, token, x_api_key=key) for key in (KEY, "nobody-has-it", KEY) * 50
            ]
            (found,) = msgspec.json.decode(
                ask(checks, token, "/v1/verify", b'[{"key": "%s"}]' % KEY.encode()).body
            )
            credentials.suspend_credential(credential=credential, by=None)

        assert {
            (answer.status, header(answer, "Code"), header(answer, "Stale")) for answer in answers
        } == {(200, "valid", "1"), (401, "unknown_key", "1")}
        assert (found["code"], found["customer"], found["stale"]) == ("valid", "acme", True)

        # It is back: what was missed is read, and receipts that waited are written.
        wait_until(lambda: not memory.is_stale)
        assert header(ask(checks, token, x_api_key=KEY), "Code") == "suspended"
        wait_until(lambda: RefusedCount.objects.filter(code="unknown_key", calls=50).exists())


def test_a_memory_that_is_empty_while_the_database_is_away_answers_nothing(client, memory, token):
    with patch.object(memory_module, "RETRY_SECONDS", 0.05), database_away():
        memory.start()
        checks = EventLoopChecks(memory)
        connection.close()

        assert not checks.take("GET", "/v1/auth")
        answer = client.get("/v1/auth", headers={"X-Revcred-Token": token})
        other = client.post(
            "/v1/verify", {"key": KEY}, "application/json", headers={"X-Revcred-Token": token}
        )

    assert (answer.status_code, other.status_code) == (503, 503)
    assert "Retry-After" in answer.headers
    assert "Retry-After" in other.headers


def test_without_notices_nothing_is_held_in_memory(memory, token):
    with (
        patch.object(RegisterMemory, "_hear"),
        patch.object(memory_module, "RETRY_SECONDS_WITHOUT_NOTICES", 0.01),
        patch.object(memory_module.logger, "warning") as warned,
    ):
        memory.start()
        wait_until(lambda: warned.call_count > 1)

    assert "do not arrive" in warned.call_args.args[0]
    assert not memory.is_loaded


def test_receipts_are_written_behind_the_answer(checks, token):
    answer = ask(checks, token, x_api_key="nobody-has-it", x_original_uri="/maps?x=1")
    receipt = header(answer, "Check")

    wait_until(lambda: RefusedCall.objects.filter(pk=receipt, path="/maps").exists())


def test_a_test_token_leaves_no_receipt(checks, memory, token, gateway):
    test_token = GatewayToken.issue(gateway, name="try", scopes=["calls:check"], is_test=True)[1]
    wait_until(lambda: code(checks, test_token)[0] == 200)

    answer = ask(checks, test_token, x_api_key="nobody-has-it")

    assert (answer.status, header(answer, "Check")) == (401, "")
    memory.stop()
    assert not RefusedCount.objects.exists()


def test_keys_reach_no_database(memory, idle_checks, token, django_assert_num_queries):
    memory.connect()

    with django_assert_num_queries(0):
        assert code(idle_checks, token, x_api_key="nobody-has-it") == (401, "unknown_key")
        assert code(idle_checks, token) == (200, "valid")


def test_expressions_are_matched_by_the_database_once_for_all(checks, token, credential):
    maps = Source.objects.create(name="Maps", external_key="maps")
    maps.path_rules.create(match="regex", text="^/v[0-9]/maps")
    Subscription.objects.get().product.sources.add(maps)
    wait_until(lambda: code(checks, token, x_original_uri="/elsewhere")[1] == "wrong_source")
    questions = [{"key": KEY, "path": f"/v1/maps/{n}"} for n in range(300)]

    with patch.object(checks, "_sources_of_paths", side_effect=checks._sources_of_paths) as asked:
        answer = ask(checks, token, "/v1/verify", msgspec.json.encode(questions))

    assert {found["code"] for found in msgspec.json.decode(answer.body)} == {"valid"}
    assert asked.call_count == 1


# --- Claims for backends --------------------------------------------------------------------------


def test_a_claim_is_made_once_and_follows_its_keys(checks, memory, gateway, token):
    assert header(ask(checks, token, x_api_key=KEY), "Claim") == ""
    Gateway.objects.update(signs_claims=True)

    def claim():
        return header(ask(checks, token, x_api_key=KEY), "Claim")

    wait_until(claim)
    first = claim()
    checks._cache.clear()  # as after the seconds for which an answer is kept
    assert claim() == first
    rotate_keys(timezone.now(), at_once=True)
    wait_until(lambda: claim() != first)
    assert claim().count(".") == 2


# --- Answers that are given again -----------------------------------------------------------------


def test_an_answer_is_given_again_to_the_same_question_only(checks, token):
    other = GatewayToken.issue(factories.a_gateway(), name="other", scopes=["calls:check"])[1]
    wait_until(lambda: ask(checks, other, x_api_key=KEY).status == 200)
    given = ask(checks, token, x_api_key=KEY)

    assert ask(checks, token, x_api_key=KEY) is given
    assert ask(checks, token, x_api_key=f" {KEY}") is given
    assert ask(checks, other, x_api_key=KEY) is not given
    for headers in (
        {"x_api_key": KEY + "x"},
        {"x_api_key": KEY, "x_revcred_source": "maps"},
        {"x_api_key": "\0" + KEY},
        {"authorization": f"Bearer {KEY}"},
        {},
    ):
        assert ask(checks, token, **headers).status != HTTPStatus.OK
    for wrong in (token + "x", token[:-1], "", KEY):
        assert ask(checks, wrong, x_api_key=KEY).status == HTTPStatus.UNAUTHORIZED


def test_a_source_and_a_key_are_not_taken_for_one_another(checks, token):
    ask(checks, token, x_api_key=KEY)

    assert ask(checks, token, x_revcred_source=KEY, x_api_key="x").status == HTTPStatus.FORBIDDEN
    assert ask(checks, token, x_api_key=f"\0{KEY}").status == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("change", ["suspended", "token", "mode"])
def test_nothing_is_given_again_after_a_change(checks, token, credential, change):
    assert ask(checks, token, x_api_key=KEY).status == 200
    if change == "suspended":
        credentials.suspend_credential(credential=credential, by=None)
    elif change == "token":
        GatewayToken.objects.update(revoked_at=timezone.now())
    else:
        Gateway.objects.update(check_mode="observe")

    wait_until(lambda: code(checks, token) != (200, "valid"))


def test_refused_and_stale_answers_are_not_given_again(checks, memory, token):
    refused = [ask(checks, token, x_api_key="nobody-has-this-key") for _ in range(2)]
    assert header(refused[0], "Check") != header(refused[1], "Check")
    given = ask(checks, token, x_api_key=KEY)
    memory._beat_at -= 1_000

    stale = [ask(checks, token, x_api_key=KEY) for _ in range(2)]
    assert given not in stale
    assert stale[0] is not stale[1]


def test_the_oldest_answers_make_way(checks, token, monkeypatch):
    ask(checks, token, x_api_key=KEY)
    (given,) = checks._cache.values()
    monkeypatch.setattr(event_loop_checks, "MAX_CACHED_ANSWERS", 20)
    asker, answer = SimpleNamespace(name="edge"), SimpleNamespace(would_be="", code="valid")

    for number in range(60):
        checks._keep(b"%d" % number, asker, answer, given.answer, 10.0)

    assert len(checks._cache) <= 20
    assert list(checks._cache)[-1] == b"59"


def test_no_key_of_a_caller_lies_in_the_cache(checks, token):
    ask(checks, token, x_api_key=KEY)

    assert checks._cache
    assert KEY not in repr((checks._cache, checks._digests))
