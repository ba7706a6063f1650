"""PostgreSQL and Valkey together. A store that the environment names is not started."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from revcred.launcher.accounts import database_account
from revcred.launcher.environment import EnvironmentVariables
from revcred.launcher.errors import LaunchError
from revcred.launcher.postgresql import PostgresqlCluster, find_installation
from revcred.launcher.processes import Program, Supervisor
from revcred.launcher.valkey import Valkey, find_valkey


class DataStores:
    """The stores of one run: started together, found by the addresses that `start` returns."""

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        given: EnvironmentVariables,
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
        """Start the stores that are not given; return their addresses as environment variables."""
        if not self.given.get("DATABASE_URL"):
            self._start_postgresql()
        if not self.given.get("REDIS_URL"):
            self._start_valkey()
        return self.addresses

    def remove_sockets(self) -> None:
        """Remove the socket directories of stopped stores."""
        for directory in self.sockets:
            # It may hold a socket of a server that did not stop; the next run reuses it.
            with suppress(OSError):
                directory.rmdir()

    def _start_postgresql(self) -> None:
        account = database_account()
        # Said here, because PostgreSQL's own message would not say why.
        if not account.can_enter(self.data):
            message = f"The database's user cannot reach {self.data}."
            raise LaunchError(message)
        found = find_installation(self.data).executable_by(account, copies=self.data)
        cluster = PostgresqlCluster(found, self.data, account, self.durable, self.settings)
        self._await(cluster, cluster.program(self.logs / "postgresql.log"))
        self.addresses["DATABASE_URL"] = cluster.url
        self.addresses["MIGRATION_DATABASE_URL"] = cluster.owner_url

    def _start_valkey(self) -> None:
        valkey = Valkey(find_valkey(), self.data)
        self._await(valkey, valkey.program(self.logs / "valkey.log"))
        self.addresses["REDIS_URL"] = valkey.url

    def _await(self, store: PostgresqlCluster | Valkey, program: Program) -> None:
        self.sockets.append(store.sockets)
        child = self.supervisor.start(program)
        self.supervisor.wait_until(store.is_ready, child)


@contextmanager
def running_stores(
    directory: Path, *, durable: bool, given: EnvironmentVariables = os.environ
) -> Iterator[dict[str, str]]:
    """Run both stores in a directory, and give the environment by which they are found.

    What `given` names is not started, and is not in the environment that is given.
    """
    supervisor = Supervisor(directory / "processes.json")
    started = DataStores(supervisor, given=given, data=directory, logs=directory, durable=durable)
    try:
        yield started.start()
    finally:
        supervisor.stop()
        started.remove_sockets()
