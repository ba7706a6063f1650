"""Ids that callers choose pair no parts of different keys, and make no call a repeat."""

from collections import Counter
from datetime import timedelta
from random import Random

import pytest
from django.db import DataError
from django.db.models.functions import Now

from metering.attribution.processing import process_waiting_deliveries
from metering.ledger import receipts
from metering.models import PartialTransaction, Quarantined, Transaction
from metering.pairing import completion
from metering.pairing.completion import pair_due_partials
from metering.pairing.partial_transactions import PartialSide, accept_partial
from tests import factories
from tests.metering.attribution.test_processing import no_differences

pytestmark = pytest.mark.django_db

KEYS = ("the-key-of-acme-here", "the-key-of-globex-here")
SEEDS = 60


@pytest.fixture
def gateway():
    return factories.a_gateway("edge", ids_from_callers=True)


@pytest.fixture(autouse=True)
def subscriptions(db):
    found = []
    for name, key in zip(("Acme", "Globex"), KEYS, strict=True):
        customer = factories.a_customer(name)
        subscription = factories.a_subscription(customer, name=f"Maps of {name}")
        factories.a_credential(customer, key, subscriptions=[subscription])
        found.append(subscription)
    return found


def request(gateway, key=KEYS[0], transaction_id="t-1", **said):
    said = {"method": "GET", "path": "/maps/1", "undated": True} | said
    call = factories.a_call(key, transaction_id=transaction_id, **said)
    accept_partial(gateway, call, PartialSide.REQUEST)


def response(gateway, key=None, transaction_id="t-1", status=200, **said):
    said = {"status": status, "undated": True} | said
    call = factories.a_call(key, transaction_id=transaction_id, **said)
    accept_partial(gateway, call, PartialSide.RESPONSE)


def work():
    while pair_due_partials():
        pass
    process_waiting_deliveries()


def minutes_pass(minutes):
    """Make all parts that are kept older, and do the work that is due."""
    for half in PartialTransaction.objects.all():
        PartialTransaction.objects.filter(pk=half.pk).update(
            received_at=half.received_at - timedelta(minutes=minutes), next_look_at=Now()
        )
    work()
    work()  # what was accepted alone may be completed once it is attributed


def charged():
    rows = Transaction.objects.standing().order_by("pk")
    return sorted(str(row.subscription) for row in rows)


def test_two_parts_are_one_call(gateway):
    for name, first, second in (("a", request, response), ("b", response, request)):
        first(gateway, transaction_id=name)
        work()
        second(gateway, transaction_id=name)
        work()

    assert charged() == ["Maps of Acme"] * 2
    assert {row.status for row in Transaction.objects.standing()} == {200}
    minutes_pass(60)
    assert (charged(), Quarantined.objects.count()) == (["Maps of Acme"] * 2, 0)
    assert not PartialTransaction.objects.exists()


def test_an_id_that_was_used_before_makes_no_later_call_free(gateway):
    for _ in range(5):
        request(gateway)
        response(gateway)
        work()
    minutes_pass(11)  # the same part within a minute might be a repeat

    assert charged() == ["Maps of Acme"] * 5


def test_an_id_that_was_used_before_by_another_call_is_counted_at_once(gateway):
    for number in range(5):
        request(gateway, path=f"/maps/{number}")
        response(gateway, status=200 + number)
        work()

    assert charged() == ["Maps of Acme"] * 5


def test_calls_of_different_keys_under_one_id_are_each_their_own(gateway):
    request(gateway, KEYS[0])
    request(gateway, KEYS[1])
    response(gateway, latency_ms=1.5)
    response(gateway, latency_ms=2.5)
    work()

    assert charged() == ["Maps of Acme", "Maps of Globex"]


def test_a_response_with_another_key_belongs_to_no_request(gateway):
    request(gateway, KEYS[0])
    response(gateway, KEYS[1])
    work()
    assert charged() == []
    minutes_pass(11)

    assert charged() == ["Maps of Acme", "Maps of Globex"]


