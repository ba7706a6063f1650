"""All of revcred with a network between its parts, and the hands that reach into it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import redis

from bench.faults.clock import DATABASE_CLOCK, OTHERS_CLOCK, Clock
from bench.faults.disk import Disk
from bench.faults.proxy import HOST, Network, Proxy, free_port
from bench.faults.world import SECOND_WEB, WEB
from revcred.launcher.environment import EnvironmentVariables
from revcred.launcher.programs import ProgramFactory
from revcred.launcher.stack import Stack
from revcred.launcher.web import is_answering

Connection = psycopg.Connection[tuple[Any, ...]]

PROCESSES = (WEB, SECOND_WEB, "worker", "uploads", "clock")
GOODBYE = 20.0  # seconds a process may take to end when it is asked to
CONNECTIONS = 40  # that PostgreSQL takes

SETTINGS = {"max_connections": str(CONNECTIONS)}


def end_in_order() -> None:
    """Also when asked to: what is frozen has to be thawed to be stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@dataclass
class Trial(Stack):
    """Web, worker and clock reach the stores, and clients reach web, through proxies."""

    network: Network = field(default_factory=Network)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    fallen: list[str] = field(default_factory=list)  # ended though nobody had killed them
    disk: Disk | None = None  # None: PostgreSQL lies beside everything else
    clocks: Mapping[str, Clock] = field(default_factory=dict)  # empty: they cannot be set

    @cached_property
    def port(self) -> int:
        return free_port()

    @cached_property
    def second_port(self) -> int:
        return free_port()

    @cached_property
    def direct(self) -> EnvironmentVariables:
        """As it is without proxies, for what is not on trial."""
        return dict(self.environment)

    @property
    def broker_socket(self) -> str:
        return urlsplit(self.direct["REDIS_URL"]).path

    @property
    def database_socket(self) -> Path:
        url = urlsplit(self.direct["DATABASE_URL"])
        return Path(parse_qs(url.query)["host"][0]) / f".s.PGSQL.{url.port}"

    def connect_through_proxies(self, extra: EnvironmentVariables) -> None:
        self.proxies = {
            WEB: self.network.proxy((HOST, self.port)),
            SECOND_WEB: self.network.proxy((HOST, self.second_port)),
            "database": self.network.proxy(self.database_socket),
            "broker": self.network.proxy(Path(self.broker_socket)),
        }
        ports = {name: proxy.port for name, proxy in self.proxies.items()}
        self.environment = {
            **self.direct,
            "DATABASE_URL": f"postgres://revcred_app@{HOST}:{ports['database']}/revcred",
            "REDIS_URL": f"redis://{HOST}:{ports['broker']}/0",
            **self._clock_of(OTHERS_CLOCK),
            **extra,
        }

    def let_database_use_its_clock(self) -> None:
        """Restart it with a clock that can be set."""
        child = self.children["database"]
        environment = {**child.program.environment, **self._clock_of(DATABASE_CLOCK)}
        child.program = replace(child.program, environment=environment)
        child.process.send_signal(child.program.stop_signals[0])
        child.process.wait(GOODBYE)
        self.begin("database")

    def _clock_of(self, name: str) -> EnvironmentVariables:
        return self.clocks[name].environment if self.clocks else {}

    def serve(self) -> None:
        super().serve()
        programs = ProgramFactory(self.environment, self.project, logs=self.logs)
        self._begin(programs.web(self.second_port, SECOND_WEB))
        self.wait_until_ready(SECOND_WEB)

    def database(self) -> Connection:
        """A new connection, past all proxies."""
        return psycopg.connect(
            self.direct["MIGRATION_DATABASE_URL"], autocommit=True, connect_timeout=2
        )

    def ask(self, question: str) -> list[tuple[Any, ...]]:
        with self.database() as connection:
            return connection.execute(question.encode()).fetchall()

    def execute(self, statement: str) -> None:
        with self.database() as connection:
            connection.execute(statement.encode())

    def broker(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=self.broker_socket, socket_timeout=2)

    def ask_to_end(self, names: Iterable[str]) -> None:
        """As an operator's supervisor does: SIGTERM to the one process it knows, and wait."""
        processes = [self.children[name].process for name in names]
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for name, process in zip(names, processes, strict=True):
            try:
                process.wait(GOODBYE)
            except subprocess.TimeoutExpired:
                self.fallen.append(f"{name} did not end within {GOODBYE:.0f} s of SIGTERM")
            self.kill(name)

    def kill(self, name: str) -> None:
        """With all of its group. It may have ended already."""
        process = self.children[name].process
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_database(self) -> None:
        """All of PostgreSQL at once, and wait until nothing of it is left."""
        while self.database_family:
            self.signal_database(signal.SIGKILL)
            self.kill("database")

    def signal_database(self, number: signal.Signals) -> None:
        """To all of PostgreSQL: its backends lead sessions of their own."""
        for pid in sorted(self.database_family):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def is_ready(self, name: str) -> bool:
        if name == WEB:
            return is_answering(f"{self.url}/healthz")
        if name == SECOND_WEB:
            return is_answering(f"http://{HOST}:{self.second_port}/healthz")
        if name == "database":
            with suppress(psycopg.Error):
                return bool(self.ask("SELECT 1"))
        if name == "broker":
            with suppress(redis.RedisError):
                return bool(self.broker().ping())
        return name in ("worker", "uploads", "clock")

    def begin(self, *names: str) -> None:
        """Start what was killed, and wait until it serves."""
        for name in names:
            self.start(name)
        for name in names:
            self.wait_until_ready(name)

    def wait_until_ready(self, name: str) -> None:
        def is_back() -> bool:
            self.look_after(name)
            return self.is_ready(name)

        try:
            self.wait_until(is_back)
        except TimeoutError as error:
            # The logs go with the trial's folder.
            error.add_note(
                f"{name} is not ready. It says: {_last_lines(self.children[name].program.log)}"
            )
            for fallen in self.fallen[-3:]:
                error.add_note(f"Ended before: {fallen}")
            raise

    def look_after(self, *names: str) -> None:
        """What ended by itself is noted and started again, as the supervisor would."""
        for name in names or self.children:
            child = self.children[name]
            if child.ended():
                self.fallen.append(f"{name} {child.outcome()}: {_last_lines(child.program.log, 1)}")
                self.kill(name)
                self.start(name)


def _last_lines(log: Path | None, most: int = 20) -> str:
    said = log.read_text(errors="replace").strip() if log else ""
    return "\n".join(said.splitlines()[-most:])
