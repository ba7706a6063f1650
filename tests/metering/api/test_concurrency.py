"""A gateway that fills the threads makes way for the others."""

import asyncio
import json
from contextlib import ExitStack

import pytest
from rest_framework.exceptions import AuthenticationFailed

from metering.api import authentication, concurrency
from metering.api.concurrency import NOBODY, ConcurrencyLimiter, FairTurns, InFlightRequests
from metering.api.errors import SlowDown
from metering.api.event_loop_doors import (
    LARGE_POST_BYTES,
    MAX_COMMIT_CHARACTERS,
    AsyncGroupCommit,
    EventLoopDoors,
)
from metering.inbox.group_commit import DeliveryRow
from tests.metering.api.conftest import LoopClient

GREEDY, MODEST = 1, 2


@pytest.fixture(autouse=True)
def small(settings):
    settings.PROGRAM_THREADS = 5


@pytest.fixture
def crowded():
    """Four requests of one gateway, and another that was here a moment ago."""
    crowded = InFlightRequests(share_above=4)
    with crowded.slot(MODEST):
        pass
    with crowded.slot(GREEDY), crowded.slot(GREEDY), crowded.slot(GREEDY), crowded.slot(GREEDY):
        yield crowded


def enter(crowded, gateway):
    with crowded.slot(gateway):
        pass


def test_whoever_has_most_of_the_room_is_turned_away(crowded):
    with pytest.raises(SlowDown):
        enter(crowded, GREEDY)


def test_the_others_come_in(crowded):
    with crowded.slot(MODEST):
        enter(crowded, MODEST)


def test_alone_it_may_have_all_the_room():
    alone = InFlightRequests(share_above=4)
    with alone.slot(GREEDY), alone.slot(GREEDY), alone.slot(GREEDY), alone.slot(GREEDY):
        enter(alone, GREEDY)


def test_who_left_takes_no_room(crowded):
    for _ in range(9):
        enter(crowded, MODEST)

    with crowded.slot(MODEST), crowded.slot(MODEST), crowded.slot(MODEST):
        enter(crowded, MODEST)


def test_one_that_failed_has_left_too():
    some = InFlightRequests(share_above=4)
    with pytest.raises(ZeroDivisionError), some.slot(GREEDY):
        raise ZeroDivisionError

    assert some._in_flight.total() == 0


def test_nobody_takes_no_share_of_a_gateways(crowded):
    alone = InFlightRequests(share_above=4)
    with ExitStack() as slots:
        for gateway in (NOBODY, NOBODY, NOBODY, MODEST, MODEST, MODEST, MODEST):
            slots.enter_context(alone.slot(gateway))
        assert alone.is_shared()
        enter(alone, MODEST)
        for _ in range(2):
            slots.enter_context(alone.slot(NOBODY))
        with pytest.raises(SlowDown):
            enter(alone, NOBODY)


def turns(*gateways):
    """The order in which these get their turns, which all wait at first."""

    async def wait_for_all():
        order, fair = [], FairTurns()

        async def take(gateway):
            await fair.wait_for_turn(gateway)
            order.append(gateway)

        await asyncio.gather(*map(take, gateways))
        return order

    return asyncio.run(wait_for_all())


def test_gateways_take_turns_however_much_one_of_them_has_sent():
    assert turns(GREEDY, GREEDY, GREEDY, MODEST) == [GREEDY, MODEST, GREEDY, GREEDY]
    assert turns(GREEDY) == [GREEDY]


def test_a_turn_that_nobody_waits_for_any_more_is_passed_on():
    async def give_up():
        fair = FairTurns()
        gone = asyncio.create_task(fair.wait_for_turn(GREEDY))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait_for(fair.wait_for_turn(MODEST), 5)

    asyncio.run(give_up())


def test_who_goes_ahead_holds_up_the_turns_of_others_but_not_for_long(monkeypatch):
    async def second_turn_comes_before_the_answer(seconds_to_answer):
        fair = FairTurns()
        await fair.wait_for_turn(GREEDY)
        with fair.going_ahead():
            second = asyncio.create_task(fair.wait_for_turn(GREEDY))
            await asyncio.wait([second], timeout=seconds_to_answer)
            came_before = second.done()
        await second
        return came_before

    monkeypatch.setattr(concurrency, "MAX_HOLD_SECONDS", 60.0)
    assert not asyncio.run(second_turn_comes_before_the_answer(0.01))
    monkeypatch.setattr(concurrency, "MAX_HOLD_SECONDS", 0.01)
    assert asyncio.run(second_turn_comes_before_the_answer(60.0))


def test_a_gateway_has_few_requests_if_others_have_more():
    in_flight = InFlightRequests(share_above=100)
    with ExitStack() as stack:
        stack.enter_context(in_flight.slot(MODEST))
        assert not in_flight.has_few(MODEST)
        for _ in range(2):
            stack.enter_context(in_flight.slot(GREEDY))
        assert in_flight.has_few(MODEST)
        assert not in_flight.has_few(GREEDY)


