"""The fast door as a process of its own, beside the web process and before the same inbox."""

from contextlib import contextmanager

import pytest

from revcred.launcher.processes import spawn_process
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stack import free_port


@contextmanager
def posting_to_the_fast_door(stack):
    """While this lasts, the gateway of the journeys posts to a fast door, and not to the web."""
    port = free_port()
    programs = ProgramFactory(stack.environment, stack.project, logs=stack.logs)
    process = spawn_process(programs.fast_door(port))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(stack), "url", f"http://127.0.0.1:{port}")
        stack.wait_until(lambda: is_answering(stack))
        yield
    process.terminate()
    process.wait()


def is_answering(stack):
    try:
        return stack.ask("/v1/transactions", [{}]).status == 400
    except OSError:
        return False


def test_what_it_accepts_is_attributed_and_the_web_knows_the_receipt(stack):
    with posting_to_the_fast_door(stack):
        name, accepted = stack.post()
        repeated = stack.post(transaction_id=name)[1]
        rejected = stack.post(key=7)[1]
        elsewhere = stack.ask("/healthz")

    assert (accepted.status, repeated.status, rejected.status) == (202, 202, 400)
    assert rejected.body["rejected"][0]["field"] == "key"
    assert elsewhere.status == 404
    stack.seconds_until_attributed(name)
