"""The server over real connections: who sends slowly, or asks too much, holds up nobody else."""

import json
import socket
import time
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection

import pytest

from tests.journeys.conftest import KEY

SOON = 5  # seconds, on a busy machine; a few milliseconds else
MANY = 60  # more than there are threads of all kinds


@contextmanager
def connected(stack, head, body=b"", length=1_000):
    """A connection whose body is announced and never comes whole."""
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        line.sendall(
            f"{head}\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode() + body
        )
        yield line


def patiently(ask, status_of):
    """Ask again while the database of a busy machine takes longer than doors wait for it."""
    for _ in range(20):
        answer = ask()
        if status_of(answer) != 503:
            break
        time.sleep(0.5)
    return answer


FORMS = "POST /account/login/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
CALLS = "POST /v1/transactions HTTP/1.1\r\nContent-Type: application/json"


@pytest.mark.parametrize("head", [FORMS, CALLS])
def test_bodies_that_do_not_come_hold_nobody_up(stack, head):
    with ExitStack() as lines:
        for _ in range(MANY):
            lines.enter_context(connected(stack, head, b"a"))
        name, posted = patiently(stack.post, lambda answer: answer[1].status)
        page = stack.ask("/account/login/")

    assert (posted.status, page.status) == (202, 200)
    assert max(posted.seconds, page.seconds) < SOON
    assert stack.seconds_until_attributed(name) < 2 * SOON


def test_a_body_that_does_not_come_is_told_so(stack):
    def asked():
        with connected(stack, CALLS, b"[") as line:
            return line.recv(1_000)

    answer = patiently(asked, lambda answer: int(answer.split()[1]))

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"too_slow" in answer


@pytest.mark.parametrize(
    ("head", "length", "status"),
    [(CALLS, 1_000_001, b"413"), (FORMS, 3_000_000, b"413"), (CALLS, "ten", b"400")],
)
def test_a_body_that_cannot_be_taken_is_not_waited_for(stack, head, length, status):
    with connected(stack, head, length=length) as line:
        assert line.recv(1_000).startswith(b"HTTP/1.1 " + status)


def test_a_body_whose_sender_hung_up_counts_nothing(stack):
    before = stack.ask("/metrics")
    with connected(stack, CALLS, b'[{"transaction_id": "cut-off"', length=500):
        pass
    assert before.status == stack.ask("/healthz").status == 200
    assert stack.ask("/v1/transactions/cut-off").status == 404


def test_lists_that_drip_hold_up_neither_pages_nor_calls(stack):
    token = stack.manage("shell", "--no-imports", "--command", UPLOADER)
    head = (
        f"POST /v1/uploads?kind=credentials HTTP/1.1\r\nContent-Type: text/csv\r\n"
        f"Authorization: Bearer {token}"
    )
    with ExitStack() as lines:
        for _ in range(MANY):
            lines.enter_context(connected(stack, head, b"customer,key\n", length=9_000_000))
        time.sleep(0.5)
        _, posted = stack.post()
        page = stack.ask("/account/login/")
        full = stack.ask(
            "/v1/uploads?kind=credentials", raw=b"a,b", authorization=f"Bearer {token}"
        )

    assert (posted.status, page.status) == (202, 200)
    assert max(posted.seconds, page.seconds) < SOON
    assert (full.status, full.body["code"]) == (503, "unavailable")
    assert full.headers["retry-after"] == "1"


UPLOADER = """
from revcred.models import UserToken
from tests import factories
user = factories.a_user("uploader@revcred.example", is_staff=True, is_superuser=True)
print(UserToken.issue(user, name="", scopes=[UserToken.Scope.CHECK])[1])
"""


def test_a_frozen_database_is_told_within_a_second_whoever_waits_for_pages(stack):
    with stack.frozen("database"), ExitStack() as lines:
        for _ in range(MANY):
            line = socket.create_connection(("127.0.0.1", stack.port), timeout=60)
            lines.enter_context(line)
            line.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: sessionid=any\r\n\r\n")
        answers = [stack.post()[1] for _ in range(3)]
        alive = stack.ask("/healthz")
        stack.wait_until(lambda: stack.ask("/readyz").status == 503)

    assert {answer.status for answer in answers} == {503}
    assert {answer.headers["retry-after"] for answer in answers} == {"1"}
    assert max(answer.seconds for answer in answers) < SOON
    assert (alive.status, alive.seconds < SOON) == (200, True)
    stack.wait_until(lambda: stack.post()[1].status == 202)


def test_each_answer_at_a_door_has_an_id_which_the_sender_may_choose(stack):
    chosen = "3ff18560-923f-4932-95ae-3b5d58fd0373"
    answers = [stack.post()[1], stack.post(key=7)[1]]
    answers.append(stack.ask("/v1/transactions", {}, **{"x-request-id": chosen}))

    ids = [answer.headers["x-request-id"] for answer in answers]
    assert (len(set(ids)), ids[-1]) == (3, chosen)


def test_a_chunked_body_is_a_body(stack):
    call = {"transaction_id": "chunked-1", "occurred_at": _now(), "key": KEY}
    calls = json.dumps([call]).encode()
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as line:
        head = (
            f"{CALLS}\r\nHost: localhost\r\nAuthorization: Bearer {stack.token}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n"
        )
        line.sendall(head.encode())
        for part in (calls[:20], calls[20:], b""):
            line.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        assert line.recv(1_000).startswith(b"HTTP/1.1 202")

    stack.seconds_until_attributed("chunked-1")


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def test_a_method_in_lower_case_does_not_lead_around_the_doors(stack):
    def ask(method):
        line = HTTPConnection("127.0.0.1", stack.port, timeout=30)
        headers = {"authorization": f"Bearer {stack.token}", "content-type": "application/json"}
        line.request(method, "/v1/transactions", b"[]", headers)
        answer = line.getresponse()
        answer.read()
        line.close()
        # Django's middleware would add its own.
        return answer.status, {name.lower() for name, _ in answer.getheaders()}

    assert ask("post") == ask("POST")