def test_a_request_that_is_posted_again_is_counted_once(gateway):
    request(gateway)
    request(gateway)
    response(gateway)
    response(gateway, status=404)
    work()
    assert charged() == ["Maps of Acme"]
    minutes_pass(11)
    # Two responses: so there were two calls, and the second request is no repeat.
    assert charged() == ["Maps of Acme"] * 2

    request(gateway, transaction_id="t-2")
    request(gateway, transaction_id="t-2")
    response(gateway, transaction_id="t-2")
    work()
    minutes_pass(11)
    assert charged() == ["Maps of Acme"] * 3
    minutes_pass(11)
    assert not PartialTransaction.objects.exists()


def test_a_response_that_is_posted_again_is_no_call(gateway):
    request(gateway)
    response(gateway)
    work()
    response(gateway)
    work()
    minutes_pass(11)

    assert (charged(), Quarantined.objects.count()) == (["Maps of Acme"], 0)


@pytest.mark.parametrize("minutes", [0, 11])
def test_what_is_kept_of_accepted_parts_has_no_text_of_theirs(gateway, minutes):
    """A key may stand in a part that came without it: it is cut where the call is stored."""
    request(gateway, path="/a-text-of-the-request", metadata={"note": KEYS[0]})
    if not minutes:
        response(gateway, metadata={"note": f"it was {KEYS[0]}"})
    work()
    minutes_pass(minutes)

    kept = [half.call for half in PartialTransaction.objects.all()]
    assert kept
    assert not any(text in call for call in kept for text in ("a-text-of", "note", KEYS[0]))


@pytest.mark.parametrize("first", [request, response])
def test_a_late_part_completes_what_was_accepted_alone(gateway, first):
    second = {request: response, response: request}[first]
    first(gateway)
    minutes_pass(11)
    second(gateway)
    work()

    assert charged() == ["Maps of Acme"]
    assert not Quarantined.objects.exists()
    assert Transaction.objects.standing().get().status == 200


def test_a_late_part_that_fails_to_complete_is_tried_again(gateway, monkeypatch):
    request(gateway)
    minutes_pass(11)
    execute, failures = completion._execute_completion, [DataError("no")]

    def fail_once(late):
        if failures:
            raise failures.pop()
        execute(late)

    monkeypatch.setattr(completion, "_execute_completion", fail_once)
    response(gateway)
    work()
    assert Transaction.objects.standing().get().status is None
    minutes_pass(61)

    assert Transaction.objects.standing().get().status == 200
    assert not Quarantined.objects.exists()
    assert not PartialTransaction.objects.exists()


def test_a_receipt_waits_and_then_says_each_call(gateway):
    request(gateway)
    assert receipts.find_receipt(gateway, "t-1").state == "waiting"
    response(gateway)
    request(gateway, path="/maps/2")
    response(gateway, status=404)
    work()

    assert [each.status for each in receipts.find_receipts(gateway, "t-1")] == [200, 404]


def test_other_gateways_pair_by_the_id_alone():
    gateway = factories.a_gateway("plain", ids_from_callers=False)
    for _ in range(2):
        request(gateway)
        response(gateway)
        work()

    assert charged() == ["Maps of Acme"]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_request_is_charged_to_its_own_key_in_any_order(gateway, seed):
    """Calls of both keys under few ids, halves shuffled and delayed, some posted twice.

    A gateway's responses say the key, or none does.
    """
    chance = Random(seed)
    due, says_key = Counter(), chance.random() < 0.5
    halves = []
    for number in range(chance.randint(3, 10)):
        key, at = chance.randrange(2), chance.randint(0, 30)
        name, path = f"id-{chance.randrange(2)}", f"/maps/{number}"
        due[f"Maps of {('Acme', 'Globex')[key]}"] += 1
        said = {"key": KEYS[key], "transaction_id": name}
        again = chance.choice((1, 1, 1, 2))
        halves += [(at, request, said | {"path": path})] * again
        answer = said | {"key": KEYS[key] if says_key else None, "status": 200 + number}
        halves.append((at + chance.choice((-1, 0, 1, 2)), response, answer))
    for _, post, said in sorted(halves, key=lambda each: each[0] + chance.random()):
        post(gateway, **said)
        if chance.random() < 0.5:
            work()
    work()
    minutes_pass(11)
    minutes_pass(11)

    assert Counter(charged()) == due
    assert not Quarantined.objects.exists()
    assert no_differences()
    assert not PartialTransaction.objects.exists()
