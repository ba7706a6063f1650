"""Whoever sends more than is settled is told so, before the body is looked at."""

import pytest

from metering.api.backlog import backlog
from metering.inbox.intake import accept_calls
from metering.models import Delivery
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def counted_anew():
    backlog.reset()
    yield
    backlog.reset()


def test_a_gateway_with_too_much_waiting_is_told_to_slow_down(post, call, gateway, settings):
    settings.MAX_BACKLOG_PER_GATEWAY = 2
    accept_calls(gateway, [factories.a_call(), factories.a_call(), factories.a_call()])

    response = post(call())

    assert (response.status_code, response.json()["code"]) == (429, "slow_down")
    assert response.headers["Retry-After"] == "1"
    assert Delivery.objects.count() == 1


def test_it_concerns_no_other_gateway(post, call, settings):
    settings.MAX_BACKLOG_PER_GATEWAY = 2
    accept_calls(factories.a_gateway("greedy"), [factories.a_call() for _ in range(5)])

    assert post(call()).status_code == 202


def test_what_was_accepted_since_the_last_count_counts(post, call, settings):
    settings.MAX_BACKLOG_PER_GATEWAY = 2

    statuses = [post([call(), call()]).status_code for _ in range(3)]

    assert statuses == [202, 429, 429]


def test_too_much_of_all_is_too_much_for_anybody(post, call, settings):
    settings.MAX_BACKLOG = 2
    accept_calls(factories.a_gateway("greedy"), [factories.a_call() for _ in range(5)])

    response = post(call())

    assert (response.status_code, response.json()["code"]) == (503, "overloaded")
    assert response.headers["Retry-After"] == "1"
