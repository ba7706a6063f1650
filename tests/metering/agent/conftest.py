import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from metering.agent import revcred_agent
from tests.metering.agent.revcred_double import TOKEN, serving

WAIT_SECONDS = 30


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Nobody waits for pauses here, and no proxy or address of this machine counts."""
    monkeypatch.setattr(revcred_agent, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(revcred_agent, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(revcred_agent, "SAME_WARNING_SECONDS", 0.0)
    for name in [*os.environ]:
        if name.lower().endswith("_proxy") or name.startswith("REVCRED_AGENT_"):
            monkeypatch.delenv(name)


@pytest.fixture
def revcred():
    with serving() as server:
        yield server


@pytest.fixture
def token_file(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def logs(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


class Agent:
    """The agent with its state, against a stand-in."""

    def __init__(self, tmp_path, revcred, token_file):
        self.state = tmp_path / "state"
        self.revcred = revcred
        self.token_file = token_file

    def arguments(self, command, *more):
        told = [command, "--state", str(self.state), "--host", "web1"]
        if command != "status":
            told += ["--url", self.revcred.url, "--token-file", str(self.token_file)]
        return [*told, *map(str, more)]

    def options(self, command, *more):
        options = revcred_agent.parser().parse_args(self.arguments(command, *more))
        options.restart = threading.Event()
        return options

    @contextmanager
    def running(self, command, *more):
        """Run a command in a thread; stop it in the end, and raise what it raised."""
        options, stopping, raised = self.options(command, *more), threading.Event(), []

        def run():
            try:
                options.run(options, stopping)
            except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()
        if raised:
            raise raised[0]

    def run(self, command, *more):
        options = self.options(command, *more)
        return options.run(options, threading.Event())

    @contextmanager
    def process(self, command, *more, environment=None, pass_fds=()):
        process = subprocess.Popen(
            [sys.executable, revcred_agent.__file__, *self.arguments(command, *more)],
            env={**os.environ, **(environment or {})},
            pass_fds=pass_fds,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(WAIT_SECONDS)
            process.stderr.close()


@pytest.fixture
def agent(tmp_path, revcred, token_file):
    return Agent(tmp_path, revcred, token_file)


def wait_until(done):
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)
