"""Both stores together. DATABASE_URL or REDIS_URL in the environment: that one is not started."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from revcred.launcher.accounts import database_account
from revcred.launcher.environment import Environment
from revcred.launcher.errors import LaunchError
from revcred.launcher.postgresql import Cluster, find_installation
from revcred.launcher.processes import Program, Supervisor
from revcred.launcher.valkey import Valkey, find_binary


class Stores:
    def __init__(
        self,
        supervisor: Supervisor,
        *,
        given: Environment,
        data: Path,
        logs: Path,
        durable: bool,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.supervisor = supervisor
        self.given = given
        self.data = data
        self.logs = logs
        self.durable = durable
        self.settings = settings or {}  # PostgreSQL's
        self.addresses: dict[str, str] = {}
        self.sockets: list[Path] = []

    def start(self) -> dict[str, str]:
        """Starts what the environment does not name already; the addresses of that."""
        if not self.given.get("DATABASE_URL"):
            self._start_postgresql()
        if not self.given.get("REDIS_URL"):
            self._start_valkey()
        return self.addresses

    def clear_away(self) -> None:
        for directory in self.sockets:
            with suppress(OSError):
                directory.rmdir()

    def _start_postgresql(self) -> None:
        account = database_account()
        if not account.reaches(self.data):
            message = f"The database's user cannot reach {self.data}."
            raise LaunchError(message)
        found = find_installation(self.data).executable_by(account, copies=self.data)
        cluster = Cluster(found, self.data, account, self.durable, self.settings)
        self._await(cluster, cluster.program(self.logs / "postgresql.log"))
        self.addresses["DATABASE_URL"] = cluster.url

    def _start_valkey(self) -> None:
        valkey = Valkey(find_binary(), self.data)
        self._await(valkey, valkey.program(self.logs / "valkey.log"))
        self.addresses["REDIS_URL"] = valkey.url

    def _await(self, store: Cluster | Valkey, program: Program) -> None:
        self.sockets.append(store.sockets)
        child = self.supervisor.start(program)
        self.supervisor.wait_until(store.is_ready, child)


@contextmanager
def stores(directory: Path, *, durable: bool) -> Iterator[dict[str, str]]:
    """Both stores, fresh in that directory; the environment by which they are found."""
    supervisor = Supervisor(directory / "processes.json")
    started = Stores(supervisor, given=os.environ, data=directory, logs=directory, durable=durable)
    try:
        yield started.start()
    finally:
        supervisor.stop()
        started.clear_away()
