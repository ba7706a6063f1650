"""A whole installation as it runs in production, for tests and benchmarks."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from revcred.launcher.environment import GENERATED_SETTINGS, EnvironmentVariables
from revcred.launcher.errors import LaunchError
from revcred.launcher.process_table import postgres_pids_on
from revcred.launcher.processes import ChildProcess, Program, Supervisor
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stores import DataStores
from revcred.launcher.web import WEB_HOST, is_answering

STACK_START_SECONDS = 300.0  # seconds, on a busy machine
STACK_POLL_SECONDS = 0.05  # seconds


def free_port() -> int:
    with socket.socket() as trial:
        # The system chooses a free port. It is closed again, so another program might take it.
        trial.bind((WEB_HOST, 0))
        return int(trial.getsockname()[1])


@dataclass
class Stack:
    """A whole installation: migrated stores at first; web, workers and clock after `serve`."""

    supervisor: Supervisor
    environment: EnvironmentVariables
    project: Path
    logs: Path
    children: dict[str, ChildProcess] = field(default_factory=dict)

    @cached_property
    def port(self) -> int:
        return free_port()

    @property
    def url(self) -> str:
        return f"http://{WEB_HOST}:{self.port}"

    def manage(self, *arguments: str, settings: EnvironmentVariables | None = None) -> str:
        """Run a management command and return the last line it prints. Raises LaunchError.

        The `settings` win over those of the stack.
        """
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.project,
            env={**self.environment, **(settings or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            message = f"{done.stdout}{done.stderr}\nmanage.py {arguments[0]} failed."
            raise LaunchError(message)
        return done.stdout.strip().rpartition("\n")[2]

    def serve(self) -> None:
        programs = ProgramFactory(self.environment, self.project, logs=self.logs)
        for program in (
            programs.web(self.port),
            programs.worker(),
            programs.uploads(),
            programs.clock(),
        ):
            self._begin(program)
        self.supervisor.wait_until(
            lambda: is_answering(f"{self.url}/healthz"),
            self.children["web"],
            max_seconds=STACK_START_SECONDS,
        )

    def wait_until(
        self, done: Callable[[], bool], *, max_seconds: float = STACK_START_SECONDS
    ) -> None:
        """Wait for `done()`. Raises TimeoutError after `max_seconds`."""
        deadline = time.monotonic() + max_seconds
        while not done():
            if time.monotonic() > deadline:
                message = f"Waited {max_seconds:.0f} s in vain. The logs: {self.logs}"
                raise TimeoutError(message)
            time.sleep(STACK_POLL_SECONDS)

    def kill(self, name: str) -> None:
        child = self.children[name]
        # The group: a web server's worker processes die with it.
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()

    def start(self, name: str) -> None:
        self.children[name].start()

    @property
    def database_family(self) -> set[int]:
        """The pids of PostgreSQL: its backends lead process groups of their own."""
        command = list(self.children["database"].program.command)
        return postgres_pids_on(Path(command[command.index("-D") + 1]))

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        # Connections stay open, and nothing answers: other than after a kill, clients notice
        # nothing.
        if name == "database":
            pids, send = self.database_family, os.kill
        else:
            pids, send = {self.children[name].process.pid}, os.killpg
        for pid in pids:
            send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                send(pid, signal.SIGCONT)

    def _begin(self, program: Program) -> None:
        self.children[program.name] = self.supervisor.start(program)


StackType = TypeVar("StackType", bound=Stack)


@contextmanager
def running_stack(
    kind: type[StackType],
    directory: Path,
    project: Path,
    *,
    settings: Mapping[str, str] | None = None,
) -> Iterator[StackType]:
    """Run a new, durable installation in a directory. The `settings` are PostgreSQL's."""
    supervisor = Supervisor(directory / "processes.json")
    stores = DataStores(
        supervisor, given={}, data=directory, logs=directory, durable=True, settings=settings
    )
    try:
        made = {name: make() for name, make in GENERATED_SETTINGS.items()}
        ours = {"ENVIRONMENT": "test", "UPLOADS_DIR": str(directory / "files")}
        # The caller's environment may set keys, but neither stores nor directories.
        environment = {**made, **os.environ, **stores.start(), **ours}
        stack = kind(supervisor, environment, project, directory)
        stack.children = {child.program.name: child for child in supervisor.children}
        stack.manage("migrate", "--no-input")
        yield stack
    finally:
        supervisor.stop()
        stores.remove_sockets()
