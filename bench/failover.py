"""Failover to a standby while gateways post: `make failover`.

Two PostgreSQL servers with streaming replication: every commit waits until it is on both. The
primary is killed, then frozen, then stopped in order; each time the standby is promoted, and what
was the primary becomes the standby. A supervisor such as Patroni does in production what this
program does here: it notices, makes sure that the old primary is dead, and promotes. revcred is
told of both servers by DATABASE_URL, and is never restarted.

With `--asynchronous` commits do not wait for the standby: then calls that were answered 202 are
lost, which has to be noticed.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
import psycopg

from bench.phases import CREDENTIALS, HABITS, VERDICTS, Traffic, prove_phases
from bench.stack import PROJECT, Bench, say
from revcred.launcher.accounts import database_account
from revcred.launcher.errors import LaunchError
from revcred.launcher.postgresql import (
    APPLICATION_USER,
    DATABASE_NAME,
    DATABASE_USER,
    SOCKET_PORT,
    PostgresqlCluster,
    find_installation,
)
from revcred.launcher.process_table import postgres_pids_on
from revcred.launcher.stack import running_stack
from revcred.launcher.temporary import temporary_directory

PHASE_SECONDS = 6.0
LOOK_SECONDS = 0.5  # between two looks at the primary, and what each may take
MISSES = 3  # until it counts as dead
BEHIND_SECONDS = 1.0  # with --asynchronous: how far the standby is behind
STOP_SECONDS = 30.0
NAMES = ("first", "second")

IS_SYNCHRONOUS = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
IS_STREAMING = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
SYNCHRONOUS = ("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
SLOT = "standby"


@dataclass
class Pair(Bench):
    """An installation on two servers, of which one is the primary."""

    servers: dict[str, PostgresqlCluster] = field(default_factory=dict)
    primary: str = NAMES[0]

    @property
    def standby(self) -> str:
        return next(name for name in NAMES if name != self.primary)

    def prepare(self, directory: Path) -> None:
        """Describe both servers, and let everything find the primary by itself."""
        account = database_account()
        found = find_installation(directory).executable_by(account, copies=directory)
        homes = {NAMES[0]: directory, NAMES[1]: directory / NAMES[1]}
        homes[NAMES[1]].mkdir()
        account.take_over(homes[NAMES[1]])
        self.servers = {
            name: PostgresqlCluster(found, home, account, durable=True)
            for name, home in homes.items()
        }
        self.children[NAMES[0]] = self.children.pop("database")
        self.environment = {
            **self.environment,
            "DATABASE_URL": self._url_of(APPLICATION_USER),
            # The benchmark's own connection knows nothing of revcred's defaults.
            "MIGRATION_DATABASE_URL": f"{self._url_of(DATABASE_USER)}&target_session_attrs=primary",
        }

    def _url_of(self, user: str) -> str:
        hosts = ",".join(str(self.servers[name].sockets) for name in NAMES)
        ports = ",".join(str(SOCKET_PORT) for _ in NAMES)
        return f"postgres://{user}@/{DATABASE_NAME}?host={hosts}&port={ports}"

    def ask_server(self, name: str, *statements: str) -> int:
        """Return the first column of the last statement's first row."""
        with psycopg.connect(
            self.servers[name].owner_url, autocommit=True, connect_timeout=2
        ) as connection:
            for statement in statements:
                done = connection.execute(statement.encode())
            row = done.fetchone()
            return int(row[0]) if row else 0

    def add_standby(self, *, is_synchronous: bool) -> None:
        """Copy the primary, and start the copy as its standby."""
        name, server = self.standby, self.servers[self.standby]
        self._copy_primary()
        program = replace(server.program(self.logs / f"{name}.log"), name=name)
        if name in self.children:
            self.children[name].program = program
            self.children[name].start()
        else:
            self.begin(program)
        self.wait_until(lambda: self.ask_server(self.primary, IS_STREAMING) == 1)
        if is_synchronous:
            self.ask_server(self.primary, *SYNCHRONOUS)
            self.wait_until(lambda: self.ask_server(self.primary, IS_SYNCHRONOUS) == 1)

    def _copy_primary(self) -> None:
        server = self.servers[self.standby]
        if server.data.exists():
            server.data.rename(server.data.with_name(f"before-{time.time_ns()}"))
        server.data.mkdir(mode=0o700)
        server.account.take_over(server.data)
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own program
            [
                server.installation.bin / "pg_basebackup",
                *("-h", self.servers[self.primary].sockets, "-p", str(SOCKET_PORT)),
                *("-U", DATABASE_USER, "-D", server.data, "-R", "-C", "-S", SLOT),
                *("--checkpoint=fast", "--no-sync"),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **server.account.popen_arguments,
        )
        if done.returncode:
            raise LaunchError(done.stderr)

    def pids_of(self, name: str) -> set[int]:
        return postgres_pids_on(self.servers[name].data)

    def signal_server(self, name: str, number: signal.Signals) -> None:
        for pid in sorted(self.pids_of(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_until_primary_is_dead(self) -> None:
        """Look again and again, as a supervisor does."""
        misses = 0
        while misses < MISSES:
            try:
                with psycopg.connect(self.servers[self.primary].owner_url, connect_timeout=2):
                    misses = 0
            except psycopg.Error:
                misses += 1
            time.sleep(LOOK_SECONDS)

    def promote_standby(self) -> None:
        self.primary = self.standby
        self.ask_server(self.primary, "SELECT pg_promote()::int")

    def kill_standby(self) -> None:
        """End what was the primary for good, also if it is only frozen."""
        while self.pids_of(self.standby):
            self.signal_server(self.standby, signal.SIGKILL)
        self.children[self.standby].process.wait()

    def cut_replication(self) -> None:
        """Freeze what sends to the standby: it falls behind, and nobody is told."""
        for pid in self.pids_of(self.primary):
            if "walsender" in " ".join(psutil.Process(pid).cmdline()):
                os.kill(pid, signal.SIGSTOP)


# What becomes of the primary. A frozen one is there, and answers nobody: for its clients that is
# the same as a machine that has vanished from the network.
# It is the first that DATABASE_URL names: whoever connects tries it before the other.
FATES: Mapping[str, signal.Signals] = {
    "frozen": signal.SIGSTOP,
    "killed": signal.SIGKILL,
    "stopped in order": signal.SIGINT,
}


def fail_over(pair: Pair, traffic: Traffic, fate: str, *, is_synchronous: bool) -> float:
    """Lose the primary, promote the standby, and return the seconds until the next 202."""
    traffic.begin_phase(f"the {pair.primary} is primary")
    time.sleep(PHASE_SECONDS)
    # One that is stopped in order waits until its standby has everything.
    if not is_synchronous and fate != "stopped in order":
        pair.cut_replication()
        time.sleep(BEHIND_SECONDS)
    traffic.begin_phase(f"the {pair.primary} is {fate}")
    lost_at = time.time()
    if fate == "stopped in order":
        # To the postmaster alone: it lets the standby have everything before it ends.
        pair.children[pair.primary].process.send_signal(FATES[fate])
        pair.children[pair.primary].process.wait(STOP_SECONDS)
    else:
        pair.signal_server(pair.primary, FATES[fate])
        pair.wait_until_primary_is_dead()
    noticed_at = time.time()
    pair.promote_standby()
    promoted_at = time.time()
    # What was answered later had been committed by the new primary.
    pair.wait_until(lambda: any(at > promoted_at for _, _, at, _ in traffic.accepted[-100:]))
    served_at = min(at for _, _, at, _ in traffic.accepted if at > promoted_at)
    say(
        f"  noticed after {noticed_at - lost_at:.1f} s, promoted in"
        f" {promoted_at - noticed_at:.1f} s, the first 202 {served_at - promoted_at:.1f} s later"
    )
    time.sleep(PHASE_SECONDS)
    traffic.begin_phase(f"the {pair.standby} comes back as standby")
    pair.kill_standby()
    pair.add_standby(is_synchronous=is_synchronous)
    return served_at - lost_at


def run(pair: Pair, directory: Path, *, is_synchronous: bool) -> bool:
    """Fail over in each way, and return whether all promises held."""
    pair.prepare(directory)
    pair.call("seed", CREDENTIALS)
    tokens = {habit.gateway: pair.call("issue", habit.gateway) for habit in HABITS}
    pair.add_standby(is_synchronous=is_synchronous)
    pair.serve()
    traffic = Traffic(tokens, pair.call("sign_in"))
    traffic.ports = (pair.port,)
    traffic.begin_phase("both start")
    traffic.start()
    without = {
        fate: fail_over(pair, traffic, fate, is_synchronous=is_synchronous) for fate in FATES
    }
    traffic.stop()
    pair.wait_until_processed()
    proof = prove_phases(pair, traffic)
    rejected = sum(phase.rejected for phase in traffic.phases)
    say(f"{rejected} POSTs were rejected. lost: {proof.lost}, double: {proof.twice}")
    for fate, seconds in without.items():
        say(f"The primary {fate}: {seconds:.1f} s without a 202")
    # What was kept, and could not be answered any more, is sent again: repeats are not compared.
    return proof.is_exact and not rejected


def main() -> int:
    parser = argparse.ArgumentParser(prog="make failover", description=__doc__)
    parser.add_argument("--asynchronous", action="store_true", help="commits wait for no standby")
    options = parser.parse_args()
    # Ends in order also when asked to, so that no program is left.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with (
        temporary_directory() as directory,
        running_stack(Pair, directory, PROJECT) as pair,
    ):
        holds = run(pair, directory, is_synchronous=not options.asynchronous)
    say(VERDICTS[holds])
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
