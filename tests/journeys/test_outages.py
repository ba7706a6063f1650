"""What gateways notice when something they do not know of is away: nothing, or an honest 503.

The bounds are loose, for a busy machine: how fast it is, bench/ says.
"""

import time


def test_a_transaction_is_attributed_at_once(stack):
    name, answer = stack.post()

    assert answer.status == 202
    assert stack.seconds_until_attributed(name) < 10


def test_without_redis_and_without_a_worker_the_clock_attributes(stack):
    stack.kill("broker")
    stack.kill("worker")

    name, answer = stack.post()
    seconds = stack.seconds_until_attributed(name)
    stack.start("broker")
    stack.start("worker")

    assert (answer.status, answer.seconds < 2) == (202, True)
    assert seconds < 10


def test_a_frozen_redis_holds_up_no_answer(stack):
    with stack.frozen("broker"):
        answers = [stack.post() for _ in range(20)]
        seconds = stack.seconds_until_attributed(answers[-1][0])

    assert {answer.status for _, answer in answers} == {202}
    assert max(answer.seconds for _, answer in answers) < 2
    assert seconds < 10


def test_without_the_database_the_answer_is_an_honest_503(stack):
    stack.kill("database")

    _, posted = stack.post()
    page = stack.ask("/credentials/", cookie="sessionid=whoevers")
    alive = stack.ask("/healthz")
    stack.wait_until(lambda: stack.ask("/readyz").status == 503)
    stack.start("database")

    assert (posted.status, posted.body["code"]) == (503, "unavailable")
    assert posted.headers["retry-after"] == "1"
    assert posted.seconds < 2
    assert (page.status, alive.status) == (503, 200)


def test_when_the_database_is_back_nobody_has_to_restart_anything(stack):
    stack.kill("database")
    stack.post()
    stack.start("database")

    back = time.monotonic()
    while (name_and_answer := stack.post())[1].status == 503:
        assert time.monotonic() - back < 20
    name, answer = name_and_answer

    assert answer.status == 202
    assert stack.seconds_until_attributed(name) < 10


def test_what_was_accepted_survives_everything_being_killed(stack):
    names = [stack.post()[0] for _ in range(20)]
    for process in ("worker", "clock", "web", "database", "broker"):
        stack.kill(process)
    for process in ("database", "broker", "web", "worker", "clock"):
        stack.start(process)

    stack.wait_until(stack.is_ready)
    for name in names:
        stack.seconds_until_attributed(name)

    assert stack.manage("verify_usage") == "Usage equals the ledger: 0 differences."