def test_a_small_post_is_committed_before_most_of_the_large_ones_that_came_first():
    groups = []

    async def commit_rows(rows):
        groups.append([row.gateway_id for row in rows])
        await asyncio.sleep(0)
        return [row.id for row in rows]

    async def commit_all():
        queue = AsyncGroupCommit(commit_rows)
        large = [DeliveryRow(GREEDY, 1, 0, "x" * MAX_COMMIT_CHARACTERS)] * 5
        small = [DeliveryRow(MODEST, 1, 0, "x")] * 2
        await asyncio.gather(*map(queue.commit, [*large, *small]))

    asyncio.run(commit_all())

    assert groups == [[GREEDY, MODEST], [GREEDY, MODEST], [GREEDY, GREEDY], [GREEDY]]


def test_the_event_loop_can_leave_the_doors_to_django(settings):
    assert EventLoopDoors().take("POST", "/v1/transactions")

    settings.DOORS_IN_EVENT_LOOP = False

    assert not EventLoopDoors().take("POST", "/v1/transactions")


class ReadingDoors(EventLoopDoors):
    """Doors that note in which iteration of the event loop they read a POST."""

    def __init__(self):
        super().__init__()
        self.iteration, self.read_in = 0, []

    async def _run(self, steps):
        self.read_in.append(self.iteration)
        raise AuthenticationFailed

    def count_iterations(self):
        self.iteration += 1
        asyncio.get_running_loop().call_soon(self.count_iterations)


def iterations_with_posts(body, count):
    """Return how many iterations of the loop read so many POSTs that come together."""

    async def receive():
        return body

    async def post_all():
        doors = ReadingDoors()
        doors.count_iterations()
        await asyncio.gather(*(doors.answer("/v1/transactions", {}, receive) for _ in range(count)))
        return len(set(doors.read_in))

    return asyncio.run(post_all())


def test_between_two_large_posts_the_event_loop_does_all_else():
    assert iterations_with_posts(b"x" * (LARGE_POST_BYTES + 1), 10) == 10
    assert iterations_with_posts(b"x", 10) == 1


def test_rejections_of_one_sender_pause_once_there_are_many(monkeypatch):
    monkeypatch.setattr(concurrency, "MAX_PAUSING_ANSWERS", 3)
    at_once = concurrency.REJECTIONS_WITHOUT_PAUSE

    async def answers_without_pause():
        pause = concurrency.RejectionPause()
        waits = [asyncio.create_task(pause.wait(GREEDY)) for _ in range(at_once + 5)]
        await asyncio.sleep(0)
        await pause.wait(MODEST)  # returns at once
        done = [wait.done() for wait in waits]
        for wait in waits[at_once:]:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert pause._pausing == 0
        return done

    # Of the five above, three may hold a connection.
    assert asyncio.run(answers_without_pause()) == [True] * at_once + [False] * 3 + [True] * 2


@pytest.fixture
def paused(monkeypatch):
    """Those whose rejections would have paused."""
    paused = []

    async def wait(_, sender):
        paused.append(sender)

    monkeypatch.setattr(concurrency.RejectionPause, "wait", wait)
    monkeypatch.setattr("metering.api.event_loop_doors.close_old_connections", lambda: None)
    return paused


def post_nothing(token):
    return LoopClient().post(
        "/v1/transactions",
        "[]",
        content_type="application/json",
        headers={"authorization": f"Bearer {token}"},
    )


@pytest.mark.django_db
@pytest.mark.parametrize("invalid", ["hak_nonsense", ""])
def test_rejections_of_unknown_tokens_pause(paused, invalid):
    assert (post_nothing(invalid).status_code, paused) == (401, [NOBODY])


@pytest.mark.django_db
def test_rejections_of_a_gateway_that_is_told_to_slow_down_pause(paused, gateway, token, settings):
    assert (post_nothing(token).status_code == 401, paused) == (False, [])

    settings.MAX_BACKLOG_PER_GATEWAY = 0

    assert (post_nothing(token).status_code, paused) == (429, [gateway.pk])


@pytest.fixture
def ask(gateway, token):
    """Ask the limiter something as the gateway: the status, the headers and the body."""

    def ask(limiter):
        heard = []
        environ = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
        body = b"".join(limiter(environ, lambda *start: heard.extend(start)))
        status, headers = heard
        return status, dict(headers), body

    authentication.forget_admissions()
    assert authentication.find_admission(token)
    yield ask
    authentication.forget_admissions()


def hello(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]


@pytest.mark.django_db
def test_the_limiter_turns_away_whoever_has_most(ask, gateway):
    limiter = ConcurrencyLimiter(hello)
    enter(limiter._in_flight, gateway.pk + 1)
    with ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(limiter._in_flight.slot(gateway.pk))
        status, headers, body = ask(limiter)

    assert (status, headers["Retry-After"]) == ("429 Too Many Requests", "1")
    assert json.loads(body)["code"] == "slow_down"
    assert ask(limiter)[0] == "200 OK"


@pytest.mark.django_db
def test_who_is_not_known_is_the_application_s_business(ask, gateway):
    limiter = ConcurrencyLimiter(hello)
    authentication.forget_admissions()

    assert ask(limiter)[0] == "200 OK"
    assert limiter._in_flight._in_flight.total() == 0
